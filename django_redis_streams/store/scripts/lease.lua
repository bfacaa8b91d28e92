-- Renew the leases of messages that a worker has in hand, in the slots of its group.
-- KEYS 1 slots   2 main stream
-- ARGV 1 ms of a lease   2… tokens, a hundred at most
-- Also of those whose lease has ended, as it does while the server can't be reached: they are run, so they count.
-- The XACK changes nothing, and lets the ZADD pass at maxmemory.
redis.call('XACK', KEYS[2], '-', '0-0')
local time = redis.call('TIME')
local ends = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
return #ARGV - 1
