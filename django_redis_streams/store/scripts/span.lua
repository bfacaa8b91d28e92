-- Count the entries between two ids, the newest first, up to a bound; changes nothing.
-- KEYS 1 stream
-- ARGV 1 first id   2 last id, each as XRANGE takes it   3 most to count
-- Returns {how many, id of the oldest that was counted, or false}. Bodies may be large: they aren't returned, and
-- entries are looked at a hundred at a time.
local count, oldest, last = 0, false, ARGV[2]
local most = tonumber(ARGV[3])
while count < most do
  local some = math.min(100, most - count)
  local entries = redis.call('XREVRANGE', KEYS[1], last, ARGV[1], 'COUNT', some)
  count = count + #entries
  if #entries > 0 then
    oldest = entries[#entries][1]
    last = '(' .. oldest
  end
  if #entries < some then break end
end
return {count, oldest}
