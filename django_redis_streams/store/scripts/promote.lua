-- Move what is due from the delayed set to the stream and from the retry sets to the redelivery streams, if this
-- process holds or gets the stream's lease.
-- KEYS 1 promoter lease   2 main stream   3 delayed set   4 delayed entries   5 dead letter queue   6 clock
--   then for each group: its retry set, retry entries, totals
-- ARGV 1 holder   2 lease in ms   3 most to look at in one set   4 how many of what is due in each set to pass over
--   5 most bytes to move from one set   6 reason of a dead letter of what can't be moved   7 "{stream}:redelivery:"
--   8 "{stream}:lane:"   9 HARD_MAXLEN, or ""   10 "=" or "~": exactly that, or about   11 how many lanes there are
--   12… lanes, then groups in the order of KEYS
-- Returns {-1} where another holds the lease; else {moved, vanished, dead-lettered, 1 if a set may hold more, the
-- server's time in ms, by how many ms that is behind what was seen before, problem, …}.
-- XADD comes before ZREM and HDEL: if the script is cut off between them, the entry is promoted again, never lost.
-- Before XADD, these two are tried on nothing: if they were refused after it, each look would make another copy.
-- No entry holds up others. Each is moved under pcall. An entry that can't be moved as it is becomes a dead letter; an
-- entry that the server refuses stays where it is, and the caller passes over it in the next step (ARGV 4).
-- A lease that lasts longer than any that is given dates from before the clock went back: its holder may be gone.
--! prelude
--! waiting
open_door(KEYS[2], '-')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then return {-1} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local now_ms = now_in_ms()
local now = digits(now_ms)

-- The latest time seen is kept to half a second. After the clock went back it stays until shorten.lua is through.
local behind = (tonumber(redis.call('HGET', KEYS[6], 'seen') or '') or 0) - now_ms
if behind <= -500 then redis.call('HSET', KEYS[6], 'seen', now) end
local result = {0, 0, 0, 0, now_ms, math.max(0, behind)}
local lanes, groups_at = {}, 12 + ARGV[11]
for i = 12, groups_at - 1 do lanes[ARGV[i]] = true end

local function redeliver(group, row)
  local default = ARGV[7] .. group
  local stream = lane_stream(row[1], lanes, default, default .. ':')
  if redis.call('EXISTS', stream) == 0 then redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') end
  redis.call('XADD', stream, '*', unpack(row, 2))
end

-- Dead-letter what can't be moved, kept byte by byte: its fields if they can be read, else the entry as it was found.
local function dead_letter(group, token, packed, row, problem)
  local known = {
    id = token, source = KEYS[2], entry = '0-0', group = group or '', reason = ARGV[6],
    error = "The entry that waited can't be moved: " .. problem,
  }
  local name, kept = 'entry', packed
  if row then known.lane, name, kept = table.remove(row, 1), 'drs-folded', cjson.encode(row) end
  redis.call('XADD', KEYS[5], '*', 'drs', cjson.encode(known), name, kept)
end

-- A delayed message has no group, and so no totals to count in. Returns how many bytes were moved.
local function promote(group, due, entries, totals, token)
  local packed = redis.call('HGET', entries, token)
  local at, count = 2, 'vanished'
  if packed then
    local row, problem = row_of(packed)
    at, count = 1, nil
    if problem then
      at, count = 3, 'dead-lettered'
      if group then redis.call('HINCRBY', totals, count, 0) end
      dead_letter(group, token, packed, row, problem)
    elseif group then
      redeliver(group, row)
    else
      append(row, KEYS[2], ARGV[8], lanes, ARGV[9], ARGV[10])
    end
  end
  if group and count then redis.call('HINCRBY', totals, count, 1) end
  result[at] = result[at] + 1
  redis.call('ZREM', due, token)
  redis.call('HDEL', entries, token)
  return packed and #packed or 0
end

local function each(group, due, entries, totals)
  local tokens = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', ARGV[4], ARGV[3])
  if #tokens == 0 then return end
  redis.call('ZREM', due, '')
  redis.call('HDEL', entries, '')
  if #tokens == tonumber(ARGV[3]) then result[4] = 1 end
  local first
  local left = tonumber(ARGV[5])
  for _, token in ipairs(tokens) do
    local done, told = pcall(promote, group, due, entries, totals, token)
    if done then
      left = left - told
    else
      first = first or told
    end
    if left < 0 then
      result[4] = 1
      break
    end
  end
  if first then error(first, 0) end
end

local function guarded(name, ...)
  local done, problem = pcall(each, ...)
  if done then return end
  result[#result + 1] = name .. ': ' .. (type(problem) == 'table' and problem.err or tostring(problem))
end

guarded('delayed messages', false, KEYS[3], KEYS[4])
for i = groups_at, #ARGV do
  local at = 7 + (i - groups_at) * 3
  guarded(ARGV[i], ARGV[i], KEYS[at], KEYS[at + 1], KEYS[at + 2])
end
return result
