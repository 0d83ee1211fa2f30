-- Buries what cannot be worked on, in a slot or at the end of a list.
-- ARGV 1 payload 2 why 3 ttl of its record in s, or '' if there is none
if redis.call('LREM', SLOT, -1, ARGV[1]) > 0 then
  bury(ARGV[2], ARGV[1])
  if ARGV[3] ~= '' then conclude('dead', '', ARGV[3]) end
end
refill()
return {'done'}
