-- Adopts what an ambiguous error left in the slot, else moves the next message into it.
-- ARGV: indices into KEYS in the order of this turn
local held = redis.call('LINDEX', SLOT, -1)
if held then return held end
if redis.call('EXISTS', PAUSED) == 1 then return false end
for _, i in ipairs(ARGV) do
  local v = redis.call('LMOVE', KEYS[tonumber(i)], SLOT, 'RIGHT', 'LEFT')
  if v then return v end
end
return false
