-- How attempts went: ends a delivery, or puts it aside; and what that says of its addressee. Read before courier_round.
local threshold, first, longest, patience = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- What is done once for each addressee, however many of its deliveries there are: said that it is well, and let go of what
-- is not out any more.
local is_well, out = {}, {}

local function let_go(id, to)
  local ids = out[to] or {}
  ids[#ids + 1] = id
  out[to] = ids
end

local function give_up(to, why)
  if redis.call('HEXISTS', key('to:', to), 'off') == 1 then return end -- It is told once, and why it was at first.
  turn_off(to, why)
  return 'off'
end

-- Nothing goes to it before then.
local function leave_alone(to, hash, open)
  redis.call('HSET', hash, 'open', open)
  redis.call('ZADD', key('left'), open, to)
  redis.call('ZADD', key('ready'), 'XX', open, to)
end

-- It answers. What it asked for stays: an attempt that had begun before says nothing of that.
local function is_back(to, hash)
  if tonumber(redis.call('HGET', hash, 'asked') or 0) > NOW then
    redis.call('HDEL', hash, 'failures', 'trips', 'since', 'failed')
  elseif redis.call('HDEL', hash, 'failures', 'open', 'trips', 'since', 'failed', 'asked') > 0 then
    redis.call('ZREM', key('left'), to)
  end
end

local function judge(to, health, why, asks)
  local hash = key('to:', to)
  if health == 'well' then
    if not is_well[to] then is_back(to, hash) end
    is_well[to] = true
    return
  end
  is_well[to] = nil
  if health == 'gone' then return give_up(to, why) end
  local open = tonumber(redis.call('HGET', hash, 'open') or 0)
  if asks > 0 then
    local asked = math.max(NOW + asks, open)
    redis.call('HSET', hash, 'asked', asked)
    leave_alone(to, hash, asked)
  end
  if health ~= 'ill' and health ~= 'refusing' then return end
  -- Failures that are far apart are not one long failure.
  local last = tonumber(redis.call('HGET', hash, 'failed') or 0)
  redis.call('HSET', hash, 'failed', NOW)
  if NOW - last > patience / 5 then redis.call('HSET', hash, 'since', NOW) end
  redis.call('HSETNX', hash, 'since', NOW)
  if NOW - tonumber(redis.call('HGET', hash, 'since')) > patience then
    return give_up(to, 'it has failed for too long')
  end
  if health == 'refusing' then return end
  local failures = redis.call('HINCRBY', hash, 'failures', 1)
  if failures >= threshold and open <= NOW then
    local trips = redis.call('HINCRBY', hash, 'trips', 1)
    leave_alone(to, hash, math.max(NOW + asks, NOW + math.min(longest, first * 2 ^ math.min(trips - 1, 20))))
    return 'opened'
  end
end

-- Nobody waits for it any more.
local function drop(id, event)
  redis.call('HSET', key('d:', id), 'state', 'dead', 'why', 'its endpoint was removed', 'ended', NOW)
  keep(id, DONE_SECONDS)
  close(event)
  return 'dead'
end

-- Of what was tried the newest are kept; attempts that said nothing are not counted.
local function keep_newest(record)
  local tokens = {}
  for _, field in ipairs(redis.call('HKEYS', record)) do
    local token = string.match(field, '^t(%d+)$')
    if token then tokens[#tokens + 1] = tonumber(token) end
  end
  table.sort(tokens)
  for i = 1, #tokens - MOST_TRIES do redis.call('HDEL', record, 't' .. tokens[i]) end
end

local function settle(id, token, outcome, pause, tried, health, why, asks)
  local record = key('d:', id)
  local d = redis.call('HMGET', record, 'state', 'token', 'to', 'event', 'line', 'brief')
  if d[1] ~= 'sending' or d[2] ~= token then return 'stale' end
  let_go(id, d[3])
  if health ~= 'well' and is_gone(d[3]) then return drop(id, d[4]) end
  local said, attempt = judge(d[3], health, why, tonumber(asks)), tried ~= '' and {'t' .. token, tried} or {}
  if outcome == 'done' then
    redis.call('HSET', record, 'state', 'done', 'ended', NOW_TEXT, unpack(attempt))
    if attempt[1] and tonumber(token) > MOST_TRIES then keep_newest(record) end
    keep(id, d[6] and BRIEF_DONE_SECONDS or DONE_SECONDS)
    if d[5] then step(id, d[3], d[5]) end
    close(d[4], false, d[6])
    return said or outcome
  end
  if attempt[1] then
    redis.call('HSET', record, unpack(attempt))
    if tonumber(token) > MOST_TRIES then keep_newest(record) end
  end
  if outcome == 'dead' then
    bury(id, d[4], why)
  else
    if outcome == 'again' then redis.call('HINCRBY', record, 'failures', 1) end
    redis.call('HDEL', record, 'lost')
    redis.call('HSET', record, 'why', why)
    wait(id, d[3], NOW + tonumber(pause))
  end
  return said or outcome
end

-- Settles all that is reported in ARGV from here on; a word for each.
local function settle_all(from)
  local words = {}
  for i = from, #ARGV, 8 do words[#words + 1] = settle(unpack(ARGV, i, i + 7)) end
  for to, ids in pairs(out) do
    redis.call('SREM', key('out:', to), unpack(ids))
    redis.call('ZREM', key('held'), unpack(ids))
    look_again(to)
  end
  return words
end
