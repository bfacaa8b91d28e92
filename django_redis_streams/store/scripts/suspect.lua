-- Write down that a dead worker was running an entry: from now on the entry runs in quarantine only.
-- KEYS 1 the stream read from   2 suspects
-- ARGV 1 group   2 the dead consumer   3 entry id   4 handler   5 how the worker ended
-- Returns how many runs were begun in quarantine, or false where the entry isn't pending for that consumer any more:
-- then nothing is changed.
-- The count of runs begun in quarantine is kept: this may be the end of one of them.
--! prelude
open_door(KEYS[1], ARGV[1])
if not is_held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return false end
local token = token_of(KEYS[1], ARGV[3])
local row = redis.call('HGET', KEYS[2], token)
local runs = row and cjson.decode(row).runs or 0
redis.call('HSET', KEYS[2], token, cjson.encode({runs = runs, handler = ARGV[4], how = ARGV[5]}))
return runs
