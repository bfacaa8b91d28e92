-- Note down that a worker's process is there, which groups of a stream its consumers serve, and what it runs; forget
-- processes that haven't said so for long.
-- KEYS 1 main stream   2 groups   3 processes   4 their records   5… the workers of each group
-- ARGV 1 process   2 its clock, in ms   3 its record   4 for how many seconds that counts
--   5 after how many ms the name of a consumer is forgotten
--   then for each group: its name, how many consumers serve it, their names
-- Returns 1.
-- The clock is compared here: no more time has passed since the process read it than its command was under way. A group
-- that isn't on record was deleted: the worker that makes it again is noted then.
--! prelude
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

for _, process in ipairs(outdated(KEYS[3], life * 1000)) do
  redis.call('ZREM', KEYS[3], process)
  redis.call('HDEL', KEYS[4], process)
end
redis.call('ZADD', KEYS[3], digits(now), ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], digits(ARGV[2] - now) .. ' ' .. ARGV[3])
redis.call('EXPIRE', KEYS[3], life)
redis.call('EXPIRE', KEYS[4], life)
local at = 6
for key = 5, #KEYS do
  local group, count = ARGV[at], tonumber(ARGV[at + 1])
  if redis.call('HEXISTS', KEYS[2], group) == 1 then
    for _, consumer in ipairs(outdated(KEYS[key], tonumber(ARGV[5]))) do redis.call('ZREM', KEYS[key], consumer) end
    for i = at + 2, at + 1 + count do redis.call('ZADD', KEYS[key], digits(now), ARGV[i]) end
    redis.call('EXPIRE', KEYS[key], math.ceil(ARGV[5] / 1000))
  end
  at = at + 2 + count
end
return 1
