-- The books of one group, as they are at this moment; changes nothing.
-- KEYS 1 groups   2 lanes   3 totals   4 retry set
--   5 books: before which entry they begin, and what was seen of the group last
--   6… for each lane: its stream, its redelivery stream of the group
-- ARGV 1 group   2 what entries were lost by, where that is known ("dropped"), or ""
--   3 the group's field in KEYS 1 that says that it is paused   4… lanes
-- Returns {published, retries that wait, since when it is paused, totals, lanes}; totals are {name, count, …}, with
-- what others did since the last look; a lane is {name, 1 if the group is on its stream, entries of both streams,
-- unread, pending in both}. What isn't known is false.
--! prelude
--! books
local book = look()
if not book.uncounted and balance(book) ~= 0 then explain(book, holders(book.lanes)) end
local totals, lanes = {}, {}
for name, count in pairs(book.totals) do
  totals[#totals + 1] = name
  totals[#totals + 1] = count
end
for at, lane in ipairs(book.lanes) do
  local redelivered = math.max(0, lane.redelivered - lane.pending_again)
  lanes[at] = {lane.name, lane.group and 1 or 0, lane.length + lane.redelivered,
    lane.unread and lane.unread + redelivered or false, lane.pending + lane.pending_again}
end
return {not book.uncounted and book.published or false, book.retrying, redis.call('HGET', KEYS[1], ARGV[3]),
  totals, lanes}
