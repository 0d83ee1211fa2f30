-- The oldest events that wait on a list, where they stay until they are sent. Only one looks at a time, or all would do
-- the same work; but nobody waits for long for one who has died over it.
-- KEYS 2 the list 3 there if it is paused
-- ARGV 1 prefix 2 who looks 3 ms that it has 4 most events 5 no more than one further with so many bytes
-- -> ok, paused or busy; then the events, the oldest first
if redis.call('EXISTS', KEYS[3]) == 1 then return {'paused'} end
local other = redis.call('GET', key('intake'))
if other and other ~= ARGV[2] then return {'busy'} end
local answer, bytes = {'ok'}, 0
for n = 1, tonumber(ARGV[4]) do
  local payload = bytes < tonumber(ARGV[5]) and redis.call('LINDEX', KEYS[2], -n)
  if not payload then break end
  answer[n + 1], bytes = payload, bytes + #payload
end
if #answer > 1 then redis.call('SET', key('intake'), ARGV[2], 'PX', ARGV[3]) end
return answer
