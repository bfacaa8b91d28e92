-- Set the id after which a group reads on; record it, so that a group that is made again begins there too; and count
-- the entries that the group gets again, or never.
-- KEYS 1 stream of the lane   2 the hash that records where it began   3 totals   4 books
-- ARGV 1 group   2 its field in KEYS 2   3 the id after which it reads on, or "$"   4 lane
-- Returns the id. Entries pending before it stay pending. Entries pending after it are unread again, so they are
-- acknowledged: else they would count twice once they are settled. For an id in the midst of the stream, entries are
-- counted up to a bound. Beyond the bound, or for an id that is yet to come, the number is unknown, and the books begin
-- anew with a later look (watch.lua). The server is told how many the group was given, so that it can say later how
-- many it wasn't. The id is recorded last: if a step before is refused, it is not on record.
--! prelude
--! groups
open_door(KEYS[1], ARGV[1])
for at = 2, 4 do redis.call('HDEL', KEYS[at], '') end
local MOST, PAGE = 10000, 500
local stream, group = stream_at(KEYS[1]), group_at(KEYS[1], ARGV[1])
local position = ARGV[3]
if position == '$' then position = stream and stream['last-generated-id'] or '0-0' end
if not string.find(position, '-', 1, true) then position = position .. '-0' end

local function count_between(first, last)
  local count = 0
  while count <= MOST do
    local page = redis.call('XRANGE', KEYS[1], '(' .. first, last, 'COUNT', PAGE)
    count = count + #page
    if #page < PAGE then return count end
    first = page[#page][1]
  end
end

local last = group and group['last-delivered-id'] or '0-0'
local back, unread, more = is_before(position, last), count_after(stream, position), nil
local ahead = is_ahead(stream, position)
if group then
  local before = count_after(stream, last, group['lag'] or nil)
  if before and unread then
    more = unread - before
  else
    local between = count_between(back and position or last, back and last or position)
    more = between and (back and between or -between)
    if more and before then unread = before + more end
  end
end
local setid = {'XGROUP', 'SETID', KEYS[1], ARGV[1], position}
if unread and not ahead and stream and stream['entries-added'] then
  setid[6], setid[7] = 'ENTRIESREAD', digits(stream['entries-added'] - unread)
end
redis.call(unpack(setid))

local taken, pending = 0, {}
repeat
  pending = redis.call('XPENDING', KEYS[1], ARGV[1], '(' .. position, '+', PAGE)
  for i, entry in ipairs(pending) do pending[i] = entry[1] end
  if #pending > 0 then taken = taken + redis.call('XACK', KEYS[1], ARGV[1], unpack(pending)) end
until #pending < PAGE
if ahead or not more then redis.call('HSET', KEYS[4], 'before ' .. ARGV[4], '?') end
more = more or taken
if more > taken then
  redis.call('HINCRBY', KEYS[3], 'given-again', more - taken)
elseif more < taken then
  -- A group that was set back doesn't get again what was pending and is gone from the stream.
  redis.call('HINCRBY', KEYS[3], back and 'vanished' or 'passed-over', taken - more)
end
redis.call('HSET', KEYS[2], ARGV[2], position)
return position
