-- Shared by the scripts of a courier. All keys begin with ARGV[1] and live in one Cluster slot:
--   ready      ZSET addressee -> when it may be looked at next     held   ZSET delivery -> when its lease ends
--   dead       ZSET delivery -> when it ended                      d:<id> HASH one delivery
--   due:<to>   ZSET delivery -> when it is due                     out:<to>  SET what is being delivered
--   of:<to>    ZSET delivery -> when it was sent                   to:<to>   HASH pace and health
--   book       HASH what is written of addressees               edition  STRING how often it was written in
--   tries:<id> LIST what was tried                                 event:<event> STRING what is delivered
local PREFIX = ARGV[1]
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local WAIT_SECONDS, DONE_SECONDS, DEAD_SECONDS = 8 * 86400, 86400, 7 * 86400
local MOST_DEAD, MOST_LISTED, MOST_TRIES = 10000, 1000, 20

local function key(kind, name) return PREFIX .. kind .. (name or '') end

-- An addressee is looked at no later than this; a broken circuit is left alone.
local function look(to, at)
  local health = redis.call('HMGET', key('to:', to), 'open', 'off')
  if health[2] then return end
  redis.call('ZADD', key('ready'), 'LT', math.max(at, tonumber(health[1] or 0)), to)
end

local function wait(id, to, at)
  redis.call('HSET', key('d:', id), 'state', 'waiting', 'due', at)
  redis.call('EXPIRE', key('d:', id), WAIT_SECONDS)
  redis.call('ZADD', key('due:', to), at, id)
  look(to, at)
end

local function keep(id, seconds)
  redis.call('EXPIRE', key('d:', id), seconds)
  redis.call('EXPIRE', key('tries:', id), seconds)
end

local function bury(id, why)
  redis.call('HSET', key('d:', id), 'state', 'dead', 'why', why, 'ended', NOW)
  keep(id, DEAD_SECONDS)
  redis.call('ZADD', key('dead'), NOW, id)
  redis.call('ZREMRANGEBYRANK', key('dead'), 0, -1 - MOST_DEAD)
end
