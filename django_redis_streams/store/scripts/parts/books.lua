-- The books of one group: what was published to it, and what became of that. KEYS and ARGV are those of books.lua.
--! groups
local ADDS = {'replayed', 'given-again', 'made-again', 'moved-back'}
local TAKES = {'acknowledged', 'skipped', 'dead-lettered', 'vanished', 'discarded', 'merged', 'passed-over',
  'dropped', 'lost-with-consumer', 'unexplained'}

-- How many entries are pending in a stream, but for those that are unread as well, as the group was set back before
-- them.
local function count_pending(key, group)
  local last, count = group['last-delivered-id'], group['pending']
  if count == 0 or not is_before(last, redis.call('XPENDING', key, ARGV[1])[3]) then return count end
  local page = {}
  repeat
    page = redis.call('XPENDING', key, ARGV[1], '(' .. last, '+', 1000)
    count = count - #page
    if #page > 0 then last = page[#page][1] end
  until #page < 1000
  return count
end

local function lane_at(name, key, redelivery, books)
  local stream, group = stream_at(key), group_at(key, ARGV[1])
  local again = group_at(redelivery, ARGV[1])
  local main = name == 'default'
  local start = redis.call('HGET', main and KEYS[1] or KEYS[2], main and ARGV[1] or ARGV[1] .. ':' .. name)
  local lane = {name = name, key = key, stream = stream, group = group, start = start,
    length = stream and stream['length'] or 0, added = stream and stream['entries-added'],
    pending = group and count_pending(key, group) or 0, redelivered = redis.call('XLEN', redelivery),
    pending_again = again and again['pending'] or 0, before = tonumber(books['before ' .. name] or ''),
    made_again = books['made-again ' .. name]}
  lane.unread = lane.length
  if group then lane.unread = count_after(stream, group['last-delivered-id'], group['lag'] or nil) end
  if not lane.before and not books['before ' .. name] and (start == '0' or start == '0-0') then lane.before = 0 end
  return lane
end

-- Each consumer of each stream with how much it holds there.
local function holders(lanes)
  local found = {}
  for at, lane in ipairs(lanes) do
    for _, key in ipairs({lane.key, KEYS[5 + 2 * at]}) do
      if group_at(key, ARGV[1]) then
        for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', key, ARGV[1])) do
          local consumer = named(row)
          found[key .. ' ' .. consumer['name']] = consumer['pending']
        end
      end
    end
  end
  return found
end

-- What is left over in the books, with `published` and all else as it is; nil where that can't be told.
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

local function look()
  local books = named(redis.call('HGETALL', KEYS[5]))
  local book = {lanes = {}, totals = named(redis.call('HGETALL', KEYS[3])), retrying = redis.call('ZCARD', KEYS[4]),
    seen = books['seen'] and cjson.decode(books['seen']) or {lanes = {}, consumers = {}}, booked = {}}
  for name, count in pairs(book.totals) do book.totals[name] = tonumber(count) end
  for i = 4, #ARGV do
    local at = 6 + 2 * (i - 4)
    book.lanes[#book.lanes + 1] = lane_at(ARGV[i], KEYS[at], KEYS[at + 1], books)
  end
  add_up(book)
  return book
end

local function enter(book, name, count)
  if count == 0 then return end
  book.totals[name] = (book.totals[name] or 0) + count
  book.booked[name] = (book.booked[name] or 0) + count
end

-- A stream that was deleted counts from nothing: to what the new one got comes what the old one had.
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

-- Whether entries went that the group was never given: it stands before the first that is left, or one was deleted that
-- comes after where it stood at the last look.
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

-- Nothing of this package's changes what is left over, so what is was done by others, since the last look: book it
-- under the name of what there is a sign of.
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
  if ARGV[2] ~= '' then return enter(book, ARGV[2], left) end
  local with_consumer = math.min(left, held_by_lost(book, now))
  enter(book, 'lost-with-consumer', with_consumer)
  enter(book, dropped and 'dropped' or 'unexplained', left - with_consumer)
end
