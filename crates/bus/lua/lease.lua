-- What time it is, and whose lease goes on: shared by every script that asks.

-- Server time in ms: the clocks of clients never matter.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Whether a worker's lease goes on.
local function lives(workers, worker)
  local ends = redis.call('ZSCORE', workers, worker)
  return ends and tonumber(ends) > now()
end
