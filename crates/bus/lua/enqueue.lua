-- Puts messages on their list, once each.
-- KEYS after the lanes: fingerprint, record and list of copies of each message; the list itself = no copy.
-- ARGV 1 number of keys up to the last lane 2 most items 3 most bytes 4 most copies, then for each message:
-- payload, lane (index into KEYS), fingerprint's ttl in s, 0 = none
LAST_LANE = tonumber(ARGV[1])
local items, bytes = waiting(), redis.call('MEMORY', 'USAGE', LIST) or 0
for i = FIRST_LANE, LAST_LANE do
  bytes = bytes + (redis.call('MEMORY', 'USAGE', KEYS[i]) or 0)
end

-- A dead letter that is sent again gets another chance; anything else that is known is a duplicate.
local function enqueue(seen, job, copies, payload, lane, ttl)
  local state = redis.call('HGET', job, 'state')
  if state and state ~= 'dead' then return 'exists', state end
  if ttl > 0 and not state and redis.call('EXISTS', seen) == 1 then return 'exists', 'seen' end
  if items >= tonumber(ARGV[2]) then return 'full', items .. ' messages are waiting' end
  if bytes + #payload > tonumber(ARGV[3]) then return 'full', bytes .. ' bytes are waiting' end
  if state then redis.call('DEL', job) end
  redis.call('HSET', job, 'state', 'queued', 'enq', now())
  if ttl > 0 then redis.call('SET', seen, '1', 'EX', ttl) end
  -- Straight to the list when that is empty: a blocked worker wakes at once.
  if redis.call('LLEN', LIST) == 0 then lane = 1 end
  redis.call('LPUSH', KEYS[lane], payload)
  if copies ~= LIST then
    -- Whatever somebody else made of that key, it is no reason to refuse the message.
    redis.pcall('LPUSH', copies, payload)
    redis.pcall('LTRIM', copies, 0, ARGV[4] - 1)
  end
  items, bytes = items + 1, bytes + #payload
  return 'ok', tostring(items)
end

local answers = {}
for n = 0, (#KEYS - LAST_LANE) / 3 - 1 do
  local key, arg = LAST_LANE + 3 * n, 4 + 3 * n
  local seen, job, copies = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  local word, detail =
    enqueue(seen, job, copies, ARGV[arg + 1], tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3]))
  answers[#answers + 1] = word
  answers[#answers + 1] = detail
end
return answers
