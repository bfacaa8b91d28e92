-- Hold messages to the time that they were to wait, counted from now: the server's clock went back, due times didn't.
-- KEYS 1 main stream   2 retry set, or delayed set   3 its entries
-- ARGV 1 cursor, "0" to begin with   2 how many to look at, about
-- Returns {cursor of the next step, "0" after the last, how many are due sooner now}.
-- retry.lua and delay.lua keep beside each row how long it was to wait. If it is due later than that from now, it was
-- put there when the clock showed more than it does. Only such messages are changed: a step may be done twice, and what
-- comes meanwhile is right by itself. A message that waits until a moment (`at=`) has no such time and is left alone.
--! prelude
open_door(KEYS[1], '-')
local now = now_in_ms()
local page = redis.call('ZSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local sooner = 0
for i = 1, #page[2], 2 do
  local token, due = page[2][i], tonumber(page[2][i + 1])
  local packed = due > now and redis.call('HGET', KEYS[3], token)
  if packed then
    local good, _, wait = pcall(cmsgpack.unpack, packed)
    if good and type(wait) == 'number' and wait >= 0 and due > now + wait then
      redis.call('ZADD', KEYS[2], 'XX', digits(now + wait), token)
      sooner = sooner + 1
    end
  end
end
return {page[1], sooner}
