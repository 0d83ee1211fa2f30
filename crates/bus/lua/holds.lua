-- Which attempt at a message is running ('0' for none), in which slot, and whether its worker's lease goes on.
-- KEYS 1 workers 2 job
local h = redis.call('HMGET', KEYS[2], 'state', 'worker', 'attempt', 'slot')
if h[1] ~= 'running' or not h[2] then return {'0', '', '0'} end
return {h[3], h[4], lives(KEYS[1], h[2]) and '1' or '0'}
