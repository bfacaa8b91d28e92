-- Which workers are alive: each process says so every few seconds, and what it says counts for `life` ms.

-- Whether what was said at a time still counts. A time to come dates from before the clock went back.
local function counts_still(said, now, life)
  return tonumber(said) > now - life and tonumber(said) <= now + 1000
end

-- The workers' consumers in a group, by their names: whether each is alive. Those of processes that died are kept for
-- a while, so that they don't pass for consumers of other clients.
local function consumers_of_workers(key, now, life)
  local found, said = {}, redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #said, 2 do found[said[i]] = counts_still(said[i + 1], now, life) end
  return found
end
