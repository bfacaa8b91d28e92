-- Hand back what a consumer holds and won't handle, and tell others; remove the consumer's name once it holds nothing.
-- KEYS 1 the stream read from   2 totals   3 slots of the group, freed at once   4 workers of the group   5 notices
-- ARGV 1 group   2 consumer   3 CLAIM_IDLE in ms   4 most to hand back at once
-- Returns {how many were handed back, ids whose body is gone, 1 once the consumer holds nothing and its name is gone}.
-- From Redis 7.0 on the server drops an entry without a body from the pending list: it is counted as vanished.
--! prelude
--! notices
open_door(KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[3], '')
redis.call('ZREM', KEYS[4], '')
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
local vanished = {}
for _, entry in ipairs(pending) do
  local id = entry[1]
  redis.call('ZREM', KEYS[3], token_of(KEYS[1], id))
  if not hand_back(KEYS[1], ARGV[1], id, ARGV[3]) then
    vanished[#vanished + 1] = id
    redis.call('HINCRBY', KEYS[2], 'vanished', 1)
  end
end
if #pending > #vanished then tell(KEYS[5], 'claimable', ARGV[1]) end
local left = #pending < tonumber(ARGV[4])
if left then
  redis.call('ZREM', KEYS[4], ARGV[2])
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return {#pending - #vanished, vanished, left and 1 or 0}
