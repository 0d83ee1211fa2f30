-- One event for some addressees: a delivery each, unless there was one.
-- ARGV 1 prefix 2 event 3 payload 4 most that wait for one addressee 5... addressees
-- -> how many were made; then those whose deliveries are full
local event, most, made, full = ARGV[2], tonumber(ARGV[4]), 0, {}
for i = 5, #ARGV do
  local to = ARGV[i]
  local id = event .. '/' .. to
  if redis.call('EXISTS', key('d:', id)) == 0 and redis.call('HEXISTS', key('to:', to), 'off') == 0 then
    made = made + 1
    if redis.call('HINCRBY', key('open:', event), 'n', 1) == 1 then
      redis.call('EXPIRE', key('open:', event), WAIT_SECONDS + DAY)
    end
    if made == 1 then redis.call('SET', key('event:', event), ARGV[3], 'EX', WAIT_SECONDS) end
    redis.call('HSET', key('d:', id), 'to', to, 'event', event, 'sent', NOW, 'failures', 0, 'token', 0, 'lost', 0)
    redis.call('ZADD', key('of:', to), NOW, id)
    redis.call('ZREMRANGEBYRANK', key('of:', to), 0, -1 - MOST_LISTED)
    if redis.call('ZCARD', key('due:', to)) >= most then
      full[#full + 1] = to
      bury(id, 'too many deliveries wait for this endpoint')
    else
      wait(id, to, NOW)
    end
  end
end
return {made, unpack(full)}
