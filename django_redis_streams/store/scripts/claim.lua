-- Claim what was handed back, or what has been idle for too long, for a consumer that is free to run it.
-- KEYS 1 totals   2 suspects   3 rate of the group   4 its slots   5… the streams read from, in the order of reading
-- ARGV 1 group   2 consumer   3 idle for at least, in ms   4 most to claim of all   5 from this consumer only, or ""
--   6 to 9 limits, as parts/limits.lua has them: what they leave no room for stays where it is
-- Returns {entries claimed, ids whose body is gone} for each stream. A pending entry without a body can't be run by
-- anybody, and would hold back trimming for ever: it is acknowledged and counted as vanished.
-- Suspects are for a quarantine, which takes what was handed back: so those that are idle for too long are handed back
-- here. What was delivered twice before it went idle has outlived two hosts, and becomes a suspect.
-- All is claimed at the end: what is refused before leaves nothing claimed that the reply doesn't name.
--! limits
for at = 5, #KEYS do redis.call('XACK', KEYS[at], ARGV[1], '0-0') end
local limits = limits_of(KEYS[3], KEYS[4], {ARGV[6], ARGV[7], ARGV[8], ARGV[9]})
local left = tonumber(ARGV[4])
local suspects = redis.call('HLEN', KEYS[2]) > 0
local tokens = {}

local function page(key, begin, count)
  local range = {'XPENDING', key, ARGV[1], 'IDLE', ARGV[3], begin, '+', count}
  if ARGV[5] ~= '' then range[#range + 1] = ARGV[5] end
  return redis.call(unpack(range))
end

local function hand_back(key, id)
  redis.call('XCLAIM', key, ARGV[1], 'returned', 0, id, 'IDLE', ARGV[3], 'RETRYCOUNT', 0, 'JUSTID')
end

-- Whether it is to be claimed, or has vanished, which the claim tells.
local function wanted(key, entry)
  local id, owner = entry[1], entry[2]
  if owner == ARGV[2] then return false end
  local token = key .. '/' .. id
  if suspects and redis.call('HEXISTS', KEYS[2], token) == 1 then
    if owner ~= 'returned' then hand_back(key, id) end
    return false
  end
  if entry[4] >= 2 and #redis.call('XRANGE', key, id, id) > 0 then
    redis.call('HSET', KEYS[2], token, cjson.encode({runs = 0, handler = '', how = ''}))
    suspects = true
    hand_back(key, id)
    return false
  end
  if not limits.admits(token) then return false end
  tokens[#tokens + 1] = token
  return true
end

-- Pages of suspects may come before anything else; a bounded number of them keeps the script short.
local function choose(key)
  local ids, begin = {}, '-'
  for _ = 1, 20 do
    if left < 1 then break end
    local count = left
    local pending = page(key, begin, count)
    for _, entry in ipairs(pending) do
      if wanted(key, entry) then
        ids[#ids + 1] = entry[1]
        left = left - 1
      end
    end
    if #pending < count then break end
    begin = '(' .. pending[#pending][1]
  end
  return ids
end

-- The claim replies with the bodies. Of one that is gone it says nothing, or nil before Redis 7.
local function claim(key, ids)
  if #ids == 0 then return {{}, {}} end
  local entries, vanished = {}, {}
  local at = 1
  for _, entry in ipairs(redis.call('XCLAIM', key, ARGV[1], ARGV[2], 0, unpack(ids))) do
    if entry then
      while ids[at] ~= entry[1] do
        vanished[#vanished + 1] = ids[at]
        at = at + 1
      end
      entries[#entries + 1] = entry
      at = at + 1
    end
  end
  for rest = at, #ids do vanished[#vanished + 1] = ids[rest] end
  for _, id in ipairs(vanished) do
    redis.call('HINCRBY', KEYS[1], 'vanished', 1)
    redis.call('XACK', key, ARGV[1], id)
    redis.call('ZREM', KEYS[4], key .. '/' .. id)
  end
  return {entries, vanished}
end

local chosen, replies = {}, {}
for at = 5, #KEYS do chosen[at] = choose(KEYS[at]) end
-- A claim forgets what has vanished on newer servers: that it can be counted is tried before, on nothing.
if #tokens > 0 then
  redis.call('HINCRBY', KEYS[1], '', 0)
  redis.call('HDEL', KEYS[1], '')
end
limits.take(tokens)
for at = 5, #KEYS do replies[#replies + 1] = claim(KEYS[at], chosen[at]) end
return replies
