-- Which workers are alive. Each process has a key of its own beside the stream. The key expires after `life` ms, unless
-- its process has it expire later, which it does every few seconds.

-- For how many ms a process has said nothing; false if it is dead. A key that would last for longer than `life` dates
-- from before the clock went back: it counts again once its process has had it expire anew.
local function silence_of(key, life)
  local left = redis.call('PTTL', key)
  return left >= 0 and left <= life + 1000 and math.max(0, life - left)
end

-- Of the processes that serve groups of a stream, by their names, the silence; false of those that are dead.
local function silences(processes, prefix, life)
  local found = {}
  for _, process in ipairs(redis.call('ZRANGE', processes, 0, -1)) do
    found[process] = silence_of(prefix .. process, life)
  end
  return found
end

-- The silence of a consumer's process. The consumer's name is that of its process, or that with a number behind it.
local function silence_behind(consumer, silent)
  return silent[consumer] or silent[string.match(consumer, '^(.*)%-%d+$') or ''] or false
end

-- The workers' consumers in a group, by their names: for how many ms each was silent, false if it is dead. Those of
-- processes that died are kept for a while, so that they don't pass for consumers of other clients. A consumer that was
-- noted less than `life` ms ago is alive: it begins before its process says anything.
local function consumers_of_workers(key, silent, now, life)
  local found, noted = {}, redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #noted, 2 do
    local ago = now - noted[i + 1]
    local lately = ago < life and ago >= -1000 and math.max(0, ago)
    found[noted[i]] = silence_behind(noted[i], silent) or lately
  end
  return found
end
