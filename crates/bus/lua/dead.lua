-- The workers whose leases have run out; nobody, if our own has: then we slept, and so may they have.
-- KEYS 1 workers | ARGV 1 our own name
if not lives(KEYS[1], ARGV[1]) then return {'late'} end
local dead = redis.call('ZRANGE', KEYS[1], '-inf', now(), 'BYSCORE')
table.insert(dead, 1, 'kept')
return dead
