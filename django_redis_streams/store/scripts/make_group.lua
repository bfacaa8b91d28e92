-- Make a group where it is missing, and record every group that was ever seen, with the id that its START stood for.
-- KEYS 1 main stream   2 groups   3 redelivery stream of the group
-- ARGV 1 group   2 where a group that was never recorded begins: "0", "$" or an entry id
-- Returns {"found" or "made", the recorded id}. A group that is gone is made again at its recorded id, so that what was
-- published in between is delivered; making and recording are one script, or a crash between them would forget it. The
-- redelivery stream is always read from the beginning: what is there is meant for this group alone.
-- The first XACK lets the groups be made at maxmemory too: who settles must be let in first.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')

local function last_id()
  if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
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
local function place_of(group)
  if group['pending'] == 0 then return group['last-delivered-id'] end
  local ms, seq = string.match(redis.call('XPENDING', KEYS[1], ARGV[1])[2], '(%d+)-(%d+)')
  if seq ~= '0' then return ms .. '-' .. (tonumber(seq) < 9007199254740992 and string.format('%.0f', seq - 1) or '0') end
  if tonumber(ms) >= 9007199254740992 then return '0-0' end
  return string.format('%.0f', ms - 1) .. '-18446744073709551615'
end

local made = 'found'
if not group_of(KEYS[3]) then
  redis.call('XGROUP', 'CREATE', KEYS[3], ARGV[1], '0', 'MKSTREAM')
  made = 'made'
end
local recorded = redis.call('HGET', KEYS[2], ARGV[1])
local found = group_of(KEYS[1])
if found then
  local start = recorded or place_of(found)
  if not recorded then redis.call('HSET', KEYS[2], ARGV[1], start) end
  return {made, start}
end
local start = recorded or ARGV[2]
if start == '$' then start = last_id() end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
redis.call('HSET', KEYS[2], ARGV[1], start)
return {'made', start}
