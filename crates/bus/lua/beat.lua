-- Says that a worker lives; answers, for each job it holds, what became of it.
-- KEYS 1 workers 2.. jobs | ARGV 1 worker 2.. attempt of each job
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])
local answers = {}
for i = 2, #KEYS do
  local h = redis.call('HMGET', KEYS[i], 'state', 'attempt', 'worker', 'cancel')
  if h[1] ~= 'running' or h[2] ~= ARGV[i] or h[3] ~= ARGV[1] then
    answers[i - 1] = 'lost'
  else
    answers[i - 1] = h[4] or 'ok'
  end
end
return answers
