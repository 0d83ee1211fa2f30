-- What somebody held who has died waits again, without a failure; what has killed too many of them is dead.
-- ARGV 1 prefix 2 most deaths -> how many
local held = redis.call('ZRANGEBYSCORE', key('held'), '-inf', NOW, 'LIMIT', 0, 100)
for _, id in ipairs(held) do
  redis.call('ZREM', key('held'), id)
  local to = string.match(id, '/(.*)$')
  redis.call('SREM', key('out:', to), id)
  local d = redis.call('HMGET', key('d:', id), 'state', 'event')
  if d[1] == 'sending' then
    redis.call('HINCRBY', key('d:', id), 'token', 1)
    if redis.call('HINCRBY', key('d:', id), 'lost', 1) >= tonumber(ARGV[2]) then
      bury(id, d[2], 'whoever delivered it died, too often')
    else
      wait(id, to, NOW)
    end
  elseif not d[1] then
    forget(id, to)
  end
  look_again(to)
end
return {#held}
