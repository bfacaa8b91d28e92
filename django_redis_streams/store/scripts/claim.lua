-- Claim what was handed back, or what has been idle for too long, for a consumer that is free to run it.
-- KEYS 1 the stream read from   2 totals   3 suspects   4 rate of the group   5 its slots
-- ARGV 1 group   2 consumer   3 idle for at least, in ms   4 most to claim   5 from this consumer only, or ""
--   6 to 9 limits, as parts/limits.lua has them: what they leave no room for stays where it is
-- Returns {entries claimed, ids whose body is gone}. A pending entry without a body can't be run by anybody, and would
-- hold back trimming for ever: it is acknowledged and counted as vanished.
-- Suspects are for a quarantine, which takes what was handed back: so those that are idle for too long are handed back
-- here. What was delivered twice before it went idle has outlived two hosts, and becomes a suspect.
-- All is claimed by one command, the last: what is refused before it leaves nothing claimed that the reply doesn't name.
--! limits
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local limits = limits_of(KEYS[4], KEYS[5], {ARGV[6], ARGV[7], ARGV[8], ARGV[9]})
local most = tonumber(ARGV[4])
local suspects = redis.call('HLEN', KEYS[3]) > 0
local ids, tokens, claimed, vanished = {}, {}, {}, {}

local function page(begin)
  local range = {'XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], begin, '+', most}
  if ARGV[5] ~= '' then range[#range + 1] = ARGV[5] end
  return redis.call(unpack(range))
end

local function hand_back(id)
  redis.call('XCLAIM', KEYS[1], ARGV[1], 'returned', 0, id, 'IDLE', ARGV[3], 'RETRYCOUNT', 0, 'JUSTID')
end

local function look(entry)
  local id = entry[1]
  if entry[2] == ARGV[2] then return end
  local token = KEYS[1] .. '/' .. id
  if suspects and redis.call('HEXISTS', KEYS[3], token) == 1 then
    if entry[2] ~= 'returned' then hand_back(id) end
    return
  end
  local body = redis.call('XRANGE', KEYS[1], id, id)
  if #body == 0 then
    redis.call('HINCRBY', KEYS[2], 'vanished', 1)
    redis.call('XACK', KEYS[1], ARGV[1], id)
    vanished[#vanished + 1] = id
  elseif entry[4] >= 2 then
    redis.call('HSET', KEYS[3], token, cjson.encode({runs = 0, handler = '', how = ''}))
    suspects = true
    hand_back(id)
  elseif limits.admits(token) then
    ids[#ids + 1] = id
    tokens[#tokens + 1] = token
    claimed[#claimed + 1] = body[1]
  end
end

-- Pages of suspects may come before anything else; a bounded number of them keeps the script short.
local begin = '-'
for _ = 1, 20 do
  local pending = page(begin)
  for _, entry in ipairs(pending) do
    if #ids + #vanished < most then look(entry) end
  end
  if #pending < most or #ids + #vanished >= most then break end
  begin = '(' .. pending[#pending][1]
end
limits.take(tokens)
if #ids > 0 then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], unpack(ids)) end
return {claimed, vanished}
