-- Delete a retry that isn't due yet, and count it for its group.
-- KEYS 1 main stream   2 retry set   3 retry entries   4 totals of the group
-- ARGV 1 token
-- Returns 1 if it was deleted now, 0 if it was gone (promoted, or discarded before): it is counted once.
-- The first commands change nothing: each fails at once where a later step would be refused.
--! prelude
open_door(KEYS[1], '-')
redis.call('ZREM', KEYS[2], '')
redis.call('HDEL', KEYS[3], '')
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
redis.call('HINCRBY', KEYS[4], 'discarded', 1)
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
