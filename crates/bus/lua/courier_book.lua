-- Writes an addressee into the book with its pace, or strikes it out with all that waits for it; not if somebody else has
-- written there meanwhile.
-- ARGV 1 prefix 2 addressee 3 what is there by now, or empty 4 what is to be there, or empty 5 what people call it
-- 6 at once 7 per second 8 whether it is ordered, 1 or 0
-- -> ok, or changed
local to, before, after = ARGV[2], ARGV[3], ARGV[4]
if (redis.call('HGET', key('book'), to) or '') ~= before then return {'changed'} end
redis.call('INCR', key('edition'))
if after == '' then
  announce(to, 'deleted', nil, ARGV[5])
  redis.call('HDEL', key('book'), to)
  for _, kind in ipairs({'ready', 'left'}) do redis.call('ZREM', key(kind), to) end
  for _, line in ipairs(redis.call('HVALS', key('lines:', to))) do redis.call('DEL', key('line:', to .. '/' .. line)) end
  for _, kind in ipairs({'due:', 'of:', 'to:', 'lines:'}) do redis.call('DEL', key(kind, to)) end
  redis.call('SET', key('gone:', to), 1, 'EX', 3600) -- What is on its way to it does not come back.
else
  announce(to, before == '' and 'created' or 'updated', nil, ARGV[5])
  redis.call('HSET', key('book'), to, after)
  -- What went wrong was with how it was before.
  redis.call('HDEL', key('to:', to), 'failures', 'open', 'trips', 'since', 'failed', 'asked')
  redis.call('ZREM', key('left'), to)
  pace(to, unpack(ARGV, 6, 8))
end
return {'ok'}
