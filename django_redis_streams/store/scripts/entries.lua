-- Look at entries of a stream, within a bound of bytes; changes nothing.
-- KEYS 1 stream
-- ARGV 1 "XRANGE" or "XREVRANGE", or "ids"   2 most bytes to look at   3 how many fields are named   4… their names
--   then: first and last id, as the command takes them, and the most entries to return; with "ids": ids
-- Returns {what is left, {id, bytes, {field, value, …}}, …}. Left is 1 where there may be more entries; with "ids" it
-- is how many ids weren't looked at, and an entry that isn't there is false. Where fields are named, the values of all
-- others are returned empty; `bytes` is the size of the whole entry.
-- At least one entry is returned, however large it is, and none after the bound is reached. The server copies what it
-- looks at: so the script reads one entry first, and then more at once while these are small.
--! extent
local BEHIND_ALL = '(18446744073709551615-18446744073709551615' -- nothing is there, and asking for it is an error
local names, at = named_fields(3)
local most, bytes, result = tonumber(ARGV[2]), 0, {0}

local function add(entry)
  local size = cut(entry[2], 1, names)
  result[#result + 1] = {entry[1], size, entry[2]}
  bytes = bytes + size
end

if ARGV[1] == 'ids' then
  for i = at, #ARGV do
    if bytes >= most then
      result[1] = #ARGV - i + 1
      break
    end
    local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
    if entry then add(entry) else result[#result + 1] = false end
  end
  return result
end

local from, to, left, some = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), 1
while left > 0 and bytes < most do
  if from == BEHIND_ALL then return result end
  some = math.min(some, left)
  local found = redis.call(ARGV[1], KEYS[1], from, to, 'COUNT', some)
  for i, entry in ipairs(found) do
    add(entry)
    if bytes >= most and i < #found then
      result[1] = 1
      return result
    end
  end
  if #found < some then return result end
  left, from = left - some, '(' .. found[some][1]
  local mean = math.max(1, bytes / (#result - 1))
  some = math.max(1, math.min(some * 4, 32, math.floor((most - bytes) / mean)))
end
result[1] = 1
return result
