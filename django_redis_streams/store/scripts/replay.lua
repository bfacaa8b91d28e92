-- Move a dead letter to the redelivery stream of the group that it failed in; its metadata say that it was replayed.
-- KEYS 1 dead letter queue   2 redelivery stream of the group   3 totals of the group
-- ARGV 1 group   2 dead letter's entry id   3 its new metadata, for the field `drs`   4… its fields, where they are new
-- Returns the id in the redelivery stream, or false where the dead letter is gone: then nothing is changed. If two
-- people replay it at once, the second finds it gone.
-- The first commands change nothing: each fails at once where a later step would be refused, before anything is
-- copied. The copy comes before the deletion.
--! prelude
open_door(KEYS[1], ARGV[1])
redis.call('XDEL', KEYS[1], '0-0')
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return false end
redis.call('HINCRBY', KEYS[3], 'replayed', 0)
local fields = found[1][2]
if ARGV[4] then fields = {fields[1], ARGV[3], unpack(ARGV, 4)} else fields[2] = ARGV[3] end
-- This is refused if the group is there already. If it is refused for another reason, the worker makes the group.
redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0', 'MKSTREAM')
local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[3], 'replayed', 1)
return id
