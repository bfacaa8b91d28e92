-- Move what is due from the delayed set to the stream and from the retry sets to the redelivery streams, if this process holds or gets the stream's lease.
-- KEYS 1 promoter lease   2 main stream   3 delayed set   4 delayed entries   then for each group: its retry set, retry entries, totals
-- ARGV 1 holder   2 lease in ms   3 most to move from one set   4 "{stream}:redelivery:"
--   5 "{stream}:lane:"   6 HARD_MAXLEN, or ""   7 "=" or "~": exactly that, or about   8 how many lanes there are
--   9… lanes, then groups in the order of KEYS
-- Returns {-1} where another holds the lease; else {moved, vanished, 1 if a set may hold more, problem, …}.
-- The XADD comes before ZREM and HDEL: what is cut off between them is promoted again, never lost. Before it, these two
-- are tried on nothing: where they are refused, each look would make another copy. Each entry is moved under pcall: one
-- that can't be moved doesn't hold up the others.
redis.call('XACK', KEYS[2], '-', '0-0')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {-1} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local result = {0, 0, 0}
-- A lane that isn't declared any more nobody reads: then it is the default one.
local lanes, groups_at = {}, 9 + ARGV[8]
for i = 9, groups_at - 1 do lanes[ARGV[i]] = true end

local function redeliver(group, row)
  local stream = ARGV[4] .. group
  if row[1] ~= 'default' and lanes[row[1]] then stream = stream .. ':' .. row[1] end
  if redis.call('EXISTS', stream) == 0 then redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') end
  redis.call('XADD', stream, '*', unpack(row, 2))
end

local function append(row)
  local stream = KEYS[2]
  if row[1] ~= 'default' and lanes[row[1]] then stream = ARGV[5] .. row[1] end
  if ARGV[6] == '' then
    redis.call('XADD', stream, '*', unpack(row, 2))
  else
    redis.call('XADD', stream, 'MAXLEN', ARGV[7], ARGV[6], '*', unpack(row, 2))
  end
end

-- Without a group: a delayed message, which has no totals to count in.
local function promote(group, due, entries, totals, token)
  local packed = redis.call('HGET', entries, token)
  if packed then
    local row = cmsgpack.unpack(packed)
    if group then redeliver(group, row) else append(row) end
    result[1] = result[1] + 1
  else
    if group then redis.call('HINCRBY', totals, 'vanished', 1) end
    result[2] = result[2] + 1
  end
  redis.call('ZREM', due, token)
  redis.call('HDEL', entries, token)
end

local function each(group, due, entries, totals)
  local tokens = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[3])
  if #tokens == 0 then return end
  redis.call('ZREM', due, '')
  redis.call('HDEL', entries, '')
  if #tokens == tonumber(ARGV[3]) then result[3] = 1 end
  local first
  for _, token in ipairs(tokens) do
    local done, problem = pcall(promote, group, due, entries, totals, token)
    if not done then first = first or problem end
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
  local at = 5 + (i - groups_at) * 3
  guarded(ARGV[i], ARGV[i], KEYS[at], KEYS[at + 1], KEYS[at + 2])
end
return result
