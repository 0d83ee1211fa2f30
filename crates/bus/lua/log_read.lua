-- Reads chunks after a number. Trimming moves indices, so the index is the number less what was trimmed.
-- KEYS 1 list 2 meta | ARGV 1 last number read 2 how many at most
local h = redis.call('HMGET', KEYS[2], 'seq', 'trimmed')
local from = tonumber(ARGV[1]) - tonumber(h[2] or 0)
if from < 0 then from = 0 end
local items = redis.call('LRANGE', KEYS[1], from, from + tonumber(ARGV[2]) - 1)
table.insert(items, 1, h[1] or '0')
return items
