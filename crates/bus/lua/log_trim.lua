-- Removes chunks that were stored elsewhere, up to a number.
-- KEYS 1 list 2 meta | ARGV 1 last number stored
local trimmed = tonumber(redis.call('HGET', KEYS[2], 'trimmed') or 0)
local k = math.min(tonumber(ARGV[1]) - trimmed, redis.call('LLEN', KEYS[1]))
if k <= 0 then return 0 end
redis.call('LTRIM', KEYS[1], k, -1)
redis.call('HINCRBY', KEYS[2], 'trimmed', k)
return k
