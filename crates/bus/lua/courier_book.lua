-- Writes an addressee into the book with its pace, or strikes it out with all that waits for it; not if somebody else has
-- written there meanwhile.
-- ARGV 1 prefix 2 addressee 3 what is there by now, or empty 4 what is to be there, or empty 5 at once 6 per second
-- -> ok, or changed
local to, before, after = ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', key('book'), to) or '') ~= before then return {'changed'} end
redis.call('INCR', key('edition'))
if after == '' then
  redis.call('HDEL', key('book'), to)
  for _, kind in ipairs({'ready', 'left'}) do redis.call('ZREM', key(kind), to) end
  for _, kind in ipairs({'due:', 'of:', 'to:'}) do redis.call('DEL', key(kind, to)) end
else
  redis.call('HSET', key('book'), to, after)
  pace(to, ARGV[5], ARGV[6])
end
return {'ok'}
