-- Who is still trying a delivery goes on holding it.
-- ARGV 1 prefix 2 delivery 3 token 4 lease in ms -> 1 if it is theirs, or 0
local id = ARGV[2]
local d = redis.call('HMGET', key('d:', id), 'state', 'token')
if d[1] ~= 'sending' or d[2] ~= ARGV[3] then return {0} end
redis.call('ZADD', key('held'), 'XX', NOW + tonumber(ARGV[4]), id)
return {1}
