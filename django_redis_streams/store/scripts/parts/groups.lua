-- Streams and the groups on them, as the server tells of them: what isn't there is nil.
local function named(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function stream_at(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  return named(redis.call('XINFO', 'STREAM', key))
end

local function group_at(key, name)
  if redis.call('EXISTS', key) == 0 then return nil end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = named(row)
    if group['name'] == name then return group end
  end
end
