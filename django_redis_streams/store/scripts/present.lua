-- Note down that a worker's process is there, which groups of a stream its consumers serve, and what it runs; forget
-- what is long dead, or dates from before the clock went back.
-- KEYS 1 main stream   2 groups   3 processes   4 with which the key of each living process begins
--   5… the workers of each group
-- ARGV 1 process   2 its clock, in ms   3 its record   4 for how many ms it is alive from now on
--   5 after how many ms without a record a dead process is forgotten   6 after how many the name of a consumer is
--   then for each group: its name, how many consumers serve it, their names, how many have ended, their names
-- Returns 1.
-- The clock is compared here: no more time has passed since the process read it than its command was under way. A group
-- that isn't on record was deleted: the worker that makes it again is noted then.
-- In between, a process has its key expire later, and says no more. So the key of one that is forgotten is deleted: if
-- it lives after all, it finds so that it was, and notes all of this again.
--! prelude
--! presence
open_door(KEYS[1], '-')
local now, life = now_in_ms(), tonumber(ARGV[4])

-- Return the members whose time is over, or is to come: the clock went back.
local function outdated(key, age)
  local found = redis.call('ZRANGEBYSCORE', key, '-inf', digits(now - age), 'LIMIT', 0, 1000)
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. digits(now + 1000), '+inf', 'LIMIT', 0, 1000)) do
    found[#found + 1] = each
  end
  return found
end

for _, process in ipairs(outdated(KEYS[3], tonumber(ARGV[5]))) do
  if not silence_of(KEYS[4] .. process, life) then
    redis.call('DEL', KEYS[4] .. process)
    redis.call('ZREM', KEYS[3], process)
  end
end
redis.call('SET', KEYS[4] .. ARGV[1], digits(ARGV[2] - now) .. ' ' .. ARGV[3], 'PX', ARGV[4])
redis.call('ZADD', KEYS[3], digits(now), ARGV[1])
redis.call('EXPIRE', KEYS[3], math.ceil(ARGV[5] / 1000))

local silent
local function forget_consumers(key)
  for _, consumer in ipairs(outdated(key, tonumber(ARGV[6]))) do
    silent = silent or silences(KEYS[3], KEYS[4], life)
    if not silence_behind(consumer, silent) then redis.call('ZREM', key, consumer) end
  end
end

local at = 7
for key = 5, #KEYS do
  local group, serve = ARGV[at], at + 1 + ARGV[at + 1]
  local ended = serve + 1 + ARGV[serve + 1]
  if redis.call('HEXISTS', KEYS[2], group) == 1 then
    forget_consumers(KEYS[key])
    for i = at + 2, serve do redis.call('ZADD', KEYS[key], digits(now), ARGV[i]) end
    for i = serve + 2, ended do redis.call('ZREM', KEYS[key], ARGV[i]) end
    redis.call('EXPIRE', KEYS[key], math.ceil(ARGV[6] / 1000))
  end
  at = ended + 1
end
return 1
