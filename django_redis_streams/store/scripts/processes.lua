-- Look at the living processes of workers that serve groups of a stream; changes nothing.
-- KEYS 1 processes   2 their records
-- ARGV 1 for how many ms counts what a process says
-- Returns {time in ms, process, ms since it said so, its record, …}.
--! prelude
--! presence
local now, said = now_in_ms(), redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local found = {now}
for i = 1, #said, 2 do
  local record = redis.call('HGET', KEYS[2], said[i])
  if record and counts_still(said[i + 1], now, tonumber(ARGV[1])) then
    found[#found + 1] = said[i]
    found[#found + 1] = math.max(0, now - said[i + 1])
    found[#found + 1] = record
  end
end
return found
