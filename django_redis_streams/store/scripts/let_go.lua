-- Let go of the promoter's lease, so that another process takes it at once.
-- KEYS 1 promoter lease   2 main stream   3 notices
-- ARGV 1 holder
-- Returns 1 if this process held it, else 0.
--! prelude
--! notices
open_door(KEYS[2], '-')
if holder_of(redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
tell(KEYS[3], 'due', '')
return 1
