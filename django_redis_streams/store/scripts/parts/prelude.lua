-- What several scripts repeat.

-- Every script of a worker begins with this call. It acknowledges an entry that can't exist, so it changes nothing.
-- But it fails at once where an ACL or a key's type would refuse the XACK that the script ends with; and as XACK frees
-- memory, the server lets what follows it in the script through at maxmemory too. A script without a group gives "-".
local function open_door(key, group)
  redis.call('XACK', key, group, '0-0')
end

-- The server's time in ms since 1970.
local function now_in_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lower scores beyond the latest that is ever given, a hundred at most: they date from before the clock went back.
local function hold_to(set, latest)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. latest, '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', set, 'XX', latest, member)
  end
end

-- A whole number as text: Lua would write a large one as 1.7e+12.
local function digits(number)
  return string.format('%.0f', number)
end

-- A flat reply {name, value, …} as a table.
local function named(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- The name of a pending entry: ids of two streams are often equal.
local function token_of(key, id)
  return key .. '/' .. id
end

-- The fence: whether an entry is pending for this consumer.
local function is_held(key, group, consumer, id)
  return #redis.call('XPENDING', key, group, id, id, 1, consumer) > 0
end

-- Give an entry to the consumer `returned`; nobody reads under that name. Set idle for so many ms, it can be claimed at
-- once; its next delivery counts as the first; a late heartbeat of the old owner finds that it isn't its own. Returns
-- whether it has a body: from 7.0 on the server drops an entry without one from the pending list.
local function hand_back(key, group, id, idle)
  return #redis.call('XCLAIM', key, group, 'returned', 0, id, 'IDLE', idle, 'RETRYCOUNT', 0, 'JUSTID') > 0
end
