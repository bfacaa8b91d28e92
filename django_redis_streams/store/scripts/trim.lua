-- Trim a stream to a length or an age, never past what a group on it still needs.
-- KEYS 1 stream
-- ARGV 1 length to keep, or ""   2 age to keep in ms, or ""   3 "1": exactly, "0": with up to 100 entries more
--   4 most to remove; 0: only look
-- Returns how many entries were removed; where it only looks, the low-water mark, or false where there is no group.
-- The low-water mark is the least, over all groups on the server, of the smallest pending id, or the id after the last
-- delivered one. A stream without a group is left alone. Marking and trimming are one script: a read between them would
-- move the mark.
--! prelude
--! groups
open_door(KEYS[1], '-')
local most = tonumber(ARGV[4])
if redis.call('EXISTS', KEYS[1]) == 0 then return most > 0 and 0 or false end

local function least(a, b)
  if not a or is_before(b, a) then return b end
  return a
end

-- Where the next number wouldn't be exact, the id itself is on the safe side.
local function after(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  if tonumber(seq) >= 9007199254740991 then return id end
  return ms .. '-' .. digits(seq + 1)
end

local low
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(info)
  if group['pending'] > 0 then
    low = least(low, redis.call('XPENDING', KEYS[1], group['name'])[2])
  else
    low = least(low, after(group['last-delivered-id']))
  end
end
if most == 0 then return low or false end
if not low then return 0 end

-- Whole nodes first: that costs the server least. A node holds 100 entries, but on a server with a larger
-- stream-node-max-entries it may hold more than there are to remove. What is left is removed by an exact trim, also
-- where it is more than TOLERATED. All of that is in the first node, so the entries that are read are within its size.
local TOLERATED, MOST_READ = 100, 1000
local function trim(below, count)
  local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', below, 'LIMIT', count)
  local tolerated = ARGV[3] == '0' and TOLERATED or 0
  if count - removed <= tolerated then return removed end
  local rest = redis.call('XRANGE', KEYS[1], '-', '(' .. below, 'COUNT', math.min(count - removed, MOST_READ))
  if #rest <= tolerated then return removed end
  return removed + redis.call('XTRIM', KEYS[1], 'MINID', after(rest[#rest][1]))
end

local removed = 0
if ARGV[2] ~= '' then
  local cutoff = math.max(0, now_in_ms() - ARGV[2])
  removed = trim(least(low, string.format('%.0f-0', cutoff)), most)
end
if ARGV[1] ~= '' then
  -- LIMIT 0 would mean no limit at all.
  local excess = math.min(redis.call('XLEN', KEYS[1]) - ARGV[1], most)
  if excess > 0 then removed = removed + trim(low, excess) end
end
return removed
