-- The oldest events that wait on a list, where they stay until they are sent. Only one looks at a time, or all would do
-- the same work; but nobody waits for long for one who has died over it.
-- KEYS 2 the list 3 there if it is paused
-- ARGV 1 prefix 2 who looks 3 ms that it has 4 most events 5 no more than one further with so many bytes
-- -> ok, paused or busy; then the events, the oldest first
if redis.call('EXISTS', KEYS[3]) == 1 then return {'paused'} end
local other = redis.call('GET', key('intake'))
if other and other ~= ARGV[2] then return {'busy'} end
local oldest = redis.call('LRANGE', KEYS[2], -ARGV[4], -1)
local answer, bytes = {'ok'}, 0
for n = #oldest, 1, -1 do
  if bytes >= tonumber(ARGV[5]) then break end
  answer[#answer + 1], bytes = oldest[n], bytes + #oldest[n]
end
if #answer > 1 then redis.call('SET', key('intake'), ARGV[2], 'PX', ARGV[3]) end
return answer
