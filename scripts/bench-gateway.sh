#!/usr/bin/env bash
# Measures the webhook intake beside a bare one in Rust, one in Node and Debian's `webhook`, in one run.
#
#   scripts/bench-gateway.sh [gateway] [baseline] [node] [webhook]      all of them by default
#   PROFILE=dev scripts/bench-gateway.sh                                compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
source scripts/lib/bench.sh
bench gateway "$@"
