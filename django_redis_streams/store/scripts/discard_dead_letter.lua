-- Delete a dead letter, and count it for its group.
-- KEYS 1 dead letter queue   2 totals of the group; left out for an entry whose group is unknown
-- ARGV 1 entry id
-- Returns 1 if it was deleted now, 0 if it was gone: however often the script is called, it is counted once.
-- The first commands change nothing: each fails at once where a later step would be refused.
--! prelude
open_door(KEYS[1], '-')
redis.call('XDEL', KEYS[1], '0-0')
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
if KEYS[2] then redis.call('HINCRBY', KEYS[2], 'discarded-dead-letters', 1) end
return redis.call('XDEL', KEYS[1], ARGV[1])
