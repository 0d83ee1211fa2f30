-- Events for their addressees: a delivery each, unless there was one. What waited on a list leaves it in the same step.
-- KEYS 2 the list that they waited on
-- ARGV 1 prefix 2 most that wait for one addressee 3 who looked at that list 4 s for which it is known what has left it;
-- then of each event: its id, its payload, the key of its record ('' if it waited on no list), what it is about (by that it
-- is in line, for addressees that want order), 1 if it is of use for a few minutes only or '', how many addressees, those
-- -> those whose deliveries are full
local most, full = tonumber(ARGV[2]), {}
-- So many may be in one line; of what is of use for a few minutes only, so many.
local MOST_IN_LINE, MOST_BRIEF = 1000, 30

-- What is known of an addressee, and what is new for it: read and written once, however many events there are.
local addressees = {}
local function find(to)
  local a = addressees[to]
  if a then return a end
  local health = redis.call('HMGET', key('to:', to), 'off', 'open', 'ordered')
  a = {
    off = health[1], at = math.max(NOW, tonumber(health[2] or 0)), ordered = health[3] == '1',
    waiting = redis.call('ZCARD', key('due:', to)), due = {}, of = {},
  }
  addressees[to] = a
  return a
end

local function note(id, event, to, a, order, about, brief)
  local d = key('d:', id)
  redis.call('HSET', d, 'to', to, 'event', event, 'sent', NOW_TEXT, 'failures', '0', 'token', '0', 'state',
    'waiting', 'due', NOW_TEXT)
  if a.ordered and about ~= '' then redis.call('HSET', d, 'line', about) end
  if brief then
    redis.call('HSET', d, 'brief', '1')
    redis.call('EXPIRE', d, BRIEF_SECONDS)
  else
    redis.call('EXPIRE', d, WAIT_SECONDS + DAY)
    a.of[#a.of + 1] = order
    a.of[#a.of + 1] = id
  end
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

local function is_full(to, a, about, brief)
  if a.waiting >= most then return true end
  return about and (redis.call('HLEN', key('lines:', to)) >= most
    or redis.call('LLEN', key('line:', to .. '/' .. about)) >= (brief and MOST_BRIEF or MOST_IN_LINE))
end

local function put(id, event, to, a, order, about, brief)
  about = a.ordered and about ~= '' and about
  if is_full(to, a, about, brief) then
    if not brief then full[#full + 1] = to end
    return bury(id, event, 'too many deliveries wait for this endpoint')
  end
  if about and waits_in_line(id, to, about) then return end
  a.waiting = a.waiting + 1
  a.due[#a.due + 1] = order
  a.due[#a.due + 1] = id
end

-- Counts what has not ended: an event that is not known has no deliveries; one that is and was not counted had one only.
local function count(event, is_known, n, others_ended, brief)
  local open = key('open:', event)
  if not is_known and n == 1 then return end
  if is_known and not others_ended and redis.call('EXISTS', open) == 0 then n = n + 1 end
  redis.call('HINCRBY', open, 'n', n)
  redis.call('EXPIRE', open, brief and BRIEF_SECONDS or WAIT_SECONDS + DAY)
end

local function send(event, payload, about, brief, order, first, last)
  local is_known, new, others_ended = redis.call('EXISTS', key('event:', event)) == 1, {}, nil
  for i = first, last do
    local to, a = ARGV[i], find(ARGV[i])
    local id = event .. '/' .. to
    local state = is_known and redis.call('HGET', key('d:', id), 'state')
    if state then
      others_ended = others_ended ~= false and (state == 'done' or state == 'dead')
    elseif not a.off and a.last ~= event then
      a.last = event -- It may be named twice.
      note(id, event, to, a, order, about, brief)
      new[#new + 1] = to
    end
  end
  if #new == 0 then return end
  count(event, is_known, #new, others_ended, brief)
  redis.call('SET', key('event:', event), payload, 'EX', brief and BRIEF_SECONDS or WAIT_SECONDS)
  for _, to in ipairs(new) do put(event .. '/' .. to, event, to, find(to), order, about, brief) end
end

-- What is due and what was sent is written down; of what was sent the newest are kept, and some more for a while.
local function write_down()
  local ready = {}
  for to, a in pairs(addressees) do
    if #a.of > 0 then
      redis.call('ZADD', key('of:', to), unpack(a.of))
      if #a.of > 2 or NOW % 16 == 0 then redis.call('ZREMRANGEBYRANK', key('of:', to), 0, -1 - MOST_LISTED) end
    end
    if #a.due > 0 then
      redis.call('ZADD', key('due:', to), unpack(a.due))
      ready[#ready + 1] = a.at
      ready[#ready + 1] = to
    end
  end
  if #ready > 0 then redis.call('ZADD', key('ready'), 'LT', unpack(ready)) end
end

-- What has ended stands on the list because somebody sent it twice.
local function has_ended(record)
  local state = record ~= '' and redis.call('HGET', record, 'state')
  return state and state ~= 'queued' and state ~= 'running' and state ~= 'delayed'
end

-- Takes from the list what was sent; what is not at its end was taken by somebody who was faster.
local function leave(payloads, records)
  if #payloads == 0 then return end
  local last, left = redis.call('LRANGE', KEYS[2], -#payloads, -1), 0
  for i, payload in ipairs(payloads) do
    if last[#last - left] == payload then
      left = left + 1
      redis.call('HSET', records[i], 'state', 'done', 'ended', NOW_TEXT)
      redis.call('EXPIRE', records[i], ARGV[4])
    end
  end
  if left > 0 then redis.call('LTRIM', KEYS[2], 0, -1 - left) end
end

-- What was first on the list is first for each addressee: a part of a millisecond apart, and none of them in the future.
local at, number, payloads, records = 5, 0, {}, {}
while at <= #ARGV do
  local event, payload, record, about, brief = unpack(ARGV, at, at + 4)
  local to = tonumber(ARGV[at + 5])
  if not has_ended(record) then
    send(event, payload, about, brief == '1', NOW - 1 + number / 1000, at + 6, at + 5 + to)
  end
  number = number + 1
  if record ~= '' then
    payloads[#payloads + 1] = payload
    records[#records + 1] = record
  end
  at = at + 6 + to
end
write_down()
leave(payloads, records)
if redis.call('GET', key('intake')) == ARGV[3] then redis.call('DEL', key('intake')) end
return full
