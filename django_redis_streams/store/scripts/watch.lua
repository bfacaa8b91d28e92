-- Look at the books of one group, and enter what others did to it since the last look, told by what was seen then.
-- KEYS 1 groups   2 lanes   3 totals   4 retry set
--   5 books: before which entry they begin, and what was seen of the group last
--   6… for each lane: its stream, its redelivery stream of the group
-- ARGV 1 group   2 the counter of lost entries, where it is known ("dropped"), or ""   3… lanes
-- Returns what was entered: {name, count, …}.
-- Books whose beginning was unknown begin here, once all that waits is known. What was seen is written last: if that is
-- refused, all is entered already, and the next look finds the books balanced.
--! prelude
--! books
open_door(KEYS[6], ARGV[1])
redis.call('HDEL', KEYS[3], '')
redis.call('HDEL', KEYS[5], '')
local asked = {group = ARGV[1], lost_by = ARGV[2], groups = KEYS[1], starts = KEYS[2], totals = KEYS[3],
  retry = KEYS[4], books = KEYS[5], lanes = {}}
for i = 3, #ARGV do asked.lanes[i - 2] = {ARGV[i], KEYS[2 * i], KEYS[2 * i + 1]} end
local book = look(asked)
-- The group is gone and about to be made again, or it begins at an id that the stream has yet to reach.
if not book.published and book.lanes[1].added then return {} end
local now, before = holders(book.lanes, ARGV[1]), {}
for _, lane in ipairs(book.lanes) do
  if lane.group and not lane.start then return {} end
  before[lane.name] = lane.before
end
if book.uncounted then
  local left = balance(book)
  if not left then return {} end
  for _, lane in ipairs(book.lanes) do
    if lane.group and not lane.before then
      lane.before = left
      left = 0
    end
  end
elseif balance(book) ~= 0 then
  explain(book, now)
end

local entered, seen = {}, {lanes = {}, consumers = now}
for name, count in pairs(book.booked) do
  redis.call('HINCRBY', KEYS[3], name, count)
  entered[#entered + 1] = name
  entered[#entered + 1] = count
end
for _, lane in ipairs(book.lanes) do
  if lane.before ~= before[lane.name] then
    redis.call('HSET', KEYS[5], 'before ' .. lane.name, digits(lane.before))
  end
  if lane.made_again then redis.call('HDEL', KEYS[5], 'made-again ' .. lane.name) end
  if lane.group and lane.added then
    seen.lanes[lane.name] = {added = lane.added, last = lane.group['last-delivered-id']}
  end
end
redis.call('HSET', KEYS[5], 'seen', cjson.encode(seen))
return entered
