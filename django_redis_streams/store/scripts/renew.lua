-- The heartbeat: renew what a consumer has in hand, and only what is still its own.
-- KEYS 1 the stream read from
-- ARGV 1 group   2 consumer   3… entry ids, a hundred at most
-- Returns the ids that aren't pending for this consumer any more: settled, or claimed by another. A plain XCLAIM
-- would steal those back.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local held, lost = {}, {}
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  local list = #pending > 0 and held or lost
  list[#list + 1] = ARGV[i]
end
if #held > 0 then
  held[#held + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(held))
end
return lost
