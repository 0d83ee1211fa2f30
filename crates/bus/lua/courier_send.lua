-- Events for their addressees: a delivery each, unless there was one. What waited on a list leaves it in the same step.
-- KEYS 2 the list that they waited on
-- ARGV 1 prefix 2 most that wait for one addressee 3 who looked at that list 4 s for which it is known what has left it;
-- then of each event: its id, its payload, the key of its record ('' if it waited on no list), what it is about (by that it
-- is in line, for addressees that want order), 1 if it is of use for a few minutes only or '', how many addressees, those
-- -> those whose deliveries are full
local most, full = tonumber(ARGV[2]), {}
-- So many may be in one line; of what is of use for a few minutes only, so many.
local MOST_IN_LINE, MOST_BRIEF = 1000, 30

-- Whether it is for this addressee and was not before: when that one may be looked at, and the line that it is in.
local function note(event, to, order, about, brief)
  local health = redis.call('HMGET', key('to:', to), 'off', 'open', 'ordered')
  local d = key('d:', event .. '/' .. to)
  if health[1] or redis.call('HSETNX', d, 'to', to) == 0 then return end
  redis.call('HSET', d, 'event', event, 'sent', NOW, 'failures', 0, 'token', 0, 'lost', 0, 'state', 'waiting', 'due', NOW)
  if brief then
    redis.call('HSET', d, 'brief', 1)
    redis.call('EXPIRE', d, BRIEF_SECONDS)
  else
    redis.call('EXPIRE', d, WAIT_SECONDS + DAY)
    redis.call('ZADD', key('of:', to), order, event .. '/' .. to)
    redis.call('ZREMRANGEBYRANK', key('of:', to), 0, -1 - MOST_LISTED)
  end
  if health[3] == '1' and about ~= '' then redis.call('HSET', d, 'line', about) else about = nil end
  return math.max(NOW, tonumber(health[2] or 0)), about
end

-- Whether others are before it in its line.
local function waits_in_line(id, to, about)
  local line = key('line:', to .. '/' .. about)
  local length = redis.call('RPUSH', line, id)
  redis.call('HSET', key('lines:', to), id, about)
  redis.call('EXPIRE', line, WAIT_SECONDS + DAY)
  redis.call('EXPIRE', key('lines:', to), WAIT_SECONDS + DAY)
  return length > 1
end

local function is_full(to, about, brief)
  if redis.call('ZCARD', key('due:', to)) >= most then return true end
  return about and (redis.call('HLEN', key('lines:', to)) >= most
    or redis.call('LLEN', key('line:', to .. '/' .. about)) >= (brief and MOST_BRIEF or MOST_IN_LINE))
end

local function put(event, to, at, order, about, brief)
  local id = event .. '/' .. to
  if is_full(to, about, brief) then
    if not brief then full[#full + 1] = to end
    return bury(id, event, 'too many deliveries wait for this endpoint')
  end
  if about and waits_in_line(id, to, about) then return end
  redis.call('ZADD', key('due:', to), order, id)
  redis.call('ZADD', key('ready'), 'LT', at, to)
end

local function send(event, payload, about, brief, order, first, last)
  local new = {}
  for i = first, last do
    local at, line = note(event, ARGV[i], order, about, brief)
    if at then new[#new + 1] = {ARGV[i], at, line} end
  end
  if #new == 0 then return end
  redis.call('HINCRBY', key('open:', event), 'n', #new)
  redis.call('EXPIRE', key('open:', event), brief and BRIEF_SECONDS or WAIT_SECONDS + DAY)
  redis.call('SET', key('event:', event), payload, 'EX', brief and BRIEF_SECONDS or WAIT_SECONDS)
  for _, to in ipairs(new) do put(event, to[1], to[2], order, to[3], brief) end
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
  local event, payload, record, about, brief = unpack(ARGV, at, at + 4)
  local count = tonumber(ARGV[at + 5])
  if not has_ended(record) then
    send(event, payload, about, brief == '1', NOW - 1 + number / 1000, at + 6, at + 5 + count)
  end
  number = number + 1
  if record ~= '' then leave(payload, record) end
  at = at + 6 + count
end
if redis.call('GET', key('intake')) == ARGV[3] then redis.call('DEL', key('intake')) end
return full
