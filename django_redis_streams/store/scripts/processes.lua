-- Look at the living processes of workers that serve groups of a stream; changes nothing.
-- KEYS 1 processes   2 with which the key of each living process begins
-- ARGV 1 for how many ms a process is alive after it said so
-- Returns {time in ms, process, for how many ms it has said nothing, ms since it wrote its record, its record, …}.
--! prelude
--! presence
local now = now_in_ms()
local found = {now}
for process, silence in pairs(silences(KEYS[1], KEYS[2], tonumber(ARGV[1]))) do
  if silence then
    found[#found + 1] = process
    found[#found + 1] = silence
    found[#found + 1] = math.max(0, now - redis.call('ZSCORE', KEYS[1], process))
    found[#found + 1] = redis.call('GET', KEYS[2] .. process)
  end
end
return found
