-- Hand back what a consumer holds and won't handle, and let the consumer's name go.
-- KEYS 1 the stream read from
-- ARGV 1 group   2 consumer   3 CLAIM_IDLE in ms   4 most to hand back at once
-- Returns how many were handed back; fewer than the most means that the consumer holds nothing and its name is gone.
-- They go to the consumer `returned`, which nobody reads as: at once claimable, the next delivery counted as the first,
-- and a late heartbeat of the old owner finds them not its own.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
for _, entry in ipairs(pending) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], 'returned', 0, entry[1], 'IDLE', ARGV[3], 'RETRYCOUNT', 0, 'JUSTID')
end
if #pending < tonumber(ARGV[4]) then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return #pending
