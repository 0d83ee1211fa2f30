-- Events for their addressees: a delivery each, unless there was one. What waited on a list leaves it in the same step.
-- KEYS 2 the list that they waited on
-- ARGV 1 prefix 2 most that wait for one addressee 3 who looked at that list 4 s for which it is known what has left it;
-- then of each event: its id, its payload, the key of its record ('' if it waited on no list), how many addressees, those
-- -> those whose deliveries are full
local most, full = tonumber(ARGV[2]), {}

-- Whether it is for this addressee and was not before; and when that one may be looked at.
local function note(event, to, order)
  local health = redis.call('HMGET', key('to:', to), 'off', 'open')
  local d = key('d:', event .. '/' .. to)
  if health[1] or redis.call('HSETNX', d, 'to', to) == 0 then return end
  redis.call('HSET', d, 'event', event, 'sent', NOW, 'failures', 0, 'token', 0, 'lost', 0, 'state', 'waiting', 'due', NOW)
  redis.call('EXPIRE', d, WAIT_SECONDS + DAY)
  redis.call('ZADD', key('of:', to), order, event .. '/' .. to)
  redis.call('ZREMRANGEBYRANK', key('of:', to), 0, -1 - MOST_LISTED)
  return math.max(NOW, tonumber(health[2] or 0))
end

local function put(event, to, at, order)
  local id = event .. '/' .. to
  if redis.call('ZCARD', key('due:', to)) >= most then
    full[#full + 1] = to
    return bury(id, event, 'too many deliveries wait for this endpoint')
  end
  redis.call('ZADD', key('due:', to), order, id)
  redis.call('ZADD', key('ready'), 'LT', at, to)
end

local function send(event, payload, order, first, last)
  local new = {}
  for i = first, last do
    local at = note(event, ARGV[i], order)
    if at then new[#new + 1] = {ARGV[i], at} end
  end
  if #new == 0 then return end
  redis.call('HINCRBY', key('open:', event), 'n', #new)
  redis.call('EXPIRE', key('open:', event), WAIT_SECONDS + DAY)
  redis.call('SET', key('event:', event), payload, 'EX', WAIT_SECONDS)
  for _, to in ipairs(new) do put(event, to[1], to[2], order) end
end

-- What has ended stands on the list because somebody sent it twice.
local function has_ended(record)
  local state = record ~= '' and redis.call('HGET', record, 'state')
  return state and state ~= 'queued' and state ~= 'running' and state ~= 'delayed'
end

-- It is not at the end if somebody else was faster.
local function leave(payload, record)
  if redis.call('LINDEX', KEYS[2], -1) ~= payload then return end
  redis.call('RPOP', KEYS[2])
  redis.call('HSET', record, 'state', 'done', 'ended', NOW)
  redis.call('EXPIRE', record, ARGV[4])
end

-- What was first on the list is first for each addressee: a part of a millisecond apart, and none of them in the future.
local at, number = 5, 0
while at <= #ARGV do
  local event, payload, record, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  if not has_ended(record) then send(event, payload, NOW - 1 + number / 1000, at + 4, at + 3 + count) end
  number = number + 1
  if record ~= '' then leave(payload, record) end
  at = at + 4 + count
end
if redis.call('GET', key('intake')) == ARGV[3] then redis.call('DEL', key('intake')) end
return full
