#!/usr/bin/env bash
# Measures this machine: cold start, memory, rates, latencies, with baselines taken in the same run.
#
#   scripts/figures.sh [PROFILE]      default release; dev compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
scripts/setup.sh --tests
profile=${1:-release}
cargo build --quiet --locked --profile "$profile" --workspace --bins
folder=$profile; [ "$profile" != dev ] || folder=debug
"$(target_dir)/$folder/figures"
"$(target_dir)/$folder/figures-prow"
