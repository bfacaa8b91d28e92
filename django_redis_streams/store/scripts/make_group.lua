-- Make a group where it is missing, and record every group that was ever seen, with the id that its START stood for.
-- KEYS 1 main stream   2 groups   3 workers of the group   4 books of the group   5 its redelivery stream
--   6 lanes, if there are any; then for each of them: its stream, its redelivery stream of the group
-- ARGV 1 group   2 where a group that was never recorded begins: "0", "$" or an entry id
--   3 its field in KEYS 2 for a deletion on purpose   4 "1": make the group even if it was deleted on purpose
--   5 the consumer that will read it, or ""   6… lanes, in the order of KEYS
-- Returns {"found", "made" or "deleted", the record of its deletion or false}: with "made", it was made anew.
-- A group that is gone is made again at its recorded id, so that what was published in between is delivered. Making
-- and recording are one script: a crash between them would lose the record. The redelivery stream is always read from
-- the beginning: what is there is meant for this group alone. So is a lane that is new to a group that was here before.
-- The books of a group begin with it: entries that were gone by then, or are before its START, were never published to
-- it. The server counts only what the stream ever got, so the number of those entries is written down before the group
-- is made. For a group that is made again, the books note whether its stream was gone too. The door is open at
-- maxmemory too: a worker must get its group before it can settle.
--! prelude
--! groups
open_door(KEYS[1], ARGV[1])
local deleted = redis.call('HGET', KEYS[2], ARGV[3])
if deleted and ARGV[4] ~= '1' then return {'deleted', deleted} end

-- The id at which to make this group again, so that its pending entries are delivered again too: one before the first
-- of them, or further before where numbers aren't exact any more (only ids given by hand are so large).
local function position_of(key, group)
  if group['pending'] == 0 then return group['last-delivered-id'] end
  local ms, seq = string.match(redis.call('XPENDING', key, ARGV[1])[2], '(%d+)-(%d+)')
  if seq ~= '0' then return ms .. '-' .. (tonumber(seq) < 9007199254740992 and digits(seq - 1) or '0') end
  if tonumber(ms) >= 9007199254740992 then return '0-0' end
  return digits(ms - 1) .. '-18446744073709551615'
end

local made = 'found'

-- Write down how many entries of the stream were never published to the group: all but `unread`; "?" if unknown.
local function begin_books(lane, stream, unread)
  local added = stream and stream['entries-added'] or not stream and 0
  redis.call('HSET', KEYS[4], 'before ' .. lane, added and unread and digits(added - unread) or '?')
end

-- Make and record the group on one lane: `records` and `field` say where it is recorded.
local function ensure(lane, key, redelivery, records, field, start)
  if not group_at(redelivery, ARGV[1]) then
    redis.call('XGROUP', 'CREATE', redelivery, ARGV[1], '0', 'MKSTREAM')
    made = 'made'
  end
  local recorded = redis.call('HGET', records, field)
  local found = group_at(key, ARGV[1])
  if found then
    if recorded then return end
    local stream = stream_at(key)
    local unread = count_after(stream, found['last-delivered-id'], found['lag'] or nil)
    begin_books(lane, stream, unread and unread + found['pending'])
    redis.call('HSET', records, field, position_of(key, found))
    return
  end
  local stream, position = stream_at(key), recorded or start
  if position == '$' then position = stream and stream['last-generated-id'] or '0-0' end
  local id = string.find(position, '-', 1, true) and position or position .. '-0'
  local unread = not is_ahead(stream, id) and count_after(stream, id) or nil
  if recorded then
    redis.call('HSET', KEYS[4], 'made-again ' .. lane, stream and 'group' or 'stream')
  else
    begin_books(lane, stream, unread)
  end
  local create = {'XGROUP', 'CREATE', key, ARGV[1], position, 'MKSTREAM'}
  if unread and stream and stream['entries-added'] then
    -- Without this, the server couldn't say how much is unread after an id in the midst of a stream.
    create[7], create[8] = 'ENTRIESREAD', digits(stream['entries-added'] - unread)
  end
  redis.call(unpack(create))
  redis.call('HSET', records, field, position)
  made = 'made'
end

local lane_start = ARGV[2]
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 or group_at(KEYS[1], ARGV[1]) then lane_start = '0' end
for i = 6, #ARGV do
  local at = 7 + (i - 6) * 2
  ensure(ARGV[i], KEYS[at], KEYS[at + 1], KEYS[6], ARGV[1] .. ':' .. ARGV[i], lane_start)
end
ensure('default', KEYS[1], KEYS[5], KEYS[2], ARGV[1], ARGV[2])
-- From here on, a call that would delete the group finds its worker.
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[3], digits(now_in_ms()), ARGV[5])
end
redis.call('HDEL', KEYS[2], ARGV[3])
return {made, deleted}
