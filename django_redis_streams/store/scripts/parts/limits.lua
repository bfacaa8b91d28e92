-- What a group's limits leave room for, over all its workers. `rate` is a string: when the next message would be due
-- if all came at an even pace, in microseconds. `slots` is a sorted set: tokens of messages that run (or are in some
-- worker's hand), scored by when their leases end, in ms. `given` is {microseconds from one message to the next or '',
-- how many may come at once, how many may run at once or '', ms of a lease}. The commands that change nothing fail at
-- once where a later step would be refused: before anything is delivered.
local function limits_of(rate, slots, given)
  local interval, slots_in_all, lease = tonumber(given[1]), tonumber(given[3]), tonumber(given[4])
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local now_ms = math.floor(now / 1000)
  -- `pace`: how many more may begin by the pace. `free`: how many slots are free. `wait`: if none may begin now, in how
  -- many ms the next may.
  local limits = {pace = math.huge, free = math.huge, wait = 0}
  local due

  local function keep(next_due)
    local ahead = math.ceil(math.max(0, next_due - now) / 1000) + 1
    redis.call('SET', rate, digits(next_due), 'PX', digits(ahead))
  end

  if interval then
    due = math.max(now, tonumber(redis.call('GET', rate) or '0') or 0)
    local at_once = interval * given[2]
    -- `due` is never put further ahead. If it is, it dates from before the clock went back, or from a slower pace.
    due = math.min(due, now + at_once)
    keep(due)
    limits.pace = math.floor((now + at_once - due) / interval)
    if limits.pace < 1 then limits.wait = math.max(1, math.ceil((due + interval - at_once - now) / 1000)) end
  end
  if slots_in_all then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', digits(now_ms))
    redis.call('ZADD', slots, 'XX', 0, '')
    hold_to(slots, digits(now_ms + lease))
    limits.free = slots_in_all - redis.call('ZCARD', slots)
    -- Nobody says when a slot becomes free. The worker that freed it takes it at once; the others `wait` so long.
    if limits.free < 1 then limits.wait = math.max(limits.wait, 50) end
  end

  -- Whether one more may begin; if so, its place is set aside. A worker that takes a message over takes over its lease.
  function limits.admits(token)
    local leased = slots_in_all and redis.call('ZSCORE', slots, token)
    if limits.pace < 1 or not (leased or limits.free >= 1) then return false end
    limits.pace = limits.pace - 1
    if not leased then limits.free = limits.free - 1 end
    return true
  end

  -- Count these messages as begun.
  function limits.take(tokens)
    if interval and #tokens > 0 then keep(due + interval * #tokens) end
    if slots_in_all then
      for _, token in ipairs(tokens) do redis.call('ZADD', slots, digits(now_ms + lease), token) end
    end
  end
  return limits
end
