-- Add to what the workers of a group did in a minute.
-- KEYS 1 the stream   2 the minute's hash
-- ARGV 1 group   2 seconds until the minute is forgotten   3 the longest run, in microseconds
--   4… name, count of each figure
-- Returns 1.
--! prelude
open_door(KEYS[1], ARGV[1])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) end
if tonumber(ARGV[3]) > tonumber(redis.call('HGET', KEYS[2], 'longest') or 0) then
  redis.call('HSET', KEYS[2], 'longest', ARGV[3])
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
