-- Count from now for how long pending entries and consumers have been idle: the server's clock went back.
-- KEYS 1 stream read from   2 notices
-- ARGV 1 group   2 where to begin: "-", then what the last step returned   3 how many to look at
--   4 for how long what was handed back counts as idle, in ms
-- Returns {where the next step begins, "" after the last, how many entries count from now}.
-- The server keeps when an entry was delivered. Where that lies in the future, it says that the entry is idle for 0 ms,
-- until its clock has caught up: nobody would claim what a lost host held. An entry that was delivered just now is set
-- to the same, so a step may be done twice. What was handed back may be claimed at once, as before: workers are told.
-- An entry without a body is left alone: from Redis 7.0 on XCLAIM would drop it. A claim of an entry that can't exist
-- sets a consumer's time; before Redis 7.0 it doesn't.
--! prelude
--! groups
--! notices
open_door(KEYS[1], ARGV[1])
if not group_at(KEYS[1], ARGV[1]) then return {'', 0} end
if ARGV[2] == '-' then
  for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = named(row)
    if consumer['idle'] <= 0 then
      redis.call('XCLAIM', KEYS[1], ARGV[1], consumer['name'], 0, '0-0', 'JUSTID')
    end
  end
end
local page = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], '+', ARGV[3])
local anew, claimable = 0, false
for _, entry in ipairs(page) do
  local id, owner, idle = unpack(entry)
  if idle == 0 and #redis.call('XRANGE', KEYS[1], id, id) > 0 then
    local counted = owner == 'returned' and ARGV[4] or 0
    redis.call('XCLAIM', KEYS[1], ARGV[1], owner, 0, id, 'IDLE', counted, 'JUSTID')
    anew = anew + 1
    claimable = claimable or owner == 'returned'
  end
end
if claimable then tell(KEYS[2], 'claimable', ARGV[1]) end
return {#page < tonumber(ARGV[3]) and '' or '(' .. page[#page][1], anew}
