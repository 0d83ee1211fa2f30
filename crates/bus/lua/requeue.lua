-- Puts back a message that its owner knows about and Redis has lost. A record alone does not count:
-- the message must be in a list, in the slot that the record names, or delayed.
-- ARGV 1 payload 2 id
local h = redis.call('HMGET', JOB, 'state', 'slot')
if ended(h[1]) then return {'ended', h[1]} end
if redis.call('ZSCORE', DELAYED, ARGV[2]) then return {'present', 'delayed'} end
-- A slot holds one message; its bytes may differ from its owner's copy, which is the same message.
if h[1] == 'running' and h[2] and redis.call('LLEN', h[2]) > 0 then return {'present', 'running'} end
if redis.call('LPOS', LIST, ARGV[1]) then return {'present', 'queued'} end
for i = FIRST_LANE, LAST_LANE do
  if redis.call('LPOS', KEYS[i], ARGV[1]) then return {'present', 'queued'} end
end
redis.call('HSET', JOB, 'state', 'queued')
redis.call('HDEL', JOB, 'slot', 'worker')
redis.call('RPUSH', LIST, ARGV[1])
return {'requeued'}
