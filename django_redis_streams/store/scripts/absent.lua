-- Note down that a worker's process has ended, and its consumers with it.
-- KEYS 1 main stream   2 processes   3 the process' own key   4… the workers of each group
-- ARGV 1 process; then for each group: its name, how many consumers served it, their names
-- Returns 1.
--! prelude
open_door(KEYS[1], '-')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
local at = 2
for key = 4, #KEYS do
  local count = tonumber(ARGV[at + 1])
  for i = at + 2, at + 1 + count do redis.call('ZREM', KEYS[key], ARGV[i]) end
  at = at + 2 + count
end
return 1
