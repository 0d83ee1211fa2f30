-- Gives the message of this slot back, first in line, without counting anything.
-- ARGV 1 payload 2 attempt 3 event or '' 4 ttl in s
local mine, state = holds(ARGV[2])
if not mine then return {'stale', state} end
redis.call('LREM', SLOT, 1, ARGV[1])
local outcome = conclude_cancelled(ARGV[4])
if outcome then return {'done', outcome} end
redis.call('HSET', JOB, 'state', 'queued')
redis.call('HDEL', JOB, 'slot', 'worker')
redis.call('RPUSH', LIST, ARGV[1])
tell(ARGV[3])
return {'released'}
