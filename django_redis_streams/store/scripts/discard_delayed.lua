-- Delete a delayed message that isn't due yet.
-- KEYS 1 main stream   2 delayed set   3 delayed entries
-- ARGV 1 token
-- Returns 1 if it was deleted now, 0 if it was gone: due, published or discarded before.
-- The first commands change nothing: each fails at once where a later step would be refused.
--! prelude
open_door(KEYS[1], '-')
redis.call('ZREM', KEYS[2], '')
redis.call('HDEL', KEYS[3], '')
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
