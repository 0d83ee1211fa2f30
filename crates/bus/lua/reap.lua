-- Takes one message away from a dead worker.
-- ARGV 1 worker 2 lease in ms 3 payload 4 most crashes 5 event when lost 6 ttl in s 7 why it is buried
local seen = redis.call('ZSCORE', WORKERS, ARGV[1])
if seen and tonumber(seen) > now() - tonumber(ARGV[2]) then return {'alive'} end
if redis.call('LREM', SLOT, -1, ARGV[3]) == 0 then return {'gone'} end
local h = redis.call('HMGET', JOB, 'state', 'slot')
if ended(h[1]) then return {'dropped', h[1]} end
if h[1] == 'delayed' or (h[2] and h[2] ~= SLOT) then return {'dropped', 'copy'} end
local outcome = conclude_cancelled(ARGV[6])
if outcome then return {'ended', outcome} end
if h[2] and redis.call('HINCRBY', JOB, 'crashes', 1) >= tonumber(ARGV[4]) then
  conclude('lost', ARGV[5], ARGV[6])
  bury(ARGV[7], ARGV[3])
  return {'ended', 'lost'}
end
redis.call('HSET', JOB, 'state', 'queued')
redis.call('HDEL', JOB, 'slot', 'worker')
redis.call('RPUSH', LIST, ARGV[3])
return {'requeued'}
