-- The oldest message on the list and on each of its lanes: an empty text where there is none, or one of more than
-- ARGV 1 bytes.
local function oldest(key)
  local payload = redis.call('LINDEX', key, -1) or ''
  return #payload <= tonumber(ARGV[1]) and payload or ''
end
local found = {oldest(LIST)}
for i = FIRST_LANE, LAST_LANE do
  found[#found + 1] = oldest(KEYS[i])
end
return found
