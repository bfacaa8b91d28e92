-- Look at a stream and its groups, in a time that doesn't depend on how much is in them; changes nothing.
-- KEYS 1 dead letter queue   2 groups   3 lanes   4 delayed set   5 clock   6 processes
--   7 with which the key of each living process begins   8… the stream of each lane
--   then for each group: its totals, retry set, books, suspects, workers, redelivery stream of each lane
-- ARGV 1 after how many ms a due message that still waits is overdue   2 "1": with the books, "0": without
--   3 the counter of lost entries, where it is known ("dropped"), or ""
--   4 for how many ms a process is alive after it said so   5 how many lanes there are   6… their names
--   then for each group: its name, its fields in KEYS 2 for a pause and for a deletion, and within how many ms a living
--   consumer of another client was seen
-- Returns {time in ms, dead letters, delayed messages, how many of them are overdue, {latest time seen, last jump of
-- the clock, when that was}, lanes, groups}; a lane is {name, length, last id ever, groups that are on it}. A group
-- is {name, published, retries that wait, how many of them are overdue, suspects, since when it is paused, its
-- deletion, living consumers, id of the oldest unread, of the oldest pending, for how many ms the longest held entry is
-- idle, totals, its lanes}; totals are {name, count, …}. A lane of a group, its redelivery included, is {1 if the group
-- is on its stream, entries, unread, pending}. What isn't known or isn't there is false. Bodies aren't returned: they
-- may be large. With the books, the totals include what others did since the last look, and an entry that is pending
-- but unread again, as the group was set back, counts as unread alone: in a group that was set back, pending entries
-- are looked at one by one.
--! prelude
--! books
--! presence
local now, with_books, life, lanes = now_in_ms(), ARGV[2] == '1', tonumber(ARGV[4]), tonumber(ARGV[5])
local due = digits(now - ARGV[1])
local OLDEST_OF_A_CONSUMER = 10
local silent = silences(KEYS[6], KEYS[7], life)

local function older(a, b)
  if not a or not b then return a or b or false end
  return is_before(a, b) and a or b
end

local function group_asked(number)
  local at, words = 8 + lanes + (number - 1) * (5 + lanes), 6 + lanes + (number - 1) * 4
  local asked = {group = ARGV[words], paused = ARGV[words + 1], deleted = ARGV[words + 2],
    within = tonumber(ARGV[words + 3]), lost_by = ARGV[3], groups = KEYS[2], starts = KEYS[3], totals = KEYS[at],
    retry = KEYS[at + 1], books = KEYS[at + 2], suspects = KEYS[at + 3], workers = KEYS[at + 4], lanes = {}}
  for lane = 1, lanes do asked.lanes[lane] = {ARGV[5 + lane], KEYS[7 + lane], KEYS[at + 4 + lane]} end
  return asked
end

-- {published or false, totals, lanes} of a group, by its books.
local function by_books(asked)
  local book, totals = look(asked), {}
  if not book.uncounted and balance(book) ~= 0 then explain(book, holders(book.lanes, asked.group)) end
  for name, count in pairs(book.totals) do
    totals[#totals + 1] = name
    totals[#totals + 1] = count
  end
  return {not book.uncounted and book.published or false, totals, book.lanes}
end

-- For how many ms the longest held of a consumer's entries is idle. A consumer gets entries in their order, so its
-- oldest was held for longest; where it has claimed older ones since, these are few and come first.
local function longest_idle(key, group, consumer)
  local longest = 0
  for _, each in ipairs(redis.call('XPENDING', key, group, '-', '+', OLDEST_OF_A_CONSUMER, consumer)) do
    longest = math.max(longest, each[3])
  end
  return longest
end

-- Look at the group on one of its streams: note in `found` which consumers of other clients are alive and the longest
-- idle time of what consumers hold, return ids of its oldest unread and pending. The server may know nothing of a
-- living worker's consumer (before 7.2), and have heard lately of one that is dead.
local function oldest_on(key, row, asked, found)
  if not row then return false, false end
  for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', key, asked.group)) do
    local consumer = named(each)
    -- Entries that were handed back are pending for `returned`: nobody reads under that name.
    local name = consumer['name']
    if name ~= 'returned' then
      if found.living[name] == nil and consumer['idle'] <= asked.within then found.living[name] = true end
      if consumer['pending'] > 0 then found.idle = math.max(found.idle, longest_idle(key, asked.group, name)) end
    end
  end
  local unread = redis.call('XRANGE', key, '(' .. row['last-delivered-id'], '+', 'COUNT', 1)[1]
  return unread and unread[1], row['pending'] > 0 and redis.call('XPENDING', key, asked.group)[2]
end

local function look_at_group(asked)
  local published, totals, standing
  if with_books then
    published, totals, standing = unpack(by_books(asked))
  else
    published, totals, standing = false, redis.call('HGETALL', asked.totals), look_at_lanes(asked)
  end
  local unread, pending, consumers, told = false, false, 0, {}
  local found = {living = consumers_of_workers(asked.workers, silent, now, life), idle = 0}
  for at, lane in ipairs(standing) do
    local first, held = oldest_on(lane.key, lane.group, asked, found)
    -- On a lane where the group isn't yet, everything is unread.
    if not lane.group and lane.length > 0 then first = lane.stream['first-entry'][1] end
    local again, held_again = oldest_on(lane.redelivery, lane.again, asked, found)
    unread, pending = older(unread, older(first, again)), older(pending, older(held, held_again))
    -- A settled entry is deleted from redelivery, so what isn't pending there is unread.
    local redelivered = math.max(0, lane.redelivered - lane.pending_again)
    told[at] = {lane.group and 1 or 0, lane.length + lane.redelivered,
      lane.unread and lane.unread + redelivered or false, lane.pending + lane.pending_again}
  end
  for _, alive in pairs(found.living) do consumers = consumers + (alive and 1 or 0) end
  return {asked.group, published, redis.call('ZCARD', asked.retry), redis.call('ZCOUNT', asked.retry, '-inf', due),
    redis.call('HLEN', asked.suspects), redis.call('HGET', KEYS[2], asked.paused),
    redis.call('HGET', KEYS[2], asked.deleted), consumers, unread, pending, found.idle, totals, told}
end

local function look_at_stream(lane)
  local stream, names = stream_once(KEYS[7 + lane]), {}
  if not stream then return {ARGV[5 + lane], 0, '0-0', false} end
  group_once(KEYS[7 + lane], '')
  for name in pairs(groups_seen[KEYS[7 + lane]]) do names[#names + 1] = name end
  return {ARGV[5 + lane], stream['length'], stream['last-generated-id'], names}
end

local streams, groups = {}, {}
for lane = 1, lanes do streams[lane] = look_at_stream(lane) end
for number = 1, (#ARGV - 5 - lanes) / 4 do groups[number] = look_at_group(group_asked(number)) end
return {now, redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[4]), redis.call('ZCOUNT', KEYS[4], '-inf', due),
  redis.call('HMGET', KEYS[5], 'seen', 'jump', 'jumped'), streams, groups}
