-- Make a group where it is missing, and record every group that was ever seen, with the id that its START stood for.
-- KEYS 1 main stream   2 groups
-- ARGV 1 group   2 where a group that was never recorded begins: "0", "$" or an entry id
-- Returns {"found" or "made", the recorded id}. A group that is gone is made again at its recorded id, so that what was
-- published in between is delivered; making and recording are one script, or a crash between them would forget it.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')

local function last_id()
  if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

local function found_at()
  if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
    if group['name'] == ARGV[1] then
      if group['pending'] == 0 then return group['last-delivered-id'] end
      -- Made again here, it must deliver its pending entries again too: one before the first of them.
      local ms, seq = string.match(redis.call('XPENDING', KEYS[1], ARGV[1])[2], '(%d+)-(%d+)')
      if seq ~= '0' then return ms .. '-' .. string.format('%.0f', seq - 1) end
      return string.format('%.0f', ms - 1) .. '-18446744073709551615'
    end
  end
end

local recorded = redis.call('HGET', KEYS[2], ARGV[1])
local found = found_at()
if found then
  if not recorded then redis.call('HSET', KEYS[2], ARGV[1], found) end
  return {'found', recorded or found}
end
local start = recorded or ARGV[2]
if start == '$' then start = last_id() end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
redis.call('HSET', KEYS[2], ARGV[1], start)
return {'made', start}
