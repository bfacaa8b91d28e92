-- Write down that a dead worker was running an entry: from now on it runs in quarantine only.
-- KEYS 1 the stream read from   2 suspects
-- ARGV 1 group   2 the dead consumer   3 entry id   4 handler   5 how the worker ended
-- Returns 1, or 0 where the entry isn't pending for that consumer any more: then nothing is changed.
-- The runs that were begun in quarantine are kept: this may be the end of one of them.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
local token = KEYS[1] .. '/' .. ARGV[3]
local row = redis.call('HGET', KEYS[2], token)
local runs = row and cjson.decode(row).runs or 0
redis.call('HSET', KEYS[2], token, cjson.encode({runs = runs, handler = ARGV[4], how = ARGV[5]}))
return 1
