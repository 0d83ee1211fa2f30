-- Strikes a worker off whose lease has run out, or who says so itself, once its slots are empty.
-- KEYS 1 workers 2.. slots | ARGV 1 worker 2 '1' if it says so itself
if ARGV[2] ~= '1' and lives(KEYS[1], ARGV[1]) then return 0 end
for i = 2, #KEYS do
  if redis.call('LLEN', KEYS[i]) > 0 then return 0 end
end
return redis.call('ZREM', KEYS[1], ARGV[1])
