-- The books of a group: what was published to it, and what became of that. `asked` says which group: `group` is its
-- name; `groups`, `starts` (those of its lanes), `totals`, `retry` and `books` are keys; `lanes` is a list of {name,
-- key of its stream, redelivery stream of the group}; `lost_by` is the counter of lost entries if it is known, or "".
--! groups
local ADDS = {'replayed', 'given-again', 'made-again', 'moved-back'}
local TAKES = {'acknowledged', 'skipped', 'repeated', 'dead-lettered', 'vanished', 'discarded', 'merged',
  'passed-over', 'dropped', 'lost-with-consumer', 'unexplained'}

-- Each stream is looked at once, however many groups are asked for.
local streams_seen, groups_seen = {}, {}
local function stream_once(key)
  if streams_seen[key] == nil then streams_seen[key] = stream_at(key) or false end
  return streams_seen[key] or nil
end
local function group_once(key, name)
  if not groups_seen[key] then groups_seen[key] = groups_at(key) end
  return groups_seen[key][name]
end

-- Count the pending entries of a stream, without those that are unread too as the group was set back before them.
local function count_pending(key, group)
  local last, count = group['last-delivered-id'], group['pending']
  if count == 0 or not is_before(last, redis.call('XPENDING', key, group['name'])[3]) then return count end
  local page = {}
  repeat
    page = redis.call('XPENDING', key, group['name'], '(' .. last, '+', 1000)
    count = count - #page
    if #page > 0 then last = page[#page][1] end
  until #page < 1000
  return count
end

-- Look at a group on one lane: `group` on the lane's stream, `again` on its redelivery stream, nil where it isn't
-- there. `unread` is nil where the server can't tell. On a lane where the group isn't, everything is unread.
local function look_at_lane(name, asked)
  local lane = {name = asked[1], key = asked[2], redelivery = asked[3], stream = stream_once(asked[2]),
    group = group_once(asked[2], name), again = group_once(asked[3], name), redelivered = redis.call('XLEN', asked[3])}
  lane.length = lane.stream and lane.stream['length'] or 0
  lane.unread, lane.pending = lane.length, 0
  if lane.group then
    lane.unread = count_after(lane.stream, lane.group['last-delivered-id'], lane.group['lag'] or nil)
    lane.pending = lane.group['pending']
  end
  lane.pending_again = lane.again and lane.again['pending'] or 0
  return lane
end

local function look_at_lanes(asked)
  local lanes = {}
  for at, each in ipairs(asked.lanes) do lanes[at] = look_at_lane(asked.group, each) end
  return lanes
end

-- Add to a lane what the books need besides.
local function add_books(lane, asked, books)
  local main = lane.name == 'default'
  local start = redis.call('HGET', main and asked.groups or asked.starts, main and asked.group
    or asked.group .. ':' .. lane.name)
  lane.start, lane.added = start, lane.stream and lane.stream['entries-added']
  lane.before, lane.made_again = tonumber(books['before ' .. lane.name] or ''), books['made-again ' .. lane.name]
  if lane.group then lane.pending = count_pending(lane.key, lane.group) end
  if not lane.before and not books['before ' .. lane.name] and (start == '0' or start == '0-0') then lane.before = 0 end
end

-- Return how many entries each consumer holds in each stream.
local function holders(lanes, name)
  local found = {}
  for _, lane in ipairs(lanes) do
    for _, key in ipairs({lane.key, lane.redelivery}) do
      if group_once(key, name) then
        for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', key, name)) do
          local consumer = named(row)
          found[key .. ' ' .. consumer['name']] = consumer['pending']
        end
      end
    end
  end
  return found
end

-- Return what is left over in the books, with `published` and all else as it is; nil where that can't be told.
local function balance(book)
  if not book.published or not book.unread then return nil end
  local left = book.published - book.unread - book.waiting
  for _, name in ipairs(ADDS) do left = left + (book.totals[name] or 0) end
  for _, name in ipairs(TAKES) do left = left - (book.totals[name] or 0) end
  return left
end

