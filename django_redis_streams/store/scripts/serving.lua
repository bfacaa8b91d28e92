-- Look at the workers' consumers in a group; changes nothing.
-- KEYS 1 workers of the group   2 processes   3 with which the key of each living process begins
-- ARGV 1 for how many ms a process is alive after it said so
-- Returns {consumer, for how many ms its process has said nothing, false if it is dead, …}.
--! prelude
--! presence
local life, found = tonumber(ARGV[1]), {}
local silent = silences(KEYS[2], KEYS[3], life)
for name, silence in pairs(consumers_of_workers(KEYS[1], silent, now_in_ms(), life)) do
  found[#found + 1] = name
  found[#found + 1] = silence
end
return found
