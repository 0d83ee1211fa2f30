#!/usr/bin/env bash
# The contract as programs in another language see it: by contracts/ alone, over a real Redis.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
consumer=(python3 contracts/examples/consumer.py)

for file in contracts/examples/build-queue-message/*.json; do "${consumer[@]}" "$file" >/dev/null || die "$file was refused"; done
for file in contracts/examples/build-queue-message/invalid/*; do
  if "${consumer[@]}" "$file" >/dev/null 2>"$STATE/refusal"; then die "$file was accepted"; fi
  [ -s "$STATE/refusal" ] || die "$file was refused without a reason"
done
say "a Python consumer accepts every example and refuses every invalid one"

port=$(free_port); folder=$(mktemp -d)
trap 'stop contract-redis; rm -rf "$folder"' EXIT
start contract-redis redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$folder"
until_true "redis answers" 10 redis-cli -p "$port" ping
python3 contracts/examples/producer.py "$port" from-python https://example.org/o/r.git abc123def456
taken=$("${consumer[@]}" --redis "$port")
[[ $taken == "from-python: build https://example.org/o/r.git"* ]] || die "the message did not arrive: $taken"
say "a Python producer and a Python consumer agree"
scripts/redis-communication.sh "redis://127.0.0.1:$port" >/dev/null
say "scripts/redis-communication.sh agrees"
redis-cli -p "$port" LPUSH forge:builds '{"id":"waits"}' >/dev/null
shown=$(scripts/queue-monitor.sh "redis://127.0.0.1:$port" --once)
grep -Eq '^builds +1 ' <<< "$shown" || die "the monitor does not show what waits: $shown"
say "scripts/queue-monitor.sh shows what waits"
