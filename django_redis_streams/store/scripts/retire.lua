-- Remove a consumer that holds nothing and hasn't been heard of for long.
-- KEYS 1 the stream read from
-- ARGV 1 group   2 consumer   3 idle for at least, in ms
-- Returns 1 if it was removed. Looking and removing are one step: XGROUP DELCONSUMER throws away what a consumer
-- holds.
--! prelude
open_door(KEYS[1], ARGV[1])
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = named(info)
  if consumer['name'] == ARGV[2] and consumer['pending'] == 0 and consumer['idle'] >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
