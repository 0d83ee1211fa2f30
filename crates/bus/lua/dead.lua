-- The workers whose leases have run out; nobody, if our own has: then we slept, and so may they have.
-- KEYS 1 workers | ARGV 1 our own name
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then return {'late'} end
local dead = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE')
table.insert(dead, 1, 'kept')
return dead
