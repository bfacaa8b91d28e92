-- The heartbeat: renew what a consumer has in hand, and only what is still its own.
-- KEYS 1 the stream read from   2 slots of the group, if it has some
-- ARGV 1 group   2 consumer   3 ms of a lease in the slots   4… entry ids, a hundred at most
-- Returns the ids that aren't pending for this consumer any more: settled, or claimed by another. A plain XCLAIM would
-- steal these back. An entry without a body is left as it is: the consumer has the message in its memory, and from
-- Redis 7.0 on XCLAIM would drop the entry from the pending list, so that its outcome would count nothing.
-- Leases are renewed in the same step, or a lease that settling has freed meanwhile would come back. Leases that ended
-- while the server couldn't be reached are renewed too: their messages are still being run.
--! prelude
open_door(KEYS[1], ARGV[1])
local ends = KEYS[2] and digits(now_in_ms() + ARGV[3])
local held, lost = {}, {}
if KEYS[2] then redis.call('ZADD', KEYS[2], 'XX', 0, '') end
for i = 4, #ARGV do
  local id = ARGV[i]
  if not is_held(KEYS[1], ARGV[1], ARGV[2], id) then
    lost[#lost + 1] = id
  else
    if #redis.call('XRANGE', KEYS[1], id, id) > 0 then held[#held + 1] = id end
    if KEYS[2] then redis.call('ZADD', KEYS[2], ends, token_of(KEYS[1], id)) end
  end
end
if #held > 0 then
  held[#held + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(held))
end
return lost
