-- Make a group where it is missing, and record every group that was ever seen, with the id that its START stood for.
-- KEYS 1 main stream   2 groups   3 redelivery stream of the group   4 lanes, if there are any; then for each of them: its
--   stream, its redelivery stream of the group
-- ARGV 1 group   2 where a group that was never recorded begins: "0", "$" or an entry id   3… lanes, in the order of KEYS
-- Returns {"found" or "made", the recorded id}. A group that is gone is made again at its recorded id, so that what was
-- published in between is delivered; making and recording are one script, or a crash between them would forget it. The
-- redelivery stream is always read from the beginning: what is there is meant for this group alone. So is a lane that is
-- new to a group that was here before.
-- The first XACK lets the groups be made at maxmemory too: who settles must be let in first.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')

local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return '0-0' end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

local function group_of(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = {}
    for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
    if group['name'] == ARGV[1] then return group end
  end
end

-- Made again at this id, the group delivers its pending entries again too: it is one before the first of them, or where
-- numbers aren't exact any more, which only ids given by hand reach, further before.
local function place_of(key, group)
  if group['pending'] == 0 then return group['last-delivered-id'] end
  local ms, seq = string.match(redis.call('XPENDING', key, ARGV[1])[2], '(%d+)-(%d+)')
  if seq ~= '0' then return ms .. '-' .. (tonumber(seq) < 9007199254740992 and string.format('%.0f', seq - 1) or '0') end
  if tonumber(ms) >= 9007199254740992 then return '0-0' end
  return string.format('%.0f', ms - 1) .. '-18446744073709551615'
end

local made = 'found'

-- The group on one lane: `records` and `field` say where it is recorded. Returns the recorded id.
local function ensure(key, redelivery, records, field, start)
  if not group_of(redelivery) then
    redis.call('XGROUP', 'CREATE', redelivery, ARGV[1], '0', 'MKSTREAM')
    made = 'made'
  end
  local recorded = redis.call('HGET', records, field)
  local found = group_of(key)
  if found then
    local place = recorded or place_of(key, found)
    if not recorded then redis.call('HSET', records, field, place) end
    return place
  end
  local place = recorded or start
  if place == '$' then place = last_id(key) end
  redis.call('XGROUP', 'CREATE', key, ARGV[1], place, 'MKSTREAM')
  redis.call('HSET', records, field, place)
  made = 'made'
  return place
end

local lane_start = ARGV[2]
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 or group_of(KEYS[1]) then lane_start = '0' end
for i = 3, #ARGV do
  local at = 5 + (i - 3) * 2
  ensure(KEYS[at], KEYS[at + 1], KEYS[4], ARGV[1] .. ':' .. ARGV[i], lane_start)
end
local place = ensure(KEYS[1], KEYS[3], KEYS[2], ARGV[1], ARGV[2])
return {made, place}
