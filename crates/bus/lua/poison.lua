-- Buries what cannot be parsed, in a slot or at the end of a list; there is no record of it.
-- ARGV 1 payload 2 why
if redis.call('LREM', SLOT, -1, ARGV[1]) > 0 then bury(ARGV[2], ARGV[1]) end
refill()
return {'done'}
