-- How many messages wait: in all, on the list itself, in each of its lanes.
local counts = {waiting(), redis.call('LLEN', LIST)}
for i = FIRST_LANE, LAST_LANE do
  counts[#counts + 1] = redis.call('LLEN', KEYS[i])
end
return counts
