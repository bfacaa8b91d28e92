-- Put a failed message into its group's retry set, then acknowledge it where it was pending.
-- KEYS 1 the stream read from   2 totals   3 retry set   4 retry entries   5 suspects   6 notices   7 promoter lease
--   8 slots of the group, if it has some
-- ARGV 1 group   2 consumer   3 entry id   4 "1": it was redelivered, delete it too   5 token   6 delay in ms   7 lane
--   8… fields of the retry
-- Returns 1, or 0 where the entry isn't pending for this consumer: then nothing is changed.
-- The copy comes before the acknowledgement: Lua rolls nothing back, so the other order would lose the message when a
-- later step is refused. Before the copy, for each later step, comes a command that changes nothing and fails where
-- that step would be refused (an ACL, a wrong type): a copy without its acknowledgement would be made at every try.
-- The wait is packed behind the row: should the clock go back, shorten.lua holds the retry to it.
--! prelude
--! notices
open_door(KEYS[1], ARGV[1])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], '0-0') end
if not is_held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('HINCRBY', KEYS[2], 'retried', 0)
redis.call('HDEL', KEYS[5], '')
redis.call('ZADD', KEYS[3], 'XX', 0, '')
if KEYS[8] then redis.call('ZREM', KEYS[8], '') end
local due = now_in_ms() + ARGV[6]
local row = {}
for i = 7, #ARGV do row[#row + 1] = ARGV[i] end
redis.call('HSET', KEYS[4], ARGV[5], cmsgpack.pack(row, tonumber(ARGV[6])))
local new = redis.call('ZADD', KEYS[3], digits(due), ARGV[5])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[3]) end
redis.call('HDEL', KEYS[5], ARGV[5])
if KEYS[8] then redis.call('ZREM', KEYS[8], ARGV[5]) end
redis.call('HINCRBY', KEYS[2], 'retried', 1)
-- After a reset an entry may be delivered again while its retry already waits: one of the two waits from now on.
if new == 0 then redis.call('HINCRBY', KEYS[2], 'merged', 1) end
tell_due(KEYS[6], KEYS[7], KEYS[3], ARGV[5], due)
return 1
