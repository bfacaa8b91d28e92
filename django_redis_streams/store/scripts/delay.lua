-- Keep an entry until it is due; the promoter appends it to its stream then.
-- KEYS 1 delayed set   2 delayed entries   3 clock   4 notices   5 promoter lease
-- ARGV 1 token   2 "in" or "at"   3 ms from now, or since 1970   4 lane   5… fields of the entry
-- Returns 1. "in" counts from the server's clock: the caller's may be wrong. The wait is packed behind the row, and the
-- latest time seen is kept: should the clock go back, shorten.lua holds the entry to its wait.
-- A producer's script doesn't open the memory door: at maxmemory it is refused as an XADD is. The row is written
-- before the token, or the promoter might find a token without a row. Before both, ZADD is tried on nothing.
--! prelude
--! notices
redis.call('ZADD', KEYS[1], 'XX', 0, '')
local due, wait = ARGV[3], nil
if ARGV[2] == 'in' then
  local now = now_in_ms()
  wait = tonumber(ARGV[3])
  due = now + wait
  if now > (tonumber(redis.call('HGET', KEYS[3], 'seen') or '') or 0) then
    redis.call('HSET', KEYS[3], 'seen', digits(now))
  end
end
local row = {}
for i = 4, #ARGV do row[#row + 1] = ARGV[i] end
redis.call('HSET', KEYS[2], ARGV[1], wait and cmsgpack.pack(row, wait) or cmsgpack.pack(row))
redis.call('ZADD', KEYS[1], digits(due), ARGV[1])
tell_due(KEYS[4], KEYS[5], KEYS[1], ARGV[1], tonumber(due))
return 1
