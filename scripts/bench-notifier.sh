#!/usr/bin/env bash
# Measures deliveries beside a bare loop in Rust and a worker in Node, in one run.
#
#   scripts/bench-notifier.sh [notifier] [baseline] [node]      all of them by default
#   PROFILE=dev scripts/bench-notifier.sh                       compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
source scripts/lib/bench.sh
bench notifier "$@"
