-- Look at a stream and its groups, in a time that doesn't depend on how much is in them; changes nothing.
-- KEYS 1 dead letter queue   2 groups   3… the lanes; then for each group: its retry set, its redelivery stream of
--   each lane; at last the delayed set
-- ARGV 1 how many lanes
--   2… for each group: its name, its field in KEYS 2 that says that it is paused, and within how many ms a living
--   consumer of it was seen
-- Returns {time in ms, dead letters, groups that aren't named, lanes, groups, delayed messages}; a lane is {length,
-- last id ever, first id}, a group {retries that wait, since when it is paused, living consumers, sources of each
-- lane: the lane's own, redelivery}. A source is {length, pending, last delivered id, lag, id of the oldest unread, of
-- the oldest pending}, or false where the group isn't there. What isn't known or isn't there is false. Bodies stay
-- here: they may be large.
--! prelude
local lanes = tonumber(ARGV[1])

local function groups_of(key)
  local found = {}
  if redis.call('EXISTS', key) == 1 then
    for _, row in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      local group = named(row)
      found[group['name']] = group
    end
  end
  return found
end

local function source(key, row, group, seen_within, consumers)
  if not row then return false end
  for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    local consumer = named(each)
    -- What was handed back is pending for this name, which nobody reads as.
    if consumer['name'] ~= 'returned' and consumer['idle'] <= seen_within then consumers[consumer['name']] = true end
  end
  local last = row['last-delivered-id']
  local unread = redis.call('XRANGE', key, '(' .. last, '+', 'COUNT', 1)
  local pending = redis.call('XPENDING', key, group)
  local oldest_unread = unread[1] and unread[1][1] or false
  return {redis.call('XLEN', key), pending[1], last, row['lag'] or false, oldest_unread, pending[2]}
end

local undeclared, main, mains = {}, {}, {}
for lane = 1, lanes do
  local key = KEYS[2 + lane]
  mains[lane] = groups_of(key)
  for name in pairs(mains[lane]) do undeclared[name] = true end
  if redis.call('EXISTS', key) == 1 then
    local info = named(redis.call('XINFO', 'STREAM', key))
    main[lane] = {info['length'], info['last-generated-id'], info['first-entry'] and info['first-entry'][1] or false}
  else
    main[lane] = {0, '0-0', false}
  end
end

local found = {}
for number = 1, (#ARGV - 1) / 3 do
  local group, paused, seen_within = ARGV[3 * number - 1], ARGV[3 * number], tonumber(ARGV[3 * number + 1])
  local first = 3 + lanes + (number - 1) * (lanes + 1)
  local sources, consumers, living = {}, {}, 0
  undeclared[group] = nil
  for lane = 1, lanes do
    local redelivery = KEYS[first + lane]
    sources[#sources + 1] = source(KEYS[2 + lane], mains[lane][group], group, seen_within, consumers)
    sources[#sources + 1] = source(redelivery, groups_of(redelivery)[group], group, seen_within, consumers)
  end
  for _ in pairs(consumers) do living = living + 1 end
  found[number] = {redis.call('ZCARD', KEYS[first]), redis.call('HGET', KEYS[2], paused), living, sources}
end

local strangers = 0
for _ in pairs(undeclared) do strangers = strangers + 1 end
return {now_in_ms(), redis.call('XLEN', KEYS[1]), strangers, main, found,
  redis.call('ZCARD', KEYS[#KEYS])}
