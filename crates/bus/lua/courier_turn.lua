-- Gives an addressee up, tries it again, or says how fast it takes deliveries.
-- ARGV 1 prefix 2 addressee 3 off|on|pace 4 why it is given up, or at once 5 per second 6 whether it is ordered, 1 or 0
local to, which = ARGV[2], ARGV[3]
if which == 'off' then
  turn_off(to, ARGV[4])
elseif which == 'on' then
  if redis.call('HEXISTS', key('to:', to), 'off') == 1 then announce(to, 'enabled') end
  redis.call('HDEL', key('to:', to), 'off', 'off_at', 'failures', 'open', 'trips', 'since', 'failed', 'asked')
  redis.call('ZREM', key('left'), to)
  look_again(to)
else
  redis.call('INCR', key('edition')) -- So that Redis can be seen to have forgotten it.
  pace(to, unpack(ARGV, 4, 6))
end
return {'ok'}
