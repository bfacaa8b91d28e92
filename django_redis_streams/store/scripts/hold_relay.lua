-- Take or renew the lease of the process that relays an outbox to this server.
-- KEYS 1 lease   2 main stream
-- ARGV 1 holder   2 for how many ms it is given
-- Returns 2 if the holder has it anew, 1 if it has it still, 0 if another has.
-- A lease that lasts longer than any that is given dates from before the clock went back: its holder may be gone.
-- The XACK changes nothing. As it frees memory, the server lets the lease through at maxmemory too: the relay must hear
-- for each message that it is refused. The key may be of another type: that concerns this stream's messages alone.
redis.pcall('XACK', KEYS[2], '-', '0-0')
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
  return 1
end
local left = redis.call('PTTL', KEYS[1])
if holder and left >= 0 and left <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 2
