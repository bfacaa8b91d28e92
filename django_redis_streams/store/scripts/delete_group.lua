-- Delete a group from all streams that it reads, and what waits for it alone; record that it was deleted on purpose.
-- KEYS 1 main stream   2 groups   3 lanes   4 workers of the group   5 processes
--   6 with which the key of each living process begins   7 notices
--   8… for each lane: its stream, its redelivery stream of the group; then retry set, retry entries, and whatever else
--   is the group's alone
-- ARGV 1 group   2 its field in KEYS 2 for a pause   3 its field for a deletion   4 who deletes it
--   5 for how many ms a process is alive after it said so
--   6 within how many ms a living consumer of another client was seen
--   7 "look": delete nothing, "safe": unless somebody consumes it, "force": in any case
--   8 how many lanes   9… their names
-- Returns {1 if the group was there, else 0; -1 if it was left alone because somebody consumes it; living consumers…}.
-- Looking and deleting are one step: nobody can begin to consume in between. Workers are known by what they write down
-- in KEYS 4 to 6: a server before 7.2 doesn't know a consumer that was given nothing, and a paused group's worker
-- doesn't read. Consumers of other clients are known by their reads.
-- The record of where the group began is deleted before the group: workers make a recorded group again if it is gone.
-- Workers that are busy look at the group as they do for what may be claimed, so they are told in the same way.
--! prelude
--! groups
--! presence
--! notices
open_door(KEYS[1], ARGV[1])
local lanes, within = tonumber(ARGV[8]), tonumber(ARGV[6])
local now, life = now_in_ms(), tonumber(ARGV[5])
local living, there = consumers_of_workers(KEYS[4], silences(KEYS[5], KEYS[6], life), now, life), 0
for at = 8, 7 + 2 * lanes do
  if group_at(KEYS[at], ARGV[1]) then
    if at % 2 == 0 then there = 1 end
    for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[at], ARGV[1])) do
      local consumer = named(row)
      -- Entries that were handed back are pending for `returned`: nobody reads under that name.
      local name = consumer['name']
      if name ~= 'returned' and living[name] == nil and consumer['idle'] <= within then living[name] = true end
    end
  end
end
local result = {there}
for name, alive in pairs(living) do
  if alive then result[#result + 1] = name end
end
if ARGV[7] == 'look' then return result end
if ARGV[7] == 'safe' and #result > 1 then
  result[1] = -1
  return result
end
-- If XGROUP DESTROY is refused, it is refused here, before anything is recorded or deleted.
for i = 1, lanes do
  if redis.call('EXISTS', KEYS[6 + 2 * i]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[6 + 2 * i], '') end
end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[2], ARGV[3], digits(now) .. ' ' .. ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1], ARGV[2])
for i = 1, lanes do redis.call('HDEL', KEYS[3], ARGV[1] .. ':' .. ARGV[8 + i]) end
for i = 1, lanes do
  local key = KEYS[6 + 2 * i]
  if redis.call('EXISTS', key) == 1 then redis.call('XGROUP', 'DESTROY', key, ARGV[1]) end
  redis.call('DEL', KEYS[7 + 2 * i])
end
for i = 8 + 2 * lanes, #KEYS do redis.call('DEL', KEYS[i]) end
tell(KEYS[7], 'claimable', ARGV[1])
return result
