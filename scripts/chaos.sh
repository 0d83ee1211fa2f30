#!/usr/bin/env bash
# Proof under fire: real services, Redis, engine, git, registry; thousands of deliveries while everything that
# can fail does; then a ledger of its own says what was lost, doubled or stuck. Ends with 1 if anything was.
#
#   scripts/chaos.sh                      2,000 deliveries, 24 faults, a seed drawn by lot (it is printed)
#   scripts/chaos.sh --n 100000 --faults 200 --seed 100
#   scripts/chaos.sh --redis sentinel     or always, everysec (the default)
#   scripts/chaos.sh --database postgres  two prows on one PostgreSQL, which is killed, too
#   scripts/chaos.sh --can-it-fail        nobody takes over from dead workers: it must find what is stuck
#   PROFILE=release scripts/chaos.sh …    what is shipped, without link-time optimisation
#
# Needs root: it starts a Docker Engine of its own, mounts small disks, and kills only what it started.
# CHAOS_KEEP=1 keeps every log and the database.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
[ "$(id -u)" = 0 ] || die "the chaos harness needs root: it starts a Docker Engine of its own and mounts small disks"
scripts/setup.sh --tests # A mail server, and perhaps a database.
profile=${PROFILE:-dev}
[ "$profile" = dev ] || export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo build --quiet --locked --workspace --bins --profile "$profile"
bin=$(target_dir)/$([ "$profile" = dev ] && echo debug || echo "$profile")
if [ "${1:-}" = --can-it-fail ]; then
  code=0; "$bin/chaos" --n 200 --faults 5 --switch-off bus.reap >"$STATE/chaos-broken.log" 2>&1 || code=$?
  [ "$code" = 1 ] && grep -q '^VIOLATED' "$STATE/chaos-broken.log" ||
    { tail -40 "$STATE/chaos-broken.log"; die "the harness did not find what is stuck when nobody takes over from dead workers"; }
  say "the harness can fail: $(grep -c 'is building' "$STATE/chaos-broken.log") lines of its verdict name builds that are stuck"
else
  exec "$bin/chaos" "$@"
fi
