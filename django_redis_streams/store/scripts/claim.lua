-- Claim what was handed back, or what has been idle for too long, for a consumer that is free to run it.
-- KEYS 1 totals   2 suspects   3 rate of the group   4 its slots   5… the streams read from, in the order of reading
-- ARGV 1 group   2 consumer   3 idle for at least, in ms   4 most to claim, over all streams
--   5 until when, in ms since 1970, idle entries may be claimed too: after that only what was handed back
--   6 to 9 limits, as parts/limits.lua has them: entries that they leave no room for stay where they are
-- Returns {ids claimed, ids whose body is gone} for each stream. The caller reads the bodies: passing them through a
-- script would cost the server as much as all the rest. A pending entry without a body can't be run by anybody, and
-- would hold back trimming for ever: it is acknowledged and counted as vanished. Before Redis 7 only a read of the
-- bodies shows that one is gone.
-- Suspects are for a quarantine, which takes only what was handed back: so suspects that are idle for too long are
-- handed back here. An entry that was delivered twice before it went idle has outlived two hosts: it becomes a suspect.
-- All is claimed at the end: if a command before that is refused, nothing is claimed that the reply doesn't name.
--! prelude
--! limits
for at = 5, #KEYS do
  open_door(KEYS[at], ARGV[1])
  redis.call('XRANGE', KEYS[at], '-', '-') -- as the bodies will be read
end
-- If the clock has jumped ahead since the caller looked at it, every entry seems idle: now is past ARGV[5] then.
local idle_too = now_in_ms() <= tonumber(ARGV[5])
local limits = limits_of(KEYS[3], KEYS[4], {ARGV[6], ARGV[7], ARGV[8], ARGV[9]})
local left = tonumber(ARGV[4])
local limited = limits.pace < math.huge or limits.free < math.huge
local suspects = redis.call('HLEN', KEYS[2]) > 0
local tokens = {}

local function page(key, begin, count)
  local range = {'XPENDING', key, ARGV[1], 'IDLE', ARGV[3], begin, '+', count}
  if not idle_too then range[#range + 1] = 'returned' end
  return redis.call(unpack(range))
end

-- Whether to claim the entry; the claim tells if it has vanished. Most entries need no such check: see `simple` below.
local function wanted(key, entry)
  local id, owner = entry[1], entry[2]
  if owner == ARGV[2] then return false end
  local token = token_of(key, id)
  if suspects and redis.call('HEXISTS', KEYS[2], token) == 1 then
    if owner ~= 'returned' then hand_back(key, ARGV[1], id, ARGV[3]) end
    return false
  end
  if entry[4] >= 2 and #redis.call('XRANGE', key, id, id) > 0 then
    redis.call('HSET', KEYS[2], token, cjson.encode({runs = 0, handler = '', how = ''}))
    suspects = true
    hand_back(key, ARGV[1], id, ARGV[3])
    return false
  end
  if not limits.admits(token) then return false end
  tokens[#tokens + 1] = token
  return true
end

-- Pages of suspects may come before anything else; a bounded number of pages keeps the script short.
-- Returns ids, and the same ids in two lists: never delivered since they were handed back, or delivered once.
local function choose(key)
  local ids, never, once, begin, me = {}, {}, {}, '-', ARGV[2]
  for _ = 1, 20 do
    if left < 1 then break end
    local count = left
    local pending = page(key, begin, count)
    local simple = not (suspects or limited)
    for i = 1, #pending do
      local entry = pending[i]
      local id, times = entry[1], entry[4]
      if (simple and times < 2 and entry[2] ~= me) or wanted(key, entry) then
        local alike = times < 1 and never or once
        ids[#ids + 1] = id
        alike[#alike + 1] = id
        left = left - 1
      end
    end
    if #pending < count then break end
    begin = '(' .. pending[#pending][1]
  end
  return ids, {never, once}
end

-- With JUSTID a claim counts no delivery by itself. From Redis 7 on its reply leaves out an entry without a body.
-- A thousand ids at a time: Lua hands about 8,000 values to one command, and BATCH_SIZE may be more.
local function claim(key, ids, by_delivery)
  local held, claimed, vanished = {}, {}, {}
  for delivery, alike in ipairs(by_delivery) do
    for first = 1, #alike, 1000 do
      local some = {unpack(alike, first, math.min(first + 999, #alike))}
      for _, word in ipairs({'RETRYCOUNT', delivery, 'JUSTID'}) do some[#some + 1] = word end
      local got = redis.call('XCLAIM', key, ARGV[1], ARGV[2], 0, unpack(some))
      if #got == #ids then return {got, {}} end -- nearly always
      for _, id in ipairs(got) do held[id] = true end
    end
  end
  for _, id in ipairs(ids) do
    if held[id] then
      claimed[#claimed + 1] = id
    else
      vanished[#vanished + 1] = id
      redis.call('HINCRBY', KEYS[1], 'vanished', 1)
      redis.call('XACK', key, ARGV[1], id)
      redis.call('ZREM', KEYS[4], token_of(key, id))
    end
  end
  return {claimed, vanished}
end

local chosen, replies = {}, {}
for at = 5, #KEYS do chosen[at] = {choose(KEYS[at])} end
-- On newer servers a claim drops vanished entries: so try first, on nothing, whether they can be counted.
if left < tonumber(ARGV[4]) then
  redis.call('HINCRBY', KEYS[1], '', 0)
  redis.call('HDEL', KEYS[1], '')
end
limits.take(tokens)
for at = 5, #KEYS do replies[#replies + 1] = claim(KEYS[at], unpack(chosen[at])) end
return replies