local function add_up(book)
  book.published, book.unread, book.waiting, book.uncounted = 0, 0, book.retrying, false
  for _, lane in ipairs(book.lanes) do
    book.waiting = book.waiting + lane.pending + lane.redelivered
    book.unread = book.unread and lane.unread and book.unread + lane.unread
    local published = lane.length
    if lane.group then
      published = lane.start and lane.added
      if published and not lane.before then book.uncounted = true end
      published = not is_ahead(lane.stream, lane.group['last-delivered-id']) and published
        and published - (lane.before or 0)
    elseif lane.start then
      published = nil -- gone: workers make it again
    end
    book.published = book.published and published and book.published + published
  end
end

local function look(asked)
  local books = named(redis.call('HGETALL', asked.books))
  local book = {lanes = look_at_lanes(asked), totals = named(redis.call('HGETALL', asked.totals)),
    retrying = redis.call('ZCARD', asked.retry), lost_by = asked.lost_by,
    seen = books['seen'] and cjson.decode(books['seen']) or {lanes = {}, consumers = {}}, booked = {}}
  for name, count in pairs(book.totals) do book.totals[name] = tonumber(count) end
  for _, lane in ipairs(book.lanes) do add_books(lane, asked, books) end
  add_up(book)
  return book
end

local function enter(book, name, count)
  if count == 0 then return end
  book.totals[name] = (book.totals[name] or 0) + count
  book.booked[name] = (book.booked[name] or 0) + count
end

-- A stream that was deleted counts from 0 again: add what the old one had got to what the new one got.
local function add_streams_before(book)
  for _, lane in ipairs(book.lanes) do
    local seen = book.seen.lanes[lane.name]
    local anew = lane.made_again == 'stream' or (seen and lane.added and lane.added < seen.added)
    if lane.group and lane.before and anew then
      lane.before = lane.before - (seen and seen.added or 0)
      add_up(book)
      local left = balance(book)
      if left and left < 0 then lane.before = lane.before + left end -- what it got after the last look
      if left and left > 0 then enter(book, 'dropped', left) end
    end
  end
  add_up(book)
end

local function held_by_lost(book, now)
  local count = 0
  for name, held in pairs(book.seen.consumers) do
    if not now[name] then count = count + held end
  end
  return count
end

-- Whether entries are gone that the group was never given: the group stands before the first entry that is left, or an
-- entry was deleted that comes after where the group stood at the last look.
local function lacks_unread(lane)
  local seen, stream = lane.seen, lane.stream
  if not (lane.group and stream) then return false end
  if seen and is_before(seen.last, stream['max-deleted-entry-id'] or '0-0') then return true end
  local last = lane.group['last-delivered-id']
  if stream['length'] == 0 then return is_before(last, stream['last-generated-id']) end
  return is_before(last, stream['first-entry'][1])
end

local function in_midst(book)
  for _, lane in ipairs(book.lanes) do
    if lane.group and lane.unread and lane.unread > 0 and not is_before(lane.group['last-delivered-id'],
        lane.stream['first-entry'][1]) then return true end
  end
  return false
end

-- This package's own steps leave nothing over, so what is left over was done by others since the last look: book it
-- under the cause that there is a sign of.
local function explain(book, now)
  add_streams_before(book)
  local left = balance(book)
  if not left then return end
  local made_again, dropped = false, false
  for _, lane in ipairs(book.lanes) do
    lane.seen = book.seen.lanes[lane.name]
    made_again = made_again or lane.made_again == 'group'
    dropped = dropped or lacks_unread(lane)
  end
  -- Redis 7.0 counts as lag what was dropped unread before the group read on: then its lag tells nothing.
  if left < 0 and (book.totals['dropped'] or 0) > 0 and not made_again and in_midst(book) then
    book.published = nil
    return
  end
  if left < 0 then return enter(book, made_again and 'made-again' or 'moved-back', -left) end
  if book.lost_by ~= '' then return enter(book, book.lost_by, left) end
  local with_consumer = math.min(left, held_by_lost(book, now))
  enter(book, 'lost-with-consumer', with_consumer)
  enter(book, dropped and 'dropped' or 'unexplained', left - with_consumer)
end
