-- Note down that a worker serves a group, so that a call that would delete the group finds it; forget workers that
-- haven't said so for long.
-- KEYS 1 main stream   2 groups   3 workers of the group
-- ARGV 1 group   2 consumer   3 after how many ms a worker is forgotten
-- Returns 1, or 0 where the group isn't on record: it was deleted, and the worker that makes it again is noted then.
--! prelude
open_door(KEYS[1], ARGV[1])
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
local now = now_in_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', digits(now - ARGV[3]))
redis.call('ZADD', KEYS[3], digits(now), ARGV[2])
hold_to(KEYS[3], digits(now))
return 1
