-- Read what is new in all lanes, by priority or by weight: redelivered entries beside those never delivered, and no
-- more than the group's limits leave room for.
-- KEYS 1 rate of the group   2 its slots
--   then for each lane, the most urgent first: its redelivery stream of the group, its stream
-- ARGV 1 group   2 consumer   3 most to read   4, 5 two numbers from 0 to below 1, drawn by the caller
--   6 to 9 limits, as parts/limits.lua has them   10… weights of the lanes, in the order of KEYS; none: a lane is read
--   when those before it have nothing unread
-- Returns what XREADGROUP would, {{key, entries}, …}; a stream may come twice. For a stream that can't be read, its
-- error stands in place of the entries: entries of other streams are pending by then, and must reach the caller. If a
-- limited group gets nothing: {{false, ms until a limit leaves room, last delivered id of each stream}}.
-- At most half of each share is redelivered as long as any lane has something that was never delivered: replays don't
-- hold up live traffic. Shares are whole numbers: the two draws round them, so that no share is always rounded to 0.
--! prelude
--! limits
open_door(KEYS[3], ARGV[1])
local limits = limits_of(KEYS[1], KEYS[2], {ARGV[6], ARGV[7], ARGV[8], ARGV[9]})
local room = math.min(limits.pace, limits.free)
local most = math.min(tonumber(ARGV[3]), room)
local left = most
local replies, emptied, tokens = {}, {}, {}

local function read(key, count)
  count = math.min(count, left)
  if count < 1 or emptied[key] then return 0 end
  local reply = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', key, '>')
  local got = 0
  if reply and reply.err then
    replies[#replies + 1] = {key, reply}
  elseif reply then
    got = #reply[1][2]
    replies[#replies + 1] = reply[1]
    for _, entry in ipairs(reply[1][2]) do tokens[#tokens + 1] = token_of(key, entry[1]) end
  end
  emptied[key] = got < count
  left = left - got
  return got
end

local all = 0
for i = 10, #ARGV do all = all + ARGV[i] end
local before = 0
for at = 3, #KEYS, 2 do
  local share = left
  if all > 0 then
    local upto = before + ARGV[10 + (at - 3) / 2]
    share = math.floor(most * upto / all + ARGV[4]) - math.floor(most * before / all + ARGV[4])
    before = upto
  end
  local again = read(KEYS[at], math.floor(share / 2 + ARGV[5]))
  read(KEYS[at + 1], share - again)
end
-- What a lane didn't use goes to new entries of the others; only what they don't need goes to redelivered ones.
for at = 4, #KEYS, 2 do read(KEYS[at], left) end
for at = 3, #KEYS, 2 do read(KEYS[at], left) end

if room == math.huge then return replies end
limits.take(tokens)
if #replies > 0 then return replies end

local function last_delivered(key)
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = named(row)
    if group['name'] == ARGV[1] then return group['last-delivered-id'] end
  end
end
local nothing = {false, limits.wait}
for at = 3, #KEYS do nothing[#nothing + 1] = last_delivered(KEYS[at]) end
return {nothing}
