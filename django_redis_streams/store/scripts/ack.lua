-- Acknowledge what was handled; count only what was still pending, so that a resend counts nothing twice.
-- KEYS 1 the stream read from (main or redelivery)   2 totals of the group   3 its suspects
--   4 its slots, if it has some
-- ARGV 1 group   2 "1": they were redelivered, delete them too
--      3 name of the total ("acknowledged", "skipped", "repeated")
--      4 entry ids, separated by spaces: packing each one costs the client more than splitting them costs the server
-- Returns how many were still pending. Not fenced: the handler did succeed.
-- The first commands change nothing: each fails at once where a later step would be refused, so all is done or
-- nothing.
--! prelude
open_door(KEYS[1], ARGV[1])
if ARGV[2] == '1' then redis.call('XDEL', KEYS[1], '0-0') end
redis.call('HINCRBY', KEYS[2], ARGV[3], 0)
redis.call('HDEL', KEYS[3], '')
local suspects = redis.call('HLEN', KEYS[3]) > 0
if KEYS[4] then redis.call('ZREM', KEYS[4], '') end
local ids = {}
for id in string.gmatch(ARGV[4], '%S+') do ids[#ids + 1] = id end
local acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
if ARGV[2] == '1' then redis.call('XDEL', KEYS[1], unpack(ids)) end
if suspects then
  for _, id in ipairs(ids) do redis.call('HDEL', KEYS[3], token_of(KEYS[1], id)) end
end
if acknowledged > 0 then redis.call('HINCRBY', KEYS[2], ARGV[3], acknowledged) end
if KEYS[4] then
  for _, id in ipairs(ids) do redis.call('ZREM', KEYS[4], token_of(KEYS[1], id)) end
end
return acknowledged
