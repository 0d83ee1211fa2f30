#!/usr/bin/env bash
# Measures deliveries beside a bare loop in Rust and a worker in Node, in one run.
#
#   scripts/bench-notifier.sh [notifier] [baseline] [node]      all of them by default
#   scripts/bench-notifier.sh many                              a million deliveries to ten thousand endpoints
#   scripts/bench-notifier.sh half-dead                         what endpoints that are dead cost the others
#   PROFILE=dev scripts/bench-notifier.sh                       compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
source scripts/lib/bench.sh
bench notifier "$@"
