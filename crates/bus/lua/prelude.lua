-- Shared by the scripts of a list. All keys live in one Cluster slot; lanes follow from KEYS[9], up to the last
-- key unless a script says otherwise.
local LIST, DELAYED, DEAD, EVENTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local WORKERS, PAUSED, SLOT, JOB = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local FIRST_LANE, LAST_LANE = 9, #KEYS
local DEAD_LETTERS, DEAD_BYTES = 10000, 64 * 1024 * 1024
local ADOPTIONS = 10

-- How many messages wait, those put aside included.
local function waiting()
  local n = redis.call('LLEN', LIST) + redis.call('ZCARD', DELAYED)
  for i = FIRST_LANE, LAST_LANE do
    n = n + redis.call('LLEN', KEYS[i])
  end
  return n
end

local function ended(state)
  return state and state ~= 'queued' and state ~= 'running' and state ~= 'delayed'
end

-- Nobody blocks on a lane, so a lane feeds the list as soon as that is empty.
local function refill()
  if LAST_LANE < FIRST_LANE or redis.call('LLEN', LIST) > 0 then return end
  for i = FIRST_LANE, LAST_LANE do
    if redis.call('LMOVE', KEYS[i], LIST, 'RIGHT', 'LEFT') then return end
  end
end

local function tell(event)
  if event and event ~= '' then redis.call('LPUSH', EVENTS, event) end
end

-- A dead letter is one line that says why, then the message, byte for byte.
local function bury(why, payload)
  if why == '' then return end
  redis.call('LPUSH', DEAD, why .. '\n' .. payload)
  redis.call('LTRIM', DEAD, 0, DEAD_LETTERS - 1)
  while redis.call('LLEN', DEAD) > 1 and redis.call('MEMORY', 'USAGE', DEAD) > DEAD_BYTES do
    redis.call('RPOP', DEAD)
  end
end

-- The one place where a message ends: state, event and time to live in one step.
local function conclude(state, event, ttl)
  redis.call('HSET', JOB, 'state', state, 'ended', now())
  redis.call('HDEL', JOB, 'payload', 'slot', 'worker')
  redis.call('EXPIRE', JOB, ttl)
  tell(event)
end

-- What a message becomes whose workers died or broke too often: lost, where somebody is told; else a dead
-- letter like any other, which may be sent again.
local function given_up(event)
  return event == '' and 'dead' or 'lost'
end

-- Ends a cancelled message with the event that the canceller left in the record.
local function conclude_cancelled(ttl)
  local outcome = redis.call('HGET', JOB, 'cancel')
  if not outcome then return nil end
  conclude(outcome, redis.call('HGET', JOB, 'cancel_event'), ttl)
  return outcome
end

-- True while this slot runs this attempt. Otherwise nothing is touched: whatever is in the slot then is for
-- the next claim to decide about, it may have come back for another attempt.
local function holds(attempt)
  local h = redis.call('HMGET', JOB, 'state', 'attempt', 'slot')
  return h[1] == 'running' and h[2] == attempt and h[3] == SLOT, h[1] or ''
end
