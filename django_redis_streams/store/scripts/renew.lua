-- The heartbeat: renew what a consumer has in hand, and only what is still its own.
-- KEYS 1 the stream read from   2 totals   3 slots of the group, if it has some
-- ARGV 1 group   2 consumer   3 ms of a lease in the slots   4… entry ids, a hundred at most
-- Returns {ids that aren't pending for this consumer any more: settled, or claimed by another; ids whose body is
-- gone}.
-- A plain XCLAIM would steal back the first. From Redis 7.0 on the server drops the second from the pending list: they
-- are counted as vanished, and aren't this consumer's any more either. Leases are renewed in the same step, or a lease
-- that settling has freed meanwhile would come back. Leases that ended while the server couldn't be reached are renewed
-- too: their messages are still being run.
--! prelude
open_door(KEYS[1], ARGV[1])
local held, lost, vanished = {}, {}, {}
if KEYS[3] then redis.call('ZADD', KEYS[3], 'XX', 0, '') end
for i = 4, #ARGV do
  local list = is_held(KEYS[1], ARGV[1], ARGV[2], ARGV[i]) and held or lost
  list[#list + 1] = ARGV[i]
end
if #held > 0 then
  local renewed, ends = {}, KEYS[3] and digits(now_in_ms() + ARGV[3])
  held[#held + 1] = 'JUSTID'
  for _, id in ipairs(redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(held))) do renewed[id] = true end
  for i = 1, #held - 1 do
    if not renewed[held[i]] then
      vanished[#vanished + 1] = held[i]
    elseif KEYS[3] then
      redis.call('ZADD', KEYS[3], ends, token_of(KEYS[1], held[i]))
    end
  end
  if #vanished > 0 then redis.call('HINCRBY', KEYS[2], 'vanished', #vanished) end
end
return {lost, vanished}
