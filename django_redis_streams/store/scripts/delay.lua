-- Keep an entry until it is due; the promoter appends it to its stream then.
-- KEYS 1 delayed set   2 delayed entries
-- ARGV 1 token   2 "in" or "at"   3 ms from now, or since 1970   4 lane   5… fields of the entry
-- Returns 1. "in" counts from the server's clock: that of the caller may go wrong.
-- A producer's script, so it doesn't open the memory door: at maxmemory it is refused as an XADD is. The row comes before
-- the token, or the promoter might find a token without a row; before it, ZADD is tried on nothing.
redis.call('ZADD', KEYS[1], 'XX', 0, '')
local due = ARGV[3]
if ARGV[2] == 'in' then
  local now = redis.call('TIME')
  due = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
end
local row = {}
for i = 4, #ARGV do row[#row + 1] = ARGV[i] end
redis.call('HSET', KEYS[2], ARGV[1], cmsgpack.pack(row))
redis.call('ZADD', KEYS[1], string.format('%.0f', due), ARGV[1])
return 1
