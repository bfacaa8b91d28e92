-- Trim a stream to a length or an age, never past what a group on it still needs.
-- KEYS 1 stream
-- ARGV 1 length to keep, or ""   2 age to keep in ms, or ""   3 "1": exactly, "0": by whole nodes   4 most to remove
-- Returns how many entries were removed. The low-water mark is the least, over all groups on the server, of the smallest
-- pending id, or the id after the last delivered one; a stream without a group is left alone. Marking and trimming are
-- one script, or a read between them would move the mark.
redis.call('XACK', KEYS[1], '-', '0-0')
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local most = tonumber(ARGV[4])

local function parts(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end

local function least(a, b)
  if not a then return b end
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  if a_ms < b_ms or (a_ms == b_ms and a_seq <= b_seq) then return a end
  return b
end

-- Beyond 2^53 a number isn't exact: the id itself is the safe side.
local function after(id)
  local ms, seq = parts(id)
  if seq >= 9007199254740992 then return id end
  return string.format('%.0f-%.0f', ms, seq + 1)
end

local low
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
  if group['pending'] > 0 then
    low = least(low, redis.call('XPENDING', KEYS[1], group['name'])[2])
  else
    low = least(low, after(group['last-delivered-id']))
  end
end
if not low then return 0 end

-- The first entry that stays, where an exact trim would remove `count` at the most.
local function exact(below, count)
  local range = redis.call('XRANGE', KEYS[1], '-', '(' .. below, 'COUNT', count)
  if #range == 0 then return 0 end
  return redis.call('XTRIM', KEYS[1], 'MINID', after(range[#range][1]))
end

local function trim(below, count)
  if ARGV[3] == '1' then return exact(below, count) end
  return redis.call('XTRIM', KEYS[1], 'MINID', '~', below, 'LIMIT', count)
end

local removed = 0
if ARGV[2] ~= '' then
  local time = redis.call('TIME')
  local cutoff = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2])
  removed = trim(least(low, string.format('%.0f-0', cutoff)), most)
end
if ARGV[1] ~= '' then
  -- LIMIT 0 would mean no limit at all.
  local excess = math.min(redis.call('XLEN', KEYS[1]) - ARGV[1], most)
  if excess > 0 then removed = removed + trim(low, excess) end
end
return removed
