-- Delete a group from all streams that it reads, and what waits for it alone; put on record that this was on purpose.
-- KEYS 1 main stream   2 groups   3 lanes   4 workers of the group
--   5… for each lane: its stream, its redelivery stream of the group; then retry set, retry entries, and whatever
--   else is the group's alone
-- ARGV 1 group   2 the group's field in KEYS 2 that says that it is paused   3 that it was deleted   4 who deletes it
--   5 within how many ms a living consumer was seen   6 "look": delete nothing, "safe": unless somebody consumes it,
--   "force": in any case   7 how many lanes   8… their names
-- Returns {1 if it was there, else 0; -1 where it is left alone, as somebody consumes it}, and who does. To look and
-- to delete are one step: nobody can begin in between. A worker is known by what it writes down itself, since a server
-- before 7.2 doesn't know a consumer that was given nothing, and a paused group's doesn't read; a consumer of another
-- client by its reads.
-- The record of where it began goes first: workers make a group again that is recorded and gone.
--! prelude
--! groups
open_door(KEYS[1], ARGV[1])
local lanes, within = tonumber(ARGV[7]), tonumber(ARGV[5])
local now = now_in_ms()
local living, there = {}, 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], digits(now - within), '+inf')) do
  living[name] = true
end
for at = 5, 4 + 2 * lanes do
  if group_at(KEYS[at], ARGV[1]) then
    if at % 2 == 1 then there = 1 end
    for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[at], ARGV[1])) do
      local consumer = named(row)
      -- What was handed back is pending for this name, which nobody reads as.
      if consumer['name'] ~= 'returned' and consumer['idle'] <= within then living[consumer['name']] = true end
    end
  end
end
local result = {there}
for name in pairs(living) do result[#result + 1] = name end
if ARGV[6] == 'look' then return result end
if ARGV[6] == 'safe' and #result > 1 then
  result[1] = -1
  return result
end
-- Refused, it is refused before anything is on record or gone.
for i = 1, lanes do
  if redis.call('EXISTS', KEYS[3 + 2 * i]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[3 + 2 * i], '') end
end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[2], ARGV[3], digits(now) .. ' ' .. ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1], ARGV[2])
for i = 1, lanes do redis.call('HDEL', KEYS[3], ARGV[1] .. ':' .. ARGV[7 + i]) end
for i = 1, lanes do
  local key = KEYS[3 + 2 * i]
  if redis.call('EXISTS', key) == 1 then redis.call('XGROUP', 'DESTROY', key, ARGV[1]) end
  redis.call('DEL', KEYS[4 + 2 * i])
end
for i = 5 + 2 * lanes, #KEYS do redis.call('DEL', KEYS[i]) end
return result
