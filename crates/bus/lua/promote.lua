-- Moves messages whose pause is over back to the list.
-- ARGV 1 prefix of records 2 how many at most
local due = redis.call('ZRANGE', DELAYED, '-inf', now(), 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do
  redis.call('ZREM', DELAYED, id)
  local job = ARGV[1] .. id
  local h = redis.call('HMGET', job, 'state', 'payload')
  if h[1] == 'delayed' and h[2] then
    redis.call('HSET', job, 'state', 'queued')
    redis.call('HDEL', job, 'payload')
    redis.call('LPUSH', LIST, h[2])
  end
end
return #due
