-- Note down that a group is paused, unless it is, and tell workers, which end their waiting reads.
-- KEYS 1 groups   2 main stream   3 notices
-- ARGV 1 group   2 the group's field for it
-- Returns 1 if it was paused now, 0 if it was paused already: then its time stays. The door is open at maxmemory too:
-- that is when somebody may want to pause.
--! prelude
--! notices
open_door(KEYS[2], '-')
local paused = redis.call('HSETNX', KEYS[1], ARGV[2], digits(now_in_ms()))
if paused == 1 then tell(KEYS[3], 'paused', ARGV[1]) end
return paused
