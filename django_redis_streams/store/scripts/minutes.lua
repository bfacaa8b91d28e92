-- Look at what the workers of some groups did in the last minutes; changes nothing.
-- KEYS for each group: with which the name of each minute's hash begins
-- ARGV 1 how many minutes, the one that isn't over included
-- Returns {time in ms, then for each group: {the figures of each minute, the oldest first}}; figures are {name,
-- count, …}.
--! prelude
local now = now_in_ms()
local last, found = math.floor(now / 60000), {now}
for number, begin in ipairs(KEYS) do
  local minutes = {}
  for minute = last - ARGV[1] + 1, last do
    minutes[#minutes + 1] = redis.call('HGETALL', begin .. ':' .. digits(minute))
  end
  found[1 + number] = minutes
end
return found
