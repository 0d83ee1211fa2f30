-- Takes one message away from a dead worker.
-- ARGV 1 worker 2 payload 3 most crashes 4 event when lost 5 ttl in s 6 why it is buried
if lives(WORKERS, ARGV[1]) then return {'alive'} end
if redis.call('LREM', SLOT, -1, ARGV[2]) == 0 then return {'gone'} end
local h = redis.call('HMGET', JOB, 'state', 'slot')
if ended(h[1]) then return {'dropped', h[1]} end
if h[1] == 'delayed' or (h[2] and h[2] ~= SLOT) then return {'dropped', 'copy'} end
local outcome = conclude_cancelled(ARGV[5])
if outcome then return {'ended', outcome} end
if h[2] and redis.call('HINCRBY', JOB, 'crashes', 1) >= tonumber(ARGV[3]) then
  conclude(given_up(ARGV[4]), ARGV[4], ARGV[5])
  bury(ARGV[6], ARGV[2])
  return {'ended', given_up(ARGV[4])}
end
redis.call('HSET', JOB, 'state', 'queued')
redis.call('HDEL', JOB, 'slot', 'worker')
redis.call('RPUSH', LIST, ARGV[2])
return {'requeued'}
