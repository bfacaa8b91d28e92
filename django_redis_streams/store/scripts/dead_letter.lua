-- Put a message into the dead letter queue, then acknowledge it where it was pending.
-- KEYS 1 the stream read from   2 totals   3 dead letter queue   4 suspects   5 slots of the group, if it has some
-- ARGV 1 group   2 consumer   3 entry id   4 "1": it was redelivered, delete it too   5… fields of the dead letter
-- Returns the dead letter's id, or false where the entry isn't pending for this consumer: then nothing is changed.
-- The order, and the commands that change nothing, are those of retry.lua, for the same reasons.
--! prelude
open_door(KEYS[1], ARGV[1])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], '0-0') end
if not is_held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return false end
redis.call('HINCRBY', KEYS[2], 'dead-lettered', 0)
redis.call('HDEL', KEYS[4], '')
if KEYS[5] then redis.call('ZREM', KEYS[5], '') end
local fields = {}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
local id = redis.call('XADD', KEYS[3], '*', unpack(fields))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[3]) end
redis.call('HDEL', KEYS[4], token_of(KEYS[1], ARGV[3]))
if KEYS[5] then redis.call('ZREM', KEYS[5], token_of(KEYS[1], ARGV[3])) end
redis.call('HINCRBY', KEYS[2], 'dead-lettered', 1)
return id
