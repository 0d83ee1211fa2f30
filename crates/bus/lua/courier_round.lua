-- Settles what was tried, then takes what is due, a few of each addressee's, and holds it.
-- ARGV 1 prefix 2 failures that break a circuit 3 ms it stays broken at first 4 at most 5 ms of failures after which an
-- addressee is given up 6 most that is taken 7 lease in ms 8 most of one addressee at a time 9 most that may be out to one
-- addressee, whatever its pace; then of each attempt: id, token, done|dead|again|later, ms until again, what was tried,
-- well|ill|unknown|refusing|gone, why, ms for which its addressee is to be left alone
-- -> a word for each attempt (done, dead, again, later, stale, opened, off), ms until there may be more, how many are
-- taken, (id, 'token failures sent') each, then (event, payload) each
local words = settle_all(10)
local most, lease, share, most_out = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local taken, count, held, payloads, events = {}, 0, {}, {}, {}

-- How many may go out to an addressee now; or nothing, and when to look again (never: until one comes back); and whether
-- that is counted.
local function room(to)
  local h = redis.call('HMGET', key('to:', to), 'off', 'open', 'failures', 'cap', 'rate', 'tokens', 'filled')
  if h[1] then return 0 end
  if tonumber(h[2] or 0) > NOW then return 0, tonumber(h[2]) end
  local out, cap = redis.call('SCARD', key('out:', to)), tonumber(h[4] or share)
  cap = math.min(cap, most_out)
  if tonumber(h[3] or 0) >= threshold then cap = math.min(cap, 1) end -- One that was given up shows with one whether it is back.
  local free, rate = math.min(cap - out, share), tonumber(h[5] or 0)
  if rate <= 0 or free <= 0 then return free, nil, false end
  -- A second's worth may come at once.
  local tokens = math.min(rate, tonumber(h[6] or rate) + math.max(0, NOW - tonumber(h[7] or NOW)) * rate / 1000)
  redis.call('HSET', key('to:', to), 'tokens', tostring(tokens), 'filled', NOW)
  if tokens < 1 then return 0, NOW + math.ceil((1 - tokens) * 1000 / rate) end
  return math.min(free, math.floor(tokens)), nil, true
end

-- Whether there is something to deliver still.
local function take(to, id)
  local d = redis.call('HMGET', key('d:', id), 'failures', 'sent', 'event', 'token')
  local payload = d[3] and (events[d[3]] or redis.call('GET', key('event:', d[3])))
  if not payload then
    if d[3] then
      bury(id, d[3], 'what was to be delivered is not kept any more: it has waited for too long')
    else
      forget(id, to)
    end
    return false
  end
  if not events[d[3]] then
    events[d[3]] = payload
    payloads[#payloads + 1] = d[3]
    payloads[#payloads + 1] = payload
  end
  local token = (d[4] or 0) + 1
  redis.call('HSET', key('d:', id), 'state', 'sending', 'token', token)
  held[#held + 1] = NOW + lease
  held[#held + 1] = id
  taken[#taken + 1] = id
  taken[#taken + 1] = token .. ' ' .. d[1] .. ' ' .. d[2]
  count = count + 1
  return true
end

-- Takes of an addressee what is due, at most so many; how many there were, and when the next is due, if there is one.
local function take_some(to, want)
  local first = redis.call('ZRANGE', key('due:', to), 0, want, 'WITHSCORES')
  local due, next = {}, nil
  for i = 1, #first, 2 do
    local at = tonumber(first[i + 1])
    if at > NOW or #due == want then
      next = at
      break
    end
    due[#due + 1] = first[i]
  end
  if #due == 0 then return 0, next end
  redis.call('ZREM', key('due:', to), unpack(due))
  local out = {}
  for _, id in ipairs(due) do
    if take(to, id) then
      out[#out + 1] = id
    else
      next = NOW -- There may be another in its place.
    end
  end
  if #out > 0 then redis.call('SADD', key('out:', to), unpack(out)) end
  return #out, next
end

local later, none = {}, {}
for _, to in ipairs(redis.call('ZRANGEBYSCORE', key('ready'), '-inf', NOW, 'LIMIT', 0, most)) do
  if count >= most then break end
  local free, again, counted = room(to)
  local sent = 0
  if free > 0 then
    sent, again = take_some(to, math.min(free, most - count))
    if counted and sent > 0 then redis.call('HINCRBYFLOAT', key('to:', to), 'tokens', -sent) end
  end
  -- Behind all others that are ready; whoever has no room is looked at when one of its comes back.
  if again then
    later[#later + 1] = math.max(NOW, again)
    later[#later + 1] = to
  else
    none[#none + 1] = to
  end
end
if #later > 0 then redis.call('ZADD', key('ready'), unpack(later)) end
if #none > 0 then redis.call('ZREM', key('ready'), unpack(none)) end
if #held > 0 then redis.call('ZADD', key('held'), unpack(held)) end
local next = redis.call('ZRANGE', key('ready'), 0, 0, 'WITHSCORES')
local pause = next[2] and math.max(0, tonumber(next[2]) - NOW) or -1
local answer = {words, pause, count}
for _, field in ipairs(taken) do answer[#answer + 1] = field end
for _, field in ipairs(payloads) do answer[#answer + 1] = field end
return answer
