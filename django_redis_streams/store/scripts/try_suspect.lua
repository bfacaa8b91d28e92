-- Claim one suspect for a quarantine, and write down that a run of it begins, before it does.
-- KEYS 1 the stream read from   2 totals   3 suspects   4 rate of the group   5 its slots
-- ARGV 1 group   2 consumer   3 entry id   4 MAX_CRASHES   5 to 8 limits, as parts/limits.lua has them
-- Returns {"run", entry}, or {"crashed", entry, runs, handler, how}: claimed too, but not to be run, as so many runs
-- were begun and none of them ended; or {"busy"}: another holds it; or {"gone"}, {"vanished"}: there is nothing to
-- run; or {"limited"}: a limit leaves no room for its run now.
-- Only an entry that was handed back is claimed: what another holds may be running there. An entry that is this
-- consumer's already was claimed by a call whose reply was lost: its run is written down already.
-- The first commands change nothing: each fails at once where a later step would be refused, before a run is counted
-- that never begins.
--! prelude
--! limits
open_door(KEYS[1], ARGV[1])
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, '0-0', 'JUSTID')
redis.call('HDEL', KEYS[3], '')
local limits = limits_of(KEYS[4], KEYS[5], {ARGV[5], ARGV[6], ARGV[7], ARGV[8]})
local id, token = ARGV[3], token_of(KEYS[1], ARGV[3])
local packed = redis.call('HGET', KEYS[3], token)
if not packed then return {'gone'} end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
if not pending then
  redis.call('HDEL', KEYS[3], token)
  return {'gone'}
end
local owner = pending[2]
if owner ~= ARGV[2] and owner ~= 'returned' then return {'busy'} end
local body = redis.call('XRANGE', KEYS[1], id, id)
if #body == 0 then
  redis.call('HINCRBY', KEYS[2], 'vanished', 1)
  redis.call('XACK', KEYS[1], ARGV[1], id)
  redis.call('HDEL', KEYS[3], token)
  return {'vanished'}
end
local row = cjson.decode(packed)
if owner ~= ARGV[2] then
  row.crashed = row.runs >= tonumber(ARGV[4])
  if not row.crashed then
    if not limits.admits(token) then return {'limited'} end
    limits.take({token})
    row.runs = row.runs + 1
  end
  redis.call('HSET', KEYS[3], token, cjson.encode(row))
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)
end
if row.crashed then return {'crashed', body[1], row.runs, row.handler, row.how} end
return {'run', body[1]}
