-- Claim what was handed back, or what has been idle for too long, for a consumer that is free to run it.
-- KEYS 1 the stream read from   2 totals   3 rate of the group   4 its slots
-- ARGV 1 group   2 consumer   3 idle for at least, in ms   4 most to claim   5 from this consumer only, or ""
--   6 to 9 limits, as parts/limits.lua has them: what they leave no room for stays where it is
-- Returns {entries claimed, ids whose body is gone}. A pending entry without a body can't be run by anybody, and would
-- hold back trimming for ever: it is acknowledged and counted as vanished.
-- All is claimed by one command, the last: what is refused before it leaves nothing claimed that the reply doesn't name.
--! limits
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
local limits = limits_of(KEYS[3], KEYS[4], {ARGV[6], ARGV[7], ARGV[8], ARGV[9]})
local pending
if ARGV[5] == '' then
  pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', ARGV[4])
else
  pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', ARGV[4], ARGV[5])
end
local ids, tokens, claimed, vanished = {}, {}, {}, {}
for _, entry in ipairs(pending) do
  local id = entry[1]
  local body = redis.call('XRANGE', KEYS[1], id, id)
  if #body == 0 then
    redis.call('HINCRBY', KEYS[2], 'vanished', 1)
    redis.call('XACK', KEYS[1], ARGV[1], id)
    vanished[#vanished + 1] = id
  elseif entry[2] ~= ARGV[2] and limits.admits(KEYS[1] .. '/' .. id) then
    ids[#ids + 1] = id
    tokens[#tokens + 1] = KEYS[1] .. '/' .. id
    claimed[#claimed + 1] = body[1]
  end
end
limits.take(tokens)
if #ids > 0 then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], unpack(ids)) end
return {claimed, vanished}
