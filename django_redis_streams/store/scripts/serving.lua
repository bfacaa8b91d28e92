-- Look at the workers' consumers in a group; changes nothing.
-- KEYS 1 workers of the group
-- ARGV 1 for how many ms counts what a process says
-- Returns {consumer, 1 if it is alive, else 0, ms since it was last said to serve the group, …}.
--! prelude
--! presence
local now, found = now_in_ms(), {}
local alive = consumers_of_workers(KEYS[1], now, tonumber(ARGV[1]))
for name, is_alive in pairs(alive) do
  local said = redis.call('ZSCORE', KEYS[1], name)
  found[#found + 1] = name
  found[#found + 1] = is_alive and 1 or 0
  found[#found + 1] = math.max(0, now - said)
end
return found
