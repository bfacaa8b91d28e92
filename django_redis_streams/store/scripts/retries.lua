-- Look at retries or delayed messages that aren't due yet, in the order of their due times; changes nothing.
-- KEYS 1 retry set, or delayed set   2 retry entries, or delayed entries
-- ARGV 1 "due" or "tokens"   2 most bytes to look at   3 how many fields are named   4… their names
--   then: begin at this due time in ms, or "-inf", and with this token, if it is still there, or "1" behind it, and the
--   most to return; with "tokens": tokens
-- Returns {what is left, {token, due in ms, bytes, row}, …}. Left is 1 where there may be more; with "tokens" it is how
-- many weren't looked at, and a token that isn't there is false. The row is {lane, field, value, …}; a retry's begins
-- with "drs" and its metadata. The row is left out where there is none, or none that retry.lua or delay.lua has
-- written. Where fields are named, the values of all others are returned empty; `bytes` is the size of the whole row.
-- At least one is returned, however large it is.
--! extent
local names, at = named_fields(3)
local most, bytes, result = tonumber(ARGV[2]), 0, {0}

local function row_of(token)
  local packed = redis.call('HGET', KEYS[2], token)
  if not packed then return nil end
  local good, row = pcall(cmsgpack.unpack, packed)
  if not good or type(row) ~= 'table' then return nil end
  for _, value in ipairs(row) do
    if type(value) ~= 'string' then return nil end
  end
  return row
end

local function first_rank(due, token, behind)
  local score = redis.call('ZSCORE', KEYS[1], token)
  if score and tonumber(score) == tonumber(due) then return redis.call('ZRANK', KEYS[1], token) + behind end
  return redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. due)
end

-- Return whether there was room for it.
local function add(token, score)
  local size = redis.call('HSTRLEN', KEYS[2], token)
  if bytes > 0 and bytes + size > most then return false end
  bytes = bytes + size
  local row = row_of(token)
  if row then size = cut(row, 2, names) end
  result[#result + 1] = {token, score, size, row}
  return true
end

if ARGV[1] == 'tokens' then
  for i = at, #ARGV do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if not score then
      result[#result + 1] = false
    elseif not add(ARGV[i], score) then
      result[1] = #ARGV - i + 1
      break
    end
  end
else
  local first, count = first_rank(ARGV[at], ARGV[at + 1], ARGV[at + 2]), tonumber(ARGV[at + 3])
  local page = redis.call('ZRANGE', KEYS[1], first, first + count - 1, 'WITHSCORES')
  if #page == 2 * count then result[1] = 1 end
  for i = 1, #page, 2 do
    if not add(page[i], page[i + 1]) then
      result[1] = 1
      break
    end
  end
end
return result
