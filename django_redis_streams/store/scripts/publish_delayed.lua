-- Append a delayed message to its stream before it is due.
-- KEYS 1 main stream   2 delayed set   3 delayed entries
-- ARGV 1 token   2 "{stream}:lane:"   3 HARD_MAXLEN, or ""   4 "=" or "~": exactly that, or about   5… lanes
-- Returns 1 if it was appended now, 0 if it was gone: due, published or discarded before. A token without an entry is
-- removed, for nothing can be published of it; an entry that can't be moved is an error, and stays.
-- XADD comes before ZREM and HDEL: if the script is cut off between them, the entry is appended again, never lost.
-- Before XADD, these two are tried on nothing: if they were refused after it, each call would make another copy.
--! prelude
--! waiting
open_door(KEYS[1], '-')
redis.call('ZREM', KEYS[2], '')
redis.call('HDEL', KEYS[3], '')
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local packed = redis.call('HGET', KEYS[3], ARGV[1])
if packed then
  local row, problem = row_of(packed)
  if problem then return redis.error_reply("ERR The entry can't be moved: " .. problem) end
  local lanes = {}
  for i = 5, #ARGV do lanes[ARGV[i]] = true end
  append(row, KEYS[1], ARGV[2], lanes, ARGV[3], ARGV[4])
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return packed and 1 or 0
