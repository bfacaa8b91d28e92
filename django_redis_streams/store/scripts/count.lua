-- Add to what the workers of a group did in a minute: the server's, as a worker's clock may be wrong.
-- KEYS 1 the stream   2 with which the name of each minute's hash begins
-- ARGV 1 group   2 seconds until the minute is forgotten   3 the longest run, in microseconds
--   4… name, count of each figure
-- Returns 1.
--! prelude
open_door(KEYS[1], ARGV[1])
local key = KEYS[2] .. ':' .. digits(math.floor(now_in_ms() / 60000))
for i = 4, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
if tonumber(ARGV[3]) > tonumber(redis.call('HGET', key, 'longest') or 0) then
  redis.call('HSET', key, 'longest', ARGV[3])
end
redis.call('EXPIRE', key, ARGV[2])
return 1
