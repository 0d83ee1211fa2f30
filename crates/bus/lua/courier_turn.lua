-- Gives an addressee up, tries it again, or says how fast it takes deliveries.
-- ARGV 1 prefix 2 addressee 3 off|on|pace 4 why it is given up, or at once 5 per second
local to, which = ARGV[2], ARGV[3]
if which == 'off' then
  turn_off(to, ARGV[4])
elseif which == 'on' then
  redis.call('HDEL', key('to:', to), 'off', 'off_at', 'failures', 'open', 'trips', 'since', 'failed')
  redis.call('ZREM', key('left'), to)
  look_again(to)
else
  pace(to, ARGV[4], ARGV[5])
end
return {'ok'}
