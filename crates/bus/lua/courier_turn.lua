-- Gives an addressee up, tries it again, or only looks whether something is due.
-- ARGV 1 prefix 2 addressee 3 off|on|look 4 why it is given up
local to, which, why = ARGV[2], ARGV[3], ARGV[4]
if which == 'off' then
  redis.call('HSET', key('to:', to), 'off', why, 'off_at', NOW)
  redis.call('ZREM', key('ready'), to)
  return {'ok'}
end
if which == 'on' then redis.call('HDEL', key('to:', to), 'off', 'off_at', 'failures', 'open', 'trips', 'since', 'failed') end
look_again(to)
return {'ok'}
