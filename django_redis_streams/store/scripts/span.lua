-- Count the entries between two ids, the newest first, up to a bound; changes nothing.
-- KEYS 1 stream
-- ARGV 1 first id   2 last id, each as XRANGE takes it   3 most to count
-- Returns {how many, id of the oldest that was counted, or false}. Bodies stay here: they may be large.
local entries = redis.call('XREVRANGE', KEYS[1], ARGV[2], ARGV[1], 'COUNT', ARGV[3])
return {#entries, #entries > 0 and entries[#entries][1] or false}
