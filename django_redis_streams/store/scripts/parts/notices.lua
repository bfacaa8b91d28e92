-- Notices tell workers that sleep to look sooner than they would by themselves. They only save time: what they tell of
-- is found without them, too. So nothing is refused where one can't be written.

local function tell(notices, kind, group)
  redis.pcall('XADD', notices, 'MAXLEN', '=', 100, '*', kind, group)
end

-- The lease of the promoter: who holds it, and when that process looks next, in ms since 1970.
local function lease_of(holder, looks)
  return holder .. ' ' .. digits(looks)
end

local function holder_of(lease)
  return string.match(lease, '^%S*')
end

-- Tell the promoter, if the token is the first of what waits in a set and due well before the promoter's next look.
local function tell_due(notices, promoter, set, token, due)
  if redis.call('ZRANGE', set, 0, 0)[1] ~= token then return end
  local lease = redis.pcall('GET', promoter)
  local looks = type(lease) == 'string' and tonumber(string.match(lease, ' (%d+)$') or '')
  if not looks or due + 50 < looks then tell(notices, 'due', '') end
end
