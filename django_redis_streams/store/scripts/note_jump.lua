-- Record by how much the server's clock jumped, for the diagnosis; if it went back, also that the waits were shortened.
-- KEYS 1 main stream   2 clock
-- ARGV 1 by how many ms it jumped, negative where it went back
--   2 "", or the server's time in ms when shorten.lua began
-- Returns '', or the server's time in ms if the clock went back again meanwhile: then nothing is changed, and
-- shorten.lua must begin anew.
-- The latest time seen is set back to now last: if the caller is killed before, the next process finds the jump again.
--! prelude
open_door(KEYS[1], '-')
local now = now_in_ms()
if ARGV[2] ~= '' and now < tonumber(ARGV[2]) then return digits(now) end
redis.call('HSET', KEYS[2], 'jump', ARGV[1], 'jumped', digits(now))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], 'seen', digits(now)) end
return ''
