#!/usr/bin/env bash
# Measures deliveries beside a bare loop in Rust and a worker in Node, in one run.
#
#   scripts/bench-notifier.sh [notifier] [baseline] [node]      all of them by default
#   PROFILE=dev scripts/bench-notifier.sh                       compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
[ "$(nproc)" -ge 2 ] || die "two processor cores are needed: one for what is measured, one for the rest"
scripts/setup.sh --bench
profile=${PROFILE:-release}
cargo build --quiet --locked --profile "$profile" -p notifier -p bench
ulimit -n "$(ulimit -Hn)"
exec taskset --cpu-list 1 "$(target_dir)/$([ "$profile" = dev ] && echo debug || echo "$profile")/bench-notifier" "$@"
