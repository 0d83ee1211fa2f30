-- The workers whose leases have run out.
-- KEYS 1 workers
local t = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], '-inf', t[1] * 1000 + math.floor(t[2] / 1000), 'BYSCORE')
