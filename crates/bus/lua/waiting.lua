-- How many messages wait.
local n = redis.call('LLEN', LIST) + redis.call('ZCARD', DELAYED)
for i = FIRST_LANE, #KEYS do
  n = n + redis.call('LLEN', KEYS[i])
end
return {n}
