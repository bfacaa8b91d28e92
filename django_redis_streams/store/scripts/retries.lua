-- Look at retries or delayed messages that aren't due yet, in the order of their due times; changes nothing.
-- KEYS 1 retry set, or delayed set   2 retry entries, or delayed entries
-- ARGV 1 most to return   2 begin at this due time in ms, or "-inf"   3 and with this token, if it is still there
--   or: "0", then the tokens to return
-- Returns {token, due in ms, row} for each. The row is {lane, field, value, …}; a retry's begins with "drs" and its
-- metadata. The row is left out where there is none, or none that retry.lua or delay.lua has written.
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

local function first_rank()
  local score = ARGV[3] and redis.call('ZSCORE', KEYS[1], ARGV[3])
  if score and tonumber(score) == tonumber(ARGV[2]) then return redis.call('ZRANK', KEYS[1], ARGV[3]) end
  return redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
end

local found = {}
local function add(token, score)
  if score then found[#found + 1] = {token, score, row_of(token)} end
end

if ARGV[1] == '0' then
  for i = 2, #ARGV do add(ARGV[i], redis.call('ZSCORE', KEYS[1], ARGV[i])) end
else
  local first = first_rank()
  local page = redis.call('ZRANGE', KEYS[1], first, first + ARGV[1] - 1, 'WITHSCORES')
  for i = 1, #page, 2 do add(page[i], page[i + 1]) end
end
return found
