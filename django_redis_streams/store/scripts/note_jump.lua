-- Keep by how much the server's clock jumped, for the diagnosis; and where it went back, that what waits was made to fit.
-- KEYS 1 main stream   2 clock
-- ARGV 1 by how many ms it jumped, negative where it went back   2 "", or the server's time in ms when shorten.lua began
-- Returns 1, or 0 where the clock went back again meanwhile: then nothing is changed, and shorten.lua is to begin anew.
-- The latest time seen falls to now at the very end: who is killed before leaves it to the next to find.
redis.call('XACK', KEYS[1], '-', '0-0')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' and now < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'jump', ARGV[1], 'jumped', string.format('%.0f', now))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], 'seen', string.format('%.0f', now)) end
return 1
