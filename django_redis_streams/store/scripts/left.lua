-- Whether anything is left to do for a group now: unread, pending, due or redelivered. Changes nothing.
-- KEYS 1 groups   2 delayed set   3 retry set of the group   4… the streams that it reads
-- ARGV 1 group   2 its field in KEYS 1 for a pause
-- Returns {} if the group is paused, false if something is left; else, of each stream, the last id ever and the last
-- id that the group was given. What is due later doesn't count. Bodies aren't returned: they may be large.
--! prelude
--! groups
if redis.call('HGET', KEYS[1], ARGV[2]) then return {} end
local now = now_in_ms()

local function due(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) <= now
end
if due(KEYS[2]) or due(KEYS[3]) then return false end

local ids = {}
for i = 4, #KEYS do
  local key = KEYS[i]
  local stream = stream_at(key)
  if stream then
    -- If the group isn't there, its consumer is about to make it, and gets what the stream holds.
    local group = group_at(key, ARGV[1])
    if not group or group['pending'] > 0 then return false end
    local given = group['last-delivered-id']
    if #redis.call('XRANGE', key, '(' .. given, '+', 'COUNT', 1) > 0 then return false end
    ids[#ids + 1] = stream['last-generated-id']
    ids[#ids + 1] = given
  else
    ids[#ids + 1] = ''
    ids[#ids + 1] = ''
  end
end
return ids
