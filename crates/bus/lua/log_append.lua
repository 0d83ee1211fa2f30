-- Appends a chunk once, gives it its number, tells who listens.
-- KEYS 1 list 2 meta | ARGV 1 attempt 2 n 3 chunk 4 most chunks 5 ttl in s 6 channel
local h = redis.call('HMGET', KEYS[2], 'attempt', 'n', 'seq')
local attempt, n = tonumber(ARGV[1]), tonumber(ARGV[2])
local last_attempt, last_n = tonumber(h[1] or 0), tonumber(h[2] or 0)
if attempt < last_attempt or (attempt == last_attempt and n <= last_n) then return {'seen', h[3]} end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'full'} end
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
redis.call('HSET', KEYS[2], 'attempt', ARGV[1], 'n', ARGV[2])
local item = seq .. ' ' .. ARGV[3]
redis.call('RPUSH', KEYS[1], item)
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[6], item)
return {'ok', seq}
