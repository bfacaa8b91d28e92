-- Note down that a group is paused, unless it is.
-- KEYS 1 groups   2 main stream
-- ARGV 1 the group's field for it
-- Returns 1 if it was paused now, 0 if it was paused already: then its time stays. The door is open at maxmemory too:
-- that is when somebody may want to pause.
--! prelude
open_door(KEYS[2], '-')
return redis.call('HSETNX', KEYS[1], ARGV[1], digits(now_in_ms()))
