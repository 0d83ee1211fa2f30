-- Strikes a dead worker off, once its slots are empty.
-- KEYS 1 workers 2.. slots | ARGV 1 worker 2 lease in ms, 0 = it says so itself
local t = redis.call('TIME')
local seen = redis.call('ZSCORE', KEYS[1], ARGV[1])
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if seen and tonumber(ARGV[2]) > 0 and tonumber(seen) > now - tonumber(ARGV[2]) then return 0 end
for i = 2, #KEYS do
  if redis.call('LLEN', KEYS[i]) > 0 then return 0 end
end
return redis.call('ZREM', KEYS[1], ARGV[1])
