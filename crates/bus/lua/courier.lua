-- Shared by the scripts of a courier. All keys begin with ARGV[1] and live in one Cluster slot:
--   ready      ZSET addressee -> when it may be looked at next     held   ZSET delivery -> when its lease ends
--   dead       ZSET delivery -> when it ended                      d:<id> HASH one delivery
--   d:<id>     also t<token>: what came of the attempt with that token
--   due:<to>   ZSET delivery -> when it is due                     out:<to>  SET what is being delivered
--   of:<to>    ZSET delivery -> when it was sent                   to:<to>   HASH pace and health
--   book       HASH what is written of addressees               edition  STRING how often that was, or a pace
--   event:<event> STRING what is delivered                         open:<event> HASH how many of its deliveries have not
--              ended (n), and how many are dead; absent if there was one only
--   left       ZSET addressee -> until when it is left alone
--   line:<to>/<line> LIST deliveries that go one after another, the first of them being the one that is due
--   lines:<to> HASH delivery -> the line that it is in             gone:<to> STRING it was struck from the book
--   announce   LIST what has become of addressees, until others are told (JSON)
--   want:<what> STRING somebody wants more than the usual
--   intake     STRING who looks at the events that wait             note:<to>/<thing> STRING what was noted of it
local PREFIX = ARGV[1]
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local NOW_TEXT = string.format('%.0f', NOW) -- Redis takes longer over numbers.
local DAY = 86400
local WAIT_SECONDS, DONE_SECONDS, DEAD_SECONDS = 8 * DAY, DAY / 4, 7 * DAY
-- What is of no use after a few minutes is kept for no longer.
local BRIEF_SECONDS, BRIEF_DONE_SECONDS = 600, 60
local MOST_DEAD, MOST_LISTED, MOST_TRIES, MOST_ANNOUNCED = 10000, 1000, 20, 1000

local function key(kind, name) return PREFIX .. kind .. (name or '') end

-- An addressee is looked at no later than this, and never before others that are ready already; a broken circuit is left
-- alone.
local function look(to, at)
  local health = redis.call('HMGET', key('to:', to), 'open', 'off')
  if health[2] then return end
  redis.call('ZADD', key('ready'), 'LT', math.max(at, NOW, tonumber(health[1] or 0)), to)
end

-- An addressee is looked at when its next delivery is due, if it has one.
local function look_again(to)
  local next = redis.call('ZRANGE', key('due:', to), 0, 0, 'WITHSCORES')
  if next[2] then look(to, tonumber(next[2])) end
end

-- How an addressee takes deliveries; what waits may go out by now.
local function pace(to, at_once, per_second, ordered)
  redis.call('HSET', key('to:', to), 'cap', at_once, 'rate', per_second, 'ordered', ordered)
  look_again(to)
end

-- Others are to know what has become of an addressee.
local function announce(to, what, why, label)
  redis.call('RPUSH', key('announce'), cjson.encode({to = to, what = what, why = why, label = label, at = NOW}))
  redis.call('LTRIM', key('announce'), -MOST_ANNOUNCED, -1)
end

local function turn_off(to, why)
  if redis.call('HEXISTS', key('to:', to), 'off') == 0 then announce(to, 'disabled', why) end
  redis.call('HSET', key('to:', to), 'off', why, 'off_at', NOW)
  redis.call('ZREM', key('ready'), to)
  redis.call('ZREM', key('left'), to)
end

-- Whether it was struck from the book a moment ago.
local function is_gone(to) return redis.call('EXISTS', key('gone:', to)) == 1 end

local function keep(id, seconds) redis.call('EXPIRE', key('d:', id), seconds) end

-- However often it is put off, it is kept for no longer than since it was sent.
local function wait(id, to, at)
  redis.call('HSET', key('d:', id), 'state', 'waiting', 'due', at)
  redis.call('ZADD', key('due:', to), at, id)
  look(to, at)
end

local bury

-- Behind a delivery that has ended, or that nobody knows any more, the next of its line is due.
local function step(id, to, line)
  local list = key('line:', to .. '/' .. line)
  local was_first = redis.call('LINDEX', list, 0) == id
  redis.call('HDEL', key('lines:', to), id)
  redis.call('LREM', list, 1, id)
  local next = was_first and redis.call('LINDEX', list, 0)
  if not next then return end
  local state = redis.call('HGET', key('d:', next), 'state')
  if state == 'waiting' then
    redis.call('HSET', key('d:', next), 'due', NOW)
    redis.call('ZADD', key('due:', to), NOW, next)
    look(to, NOW)
  elseif state then
    step(next, to, line) -- It has ended otherwise.
  else
    local event = string.match(next, '^(.-)/')
    redis.call('HSET', key('d:', next), 'to', to, 'event', event, 'line', line)
    bury(next, event, 'it has waited in line for too long, and is not kept any more')
  end
end

-- Nobody knows a delivery any more: it is in no one's way.
local function forget(id, to)
  local line = redis.call('HGET', key('lines:', to), id)
  if line then step(id, to, line) end
end

-- One delivery less to wait for; after the last one, what was delivered is kept as long as it may be asked for again.
local function close(event, dead, brief)
  local open = key('open:', event)
  if redis.call('EXISTS', open) == 1 then
    if dead then redis.call('HINCRBY', open, 'dead', 1) end
    if redis.call('HINCRBY', open, 'n', -1) > 0 then return end
    dead = redis.call('HGET', open, 'dead')
    redis.call('DEL', open)
  end
  redis.call('EXPIRE', key('event:', event), brief and BRIEF_DONE_SECONDS or dead and DEAD_SECONDS or DONE_SECONDS)
end

bury = function(id, event, why)
  local d = redis.call('HMGET', key('d:', id), 'to', 'line', 'brief')
  if d[3] then
    redis.call('DEL', key('d:', id)) -- It is of no use to anybody by now.
  else
    redis.call('HSET', key('d:', id), 'state', 'dead', 'why', why, 'ended', NOW)
    keep(id, DEAD_SECONDS)
    redis.call('ZADD', key('dead'), NOW, id)
    redis.call('ZREMRANGEBYRANK', key('dead'), 0, -1 - MOST_DEAD)
    redis.call('ZREMRANGEBYSCORE', key('dead'), '-inf', NOW - DEAD_SECONDS * 1000)
  end
  if d[2] then step(id, d[1], d[2]) end
  close(event, true, d[3])
end
