-- Starts an attempt at the message in the slot.
-- ARGV 1 payload 2 worker 3 ttl of ended records in s 4 id 5 event when lost 6 why it is buried then
if not redis.call('LPOS', SLOT, ARGV[1]) then return {'gone'} end
local h = redis.call('HMGET', JOB, 'state', 'slot', 'worker')
local function drop(...)
  redis.call('LREM', SLOT, 1, ARGV[1])
  refill()
  return {...}
end
if ended(h[1]) then return drop('ended', h[1]) end
if h[1] == 'running' and h[2] ~= SLOT and lives(WORKERS, h[3]) then return drop('duplicate', h[3]) end
local outcome = conclude_cancelled(ARGV[3])
if outcome then return drop('ended', outcome) end
-- The same slot again: its task died over it, or an answer of ours was lost on the way.
if h[1] == 'running' and h[2] == SLOT and redis.call('HINCRBY', JOB, 'adoptions', 1) > ADOPTIONS then
  conclude(given_up(ARGV[5]), ARGV[5], ARGV[3])
  bury(ARGV[6], ARGV[1])
  return drop('ended', given_up(ARGV[5]))
end
if redis.call('EXISTS', PAUSED) == 1 then
  redis.call('RPUSH', LIST, ARGV[1])
  redis.call('LREM', SLOT, 1, ARGV[1])
  if h[1] == 'running' then
    redis.call('HSET', JOB, 'state', 'queued')
    redis.call('HDEL', JOB, 'slot', 'worker')
  end
  return {'paused'}
end
redis.call('ZREM', DELAYED, ARGV[4])
local attempt = redis.call('HINCRBY', JOB, 'attempt', 1)
redis.call('HSET', JOB, 'state', 'running', 'worker', ARGV[2], 'slot', SLOT, 'started', now())
redis.call('HDEL', JOB, 'payload')
refill()
local n = redis.call('HMGET', JOB, 'failures', 'crashes')
return {'run', attempt, tonumber(n[1] or 0), tonumber(n[2] or 0)}
