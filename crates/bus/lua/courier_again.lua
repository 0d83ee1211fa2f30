-- Delivers something again that has ended, with all its attempts before it.
-- ARGV 1 prefix 2 delivery -> ok, absent, waiting (it has not ended), off (its addressee is), or forgotten (what was to be
-- delivered is gone)
local id = ARGV[2]
local d = redis.call('HMGET', key('d:', id), 'state', 'to', 'event')
if not d[1] then return {'absent'} end
if d[1] ~= 'done' and d[1] ~= 'dead' then return {'waiting'} end
if redis.call('HEXISTS', key('to:', d[2]), 'off') == 1 then return {'off'} end
-- All had ended, and one is dead, which may be asked for as long as before.
local is_kept = redis.call('EXISTS', key('open:', d[3])) == 0 and redis.call('TTL', key('event:', d[3])) > DONE_SECONDS
if redis.call('EXPIRE', key('event:', d[3]), WAIT_SECONDS) == 0 then return {'forgotten'} end
if is_kept then redis.call('HINCRBY', key('open:', d[3]), 'dead', 1) end
redis.call('HINCRBY', key('open:', d[3]), 'n', 1)
redis.call('EXPIRE', key('open:', d[3]), WAIT_SECONDS + DAY)
redis.call('HSET', key('d:', id), 'failures', 0, 'lost', 0, 'sent', NOW)
redis.call('HDEL', key('d:', id), 'why', 'ended')
redis.call('ZREM', key('dead'), id)
keep(id, WAIT_SECONDS + DAY) -- The record outlives what is delivered, so that it can say what became of it.
wait(id, d[2], NOW)
return {'ok'}
