-- Delete a group from all streams that it reads, its record, and what waits for it alone.
-- KEYS 1 main stream   2 groups   3 lanes   4… for each lane: its stream, its redelivery stream of the group; then
--   retry set, retry entries, and whatever else is the group's alone
-- ARGV 1 group   2 the group's field that says that it is paused   3 how many lanes   4… their names
-- Returns 1 if it was there. The record goes first: workers would make a group again that is recorded and gone.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local lanes = tonumber(ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1], ARGV[2])
for i = 1, lanes do redis.call('HDEL', KEYS[3], ARGV[1] .. ':' .. ARGV[3 + i]) end
local there = 0
for i = 1, lanes do
  local key = KEYS[2 + 2 * i]
  if redis.call('EXISTS', key) == 1 and redis.call('XGROUP', 'DESTROY', key, ARGV[1]) == 1 then there = 1 end
  redis.call('DEL', KEYS[3 + 2 * i])
end
for i = 4 + 2 * lanes, #KEYS do redis.call('DEL', KEYS[i]) end
return there
