#!/usr/bin/env bash
# Checks that a Redis carries Forge's contract: serialisation, queue operations, compatibility.
#
#   scripts/redis-communication.sh [REDIS_URL]     default redis://127.0.0.1:6379
#
# Works on a list of its own, which it removes; it touches nothing else.
set -euo pipefail
case ${1:-} in -h|--help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit;; esac
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
command -v redis-cli >/dev/null || die "redis-cli is missing; run scripts/setup.sh first"
url=${1:-redis://127.0.0.1:6379}
redis() { redis-cli -u "$url" --no-auth-warning --raw "$@"; }
list=forge:communication-test:$$
trap 'redis DEL "$list" "$list:slot" >/dev/null' EXIT
[ "$(redis PING)" = PONG ] || die "no Redis answers at this URL"
ok() { printf '  ok  %s\n' "$*"; }

version=$(redis INFO server | tr -d '\r' | sed -n 's/^redis_version://p')
[ "${version%%.*}" -ge 7 ] || die "Redis $version is too old, 7.0 or newer is needed"
policy=$(redis INFO memory | tr -d '\r' | sed -n 's/^maxmemory_policy://p')
limit=$(redis INFO memory | tr -d '\r' | sed -n 's/^maxmemory://p')
[ "$policy" = noeviction ] || [ "$limit" = 0 ] || die "Redis evicts keys (maxmemory-policy $policy), which loses builds"
ok "Redis $version, maxmemory-policy $policy"

for file in contracts/examples/build-queue-message/*.json; do
  # Byte for byte: what a consumer takes is what a producer pushed.
  redis -x LPUSH "$list" < "$file" >/dev/null
  taken=$(redis LMOVE "$list" "$list:slot" RIGHT LEFT; echo .); taken=${taken%.}
  cmp -s <(printf '%s' "$taken") <(cat "$file"; echo) || die "$file came back changed"
  jq -e '.id and .project_name and .type and .source and .commit_hash and .strategy' "$file" >/dev/null ||
    die "$file lacks a required field"
  redis LPOP "$list:slot" >/dev/null
  ok "round trip of $(basename "$file")"
done

for id in first second third; do redis LPUSH "$list" "$id" >/dev/null; done
order=$(for n in 1 2 3; do redis LMOVE "$list" "$list:slot" RIGHT LEFT; done | paste -sd' ')
[ "$order" = "first second third" ] || die "LPUSH and taking from the right gave: $order"
ok "LPUSH and taking from the right is first in, first out"
[ "$(redis EVAL $'#!lua flags=allow-oom\nreturn redis.call(\'LLEN\', KEYS[1])' 1 "$list:slot")" = 3 ] || die "scripts with flags do not run"
ok "scripts with flags run"

python3 contracts/examples/consumer.py contracts/examples/build-queue-message/push.json >/dev/null
ok "a consumer that knows contracts/ alone reads the message"
say "this Redis carries the contract"
