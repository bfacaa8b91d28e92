-- Uncount a suspect's run that was written down but that a stop kept from ending; the entry stays a suspect.
-- KEYS 1 the stream read from   2 suspects
-- ARGV 1 group   2 consumer   3 entry id
-- Returns 1, or 0 where the entry isn't pending for this consumer or no suspect any more: then nothing is changed.
--! prelude
open_door(KEYS[1], ARGV[1])
if not is_held(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then return 0 end
local token = token_of(KEYS[1], ARGV[3])
local packed = redis.call('HGET', KEYS[2], token)
if not packed then return 0 end
local row = cjson.decode(packed)
-- The entry was claimed to be dead-lettered, not to be run.
if row.crashed then return 0 end
row.runs = math.max(0, row.runs - 1)
redis.call('HSET', KEYS[2], token, cjson.encode(row))
return 1
