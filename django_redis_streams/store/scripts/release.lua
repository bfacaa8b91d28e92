-- Hand back one pending entry that has been idle for too long, as its consumer hasn't renewed it; and tell workers.
-- KEYS 1 the stream it is pending in   2 totals of the group   3 notices
-- ARGV 1 group   2 entry id   3 the consumer it was seen with   4 idle for at least, in ms
-- Returns 1 if it was handed back, 0 if it isn't pending like that any more, -1 if its body is gone: nobody can run
-- it, so it is acknowledged and counted as vanished.
--! prelude
--! notices
open_door(KEYS[1], ARGV[1])
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], ARGV[2], ARGV[2], 1, ARGV[3])
if #pending == 0 then return 0 end
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then
  redis.call('HINCRBY', KEYS[2], 'vanished', 1)
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  return -1
end
hand_back(KEYS[1], ARGV[1], ARGV[2], ARGV[4])
tell(KEYS[3], 'claimable', ARGV[1])
return 1
