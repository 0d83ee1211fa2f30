#!/usr/bin/env bash
# Measures the webhook intake beside a bare one in Rust, one in Node and Debian's `webhook`, in one run.
#
#   scripts/bench-gateway.sh [gateway] [baseline] [node] [webhook]      all of them by default
#   PROFILE=dev scripts/bench-gateway.sh                                compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
[ "$(nproc)" -ge 2 ] || die "two processor cores are needed: one for what is measured, one for the load"
scripts/setup.sh --bench
profile=${PROFILE:-release}
cargo build --quiet --locked --profile "$profile" -p gateway -p bench
exec taskset --cpu-list 1 "$(target_dir)/$([ "$profile" = dev ] && echo debug || echo "$profile")/bench-gateway" "$@"
