-- Ends a message that nobody runs; leaves a flag for whoever runs it.
-- ARGV 1 outcome 2 event 3 ttl in s 4 id 5 channel 6 request
local state = redis.call('HGET', JOB, 'state')
if ended(state) then return {'already', state} end
if state == 'running' then
  if redis.call('HSETNX', JOB, 'cancel', ARGV[1]) == 1 then
    redis.call('HSET', JOB, 'cancel_event', ARGV[2])
    redis.call('PUBLISH', ARGV[5], ARGV[6])
  end
  return {'signalled'}
end
redis.call('ZREM', DELAYED, ARGV[4])
conclude(ARGV[1], ARGV[2], ARGV[3])
return {'ended', ARGV[1]}
