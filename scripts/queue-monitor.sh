#!/usr/bin/env bash
# A live view of every queue: waiting, age of the oldest in flight, delayed, dead.
#
#   scripts/queue-monitor.sh [REDIS_URL] [--once]      default redis://127.0.0.1:6379
set -euo pipefail
case ${1:-} in -h|--help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit;; esac
url=${1:-redis://127.0.0.1:6379}; [ "$url" != --once ] || { url=redis://127.0.0.1:6379; set -- "$url" --once; }
redis() { redis-cli -u "$url" --no-auth-warning --raw "$@"; }
[ "$(redis PING)" = PONG ] || { echo "no Redis answers at this URL" >&2; exit 1; }

# One script a queue: a consistent picture, and no command per job.
read -r -d '' LOOK <<'LUA' || true
local list, side = KEYS[1], ARGV[1]
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local waiting = redis.call('LLEN', list)
for i = 2, #KEYS do waiting = waiting + redis.call('LLEN', KEYS[i]) end
local oldest, flying = 0, 0
for _, worker in ipairs(redis.call('ZRANGE', side .. 'workers', 0, -1)) do
  for n = 0, (tonumber(string.match(worker, '%.(%d+)$')) or 1) - 1 do
    flying = flying + redis.call('LLEN', side .. 'proc:' .. worker .. ':' .. n)
  end
end
local last = redis.call('LINDEX', list, -1)
local ok, message = pcall(cjson.decode, last or '')
local id = ok and type(message) == 'table' and (message.id or message.eventId)
if id then
  local enq = redis.call('HGET', side .. 'job:' .. tostring(id), 'enq')
  if enq then oldest = math.floor((now - enq) / 1000) end
end
return {waiting, oldest, flying, redis.call('ZCARD', side .. 'delayed'), redis.call('LLEN', side .. 'dead'),
  redis.call('ZCARD', side .. 'workers'), redis.call('EXISTS', side .. 'paused')}
LUA

row() { # name list side lanes…
  local name=$1 list=$2 side=$3; shift 3
  local values; mapfile -t values < <(redis EVAL "$LOOK" $((1 + $#)) "$list" "$@" "$side")
  printf '%-22s %8s %8ss %9s %8s %6s %8s %s\n' "$name" "${values[0]}" "${values[1]}" "${values[2]}" "${values[3]}" \
    "${values[4]}" "${values[5]}" "$([ "${values[6]}" = 0 ] || echo paused)"
}

show() {
  printf '%-22s %8s %9s %9s %8s %6s %8s\n' QUEUE WAITING OLDEST "IN FLIGHT" DELAYED DEAD WORKERS
  row webhooks forge:webhooks '{forge:webhooks}:'
  row builds forge:builds '{forge:builds}:' '{forge:builds}:high' '{forge:builds}:low'
  row "build events" '{forge:builds}:events' '{forge:builds}:events:'
  row notifications forge:notifications '{forge:notifications}:'
}

if [ "${2:-}" = --once ]; then show; exit; fi
while :; do picture=$(show); clear; echo "$picture"; sleep 1; done
