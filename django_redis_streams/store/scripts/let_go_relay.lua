-- Let go of the lease of the process that relays an outbox, so that another process takes it at once.
-- KEYS 1 lease
-- ARGV 1 holder
-- Returns 1 if the holder had it, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
