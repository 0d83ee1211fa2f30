-- How things stand.
-- ARGV 1 prefix
-- -> how many deliveries are being tried, how many are dead, how many addressees are left alone, ms for which the one that
-- has waited for longest could have been sent something
redis.call('ZREMRANGEBYSCORE', key('left'), '-inf', NOW)
local first = redis.call('ZRANGE', key('ready'), 0, 0, 'WITHSCORES')
local lag = first[2] and math.max(0, NOW - tonumber(first[2])) or 0
return {redis.call('ZCARD', key('held')), redis.call('ZCARD', key('dead')), redis.call('ZCARD', key('left')), lag}
