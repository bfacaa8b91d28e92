-- Append a delayed message to its stream before it is due.
-- KEYS 1 main stream   2 delayed set   3 delayed entries
-- ARGV 1 token   2 "{stream}:lane:"   3… lanes
-- Returns 1 if it was appended now, 0 if it was gone: due, published or discarded before. A token without an entry is
-- removed, for nothing can be published of it.
-- The XADD comes before ZREM and HDEL: what is cut off between them is appended again, never lost. Before it, these two are
-- tried on nothing: where they are refused, each call would make another copy.
redis.call('XACK', KEYS[1], '-', '0-0')
redis.call('ZREM', KEYS[2], '')
redis.call('HDEL', KEYS[3], '')
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local packed = redis.call('HGET', KEYS[3], ARGV[1])
if packed then
  local row = cmsgpack.unpack(packed)
  local stream = KEYS[1]
  -- A lane that isn't declared any more nobody reads: then it is the default one.
  for i = 3, #ARGV do
    if row[1] == ARGV[i] and row[1] ~= 'default' then stream = ARGV[2] .. row[1] end
  end
  redis.call('XADD', stream, '*', unpack(row, 2))
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return packed and 1 or 0
