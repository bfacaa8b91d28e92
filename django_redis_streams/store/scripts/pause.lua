-- Note down that a group is paused, unless it is.
-- KEYS 1 groups   2 main stream
-- ARGV 1 the group's field for it
-- Returns 1 if it was paused now, 0 if it had been: then since when stays as it was.
-- The XACK changes nothing, and lets the HSETNX pass at maxmemory: that is when somebody may want to pause.
redis.call('XACK', KEYS[2], '-', '0-0')
local time = redis.call('TIME')
return redis.call('HSETNX', KEYS[1], ARGV[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
