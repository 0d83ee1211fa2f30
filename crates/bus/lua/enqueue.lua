-- Puts a message on its list once. KEYS[7] is the fingerprint's key here.
-- ARGV 1 payload 2 lane (index into KEYS) 3 most items 4 most bytes 5 fingerprint's ttl in s, 0 = none
-- A dead letter that is sent again gets another chance; anything else that is known is a duplicate.
local state = redis.call('HGET', JOB, 'state')
if state and state ~= 'dead' then return {'exists', state} end
if state then redis.call('DEL', JOB) end
local fingerprint = tonumber(ARGV[5]) > 0
if fingerprint and not state and redis.call('EXISTS', SLOT) == 1 then return {'exists', 'seen'} end

local items = waiting()
local bytes = redis.call('MEMORY', 'USAGE', LIST) or 0
for i = FIRST_LANE, #KEYS do
  bytes = bytes + (redis.call('MEMORY', 'USAGE', KEYS[i]) or 0)
end
if items >= tonumber(ARGV[3]) then return {'full', items .. ' messages are waiting'} end
if bytes + #ARGV[1] > tonumber(ARGV[4]) then return {'full', bytes .. ' bytes are waiting'} end

redis.call('HSET', JOB, 'state', 'queued', 'enq', now())
if fingerprint then redis.call('SET', SLOT, '1', 'EX', ARGV[5]) end
-- Straight to the list when that is empty: a blocked worker wakes at once.
local lane = tonumber(ARGV[2])
if redis.call('LLEN', LIST) == 0 then lane = 1 end
redis.call('LPUSH', KEYS[lane], ARGV[1])
return {'ok', items + 1}
