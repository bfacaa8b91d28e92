-- Set where a group reads on, and record that it began there, so that a group that is made again begins there too.
-- KEYS 1 stream of the lane   2 the hash that records it
-- ARGV 1 group   2 its field in the hash   3 the id after which it reads on, or "$"
-- Returns the id. What is pending stays pending. Recorded last: what was refused before is not on record.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
redis.call('HDEL', KEYS[2], '')
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[3])
local place = ARGV[3]
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  if group['name'] == ARGV[1] then place = group['last-delivered-id'] end
end
redis.call('HSET', KEYS[2], ARGV[2], place)
return place
