-- Renews a worker's lease; answers whether it had run out, and what became of each job it holds.
-- KEYS 1 workers 2.. jobs | ARGV 1 worker 2 lease in ms 3.. attempt of each job
local answers = {lives(KEYS[1], ARGV[1]) and 'kept' or 'late'}
redis.call('ZADD', KEYS[1], now() + ARGV[2], ARGV[1])
for i = 2, #KEYS do
  local h = redis.call('HMGET', KEYS[i], 'state', 'attempt', 'worker', 'cancel')
  if h[1] ~= 'running' or h[2] ~= ARGV[i + 1] or h[3] ~= ARGV[1] then
    answers[i] = 'lost'
  else
    answers[i] = h[4] or 'ok'
  end
end
return answers
