-- Ends the message of this slot.
-- ARGV 1 payload 2 attempt 3 state 4 event or '' 5 ttl in s 6 why it is buried or ''
local mine, state = holds(ARGV[2])
if not mine then return {'stale', state} end
redis.call('LREM', SLOT, 1, ARGV[1])
conclude(ARGV[3], ARGV[4], ARGV[5])
bury(ARGV[6], ARGV[1])
refill()
return {'done', ARGV[3]}
