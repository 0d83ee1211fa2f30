-- Puts the message of this slot aside, to be tried again, unless its attempts have run out.
-- ARGV 1 payload 2 attempt 3 pause in ms 4 most failures 5 id 6 event
--      7 state when exhausted 8 event when exhausted 9 ttl in s 10 why it is buried
local mine, state = holds(ARGV[2])
if not mine then return {'stale', state} end
redis.call('LREM', SLOT, 1, ARGV[1])
refill()
local outcome = conclude_cancelled(ARGV[9])
if outcome then return {'done', outcome} end
if redis.call('HINCRBY', JOB, 'failures', 1) >= tonumber(ARGV[4]) then
  conclude(ARGV[7], ARGV[8], ARGV[9])
  bury(ARGV[10], ARGV[1])
  return {'done', ARGV[7]}
end
redis.call('HSET', JOB, 'state', 'delayed', 'payload', ARGV[1])
redis.call('HDEL', JOB, 'slot', 'worker')
redis.call('ZADD', DELAYED, now() + tonumber(ARGV[3]), ARGV[5])
tell(ARGV[6])
return {'delayed'}
