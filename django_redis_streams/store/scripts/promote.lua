-- Move what is due from the delayed set to the stream and from the retry sets to the redelivery streams, if this
-- process holds or gets the stream's lease.
-- KEYS 1 promoter lease   2 main stream   3 delayed set   4 delayed entries   5 dead letter queue   6 clock
--   then for each group: its retry set, retry entries, totals
-- ARGV 1 holder   2 ms from one look to the next while things move   3 most ms between two looks while anything waits
--   4 for how many ms after its next look the holder keeps the lease   5 "1": something moved a moment ago
--   6 what the server's clock shows at least, in ms, as far as the holder knows, or "0"
--   7 most to look at in one set   8 how many of what is due in each set to pass over   9 most bytes to move from a set
--   10 reason of a dead letter of what can't be moved   11 "{stream}:redelivery:"   12 "{stream}:lane:"
--   13 HARD_MAXLEN, or ""   14 "=" or "~": exactly that, or about   15 how many lanes there are
--   16… lanes, then groups in the order of KEYS
-- Returns {-1, ms left of the lease} where another holds it; else {moved, vanished, dead-lettered, 1 if a set may hold
-- more, the server's time in ms, by how many ms that is behind what was seen before, ms until the next look or -1 where
-- nothing waits and the lease was let go, problem, …}.
-- The lease says when its holder looks next: who adds something that is due before tells a notice.
-- XADD comes before ZREM and HDEL: if the script is cut off between them, the entry is promoted again, never lost.
-- Before XADD, these two are tried on nothing: if they were refused after it, each look would make another copy.
-- No entry holds up others. Each is moved under pcall. An entry that can't be moved as it is becomes a dead letter; an
-- entry that the server refuses stays where it is, and the caller passes over it in the next step (ARGV 8).
-- A lease that lasts longer than any that is given dates from before the clock went back: its holder may be gone.
--! prelude
--! waiting
--! notices
open_door(KEYS[2], '-')
local soon, longest, grace = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease = redis.call('GET', KEYS[1])
if lease and holder_of(lease) ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left <= longest + grace then return {-1, left} end
end
local now_ms = now_in_ms()
local now = digits(now_ms)

-- The latest time seen is kept to half a second. After the clock went back it stays until shorten.lua is through.
local kept = tonumber(redis.call('HGET', KEYS[6], 'seen') or '') or 0
local seen = math.max(kept, tonumber(ARGV[6]), now_ms)
if seen - kept >= 500 then redis.call('HSET', KEYS[6], 'seen', digits(seen)) end
local result = {0, 0, 0, 0, now_ms, seen - now_ms, 0}
local lanes, groups_at = {}, 16 + ARGV[15]
for i = 16, groups_at - 1 do lanes[ARGV[i]] = true end
-- When what waits is due first.
local first = math.huge

local function redeliver(group, row)
  local default = ARGV[11] .. group
  local stream = lane_stream(row[1], lanes, default, default .. ':')
  if redis.call('EXISTS', stream) == 0 then redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') end
  redis.call('XADD', stream, '*', unpack(row, 2))
end

-- Dead-letter what can't be moved, kept byte by byte: its fields if they can be read, else the entry as it was found.
local function dead_letter(group, token, packed, row, problem)
  local known = {
    id = token, source = KEYS[2], entry = '0-0', group = group or '', reason = ARGV[10],
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
      append(row, KEYS[2], ARGV[12], lanes, ARGV[13], ARGV[14])
    end
  end
  if group and count then redis.call('HINCRBY', totals, count, 1) end
  result[at] = result[at] + 1
  redis.call('ZREM', due, token)
  redis.call('HDEL', entries, token)
  return packed and #packed or 0
end

-- Return when the first of a set is due; nothing where it is empty.
local function first_due(due)
  local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  return tonumber(head[2])
end

local function each(group, due, entries, totals)
  local head = first_due(due)
  if not head then return end
  if head > now_ms then
    first = math.min(first, head)
    return
  end
  redis.call('ZREM', due, '')
  redis.call('HDEL', entries, '')
  local tokens = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', ARGV[8], ARGV[7])
  if #tokens == tonumber(ARGV[7]) then result[4] = 1 end
  local refused
  local left = tonumber(ARGV[9])
  for _, token in ipairs(tokens) do
    local done, told = pcall(promote, group, due, entries, totals, token)
    if done then
      left = left - told
    else
      refused = refused or told
    end
    if left < 0 then
      result[4] = 1
      break
    end
  end
  first = math.min(first, first_due(due) or math.huge)
  if refused then error(refused, 0) end
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

local moved = result[1] + result[2] + result[3] > 0
-- What is held up by the clock, or was refused, is left as it is: the next look goes on with that.
if first == math.huge and not moved and ARGV[5] ~= '1' and result[6] == 0 and #result == 7 then
  redis.call('DEL', KEYS[1])
  result[7] = -1
  return result
end
local sleep = soon
if not moved and ARGV[5] ~= '1' then sleep = math.min(longest, math.max(soon, math.ceil(first - now_ms))) end
redis.call('SET', KEYS[1], lease_of(ARGV[1], now_ms + sleep), 'PX', digits(sleep + grace))
result[7] = sleep
return result
