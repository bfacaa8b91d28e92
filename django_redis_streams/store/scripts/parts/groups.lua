-- Streams and the groups on them, as the server describes them; nil for what isn't there.
local function stream_at(key)
  if redis.call('EXISTS', key) == 0 then return nil end
  return named(redis.call('XINFO', 'STREAM', key))
end

local function groups_at(key)
  local found = {}
  if redis.call('EXISTS', key) == 0 then return found end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = named(row)
    found[group['name']] = group
  end
  return found
end

local function group_at(key, name)
  return groups_at(key)[name]
end

-- Ids are compared as text, digits by digits: as numbers they are exact to 2^53 only, and any client may give any id.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  if a_ms == b_ms then a_ms, b_ms = a_seq, b_seq end
  if #a_ms ~= #b_ms then return #a_ms < #b_ms end
  return a_ms < b_ms
end

-- Whether an id lies beyond the end of a stream: entries may yet come whose ids are before it, and nobody gets them.
local function is_ahead(stream, id)
  return is_before(stream and stream['last-generated-id'] or '0-0', id)
end

-- Count the entries of a stream after an id: known at either end of the stream; in between it is the server's `lag`, or
-- nil. Redis 7.0 counts entries that were trimmed unread as lag: a lag above the stream's length is no answer.
local function count_after(stream, id, lag)
  if not stream or stream['length'] == 0 or not is_before(id, stream['last-generated-id']) then return 0 end
  if is_before(id, stream['first-entry'][1]) then return stream['length'] end
  if lag and lag > stream['length'] then return nil end
  return lag
end
