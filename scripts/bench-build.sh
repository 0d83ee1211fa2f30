#!/usr/bin/env bash
# Measures a build beside the script that people write in its place, in one run: cold, warm, after a new commit; from
# git push to the manifest; four at once; and a step that prints a million lines.
#
#   scripts/bench-build.sh                  all of it
#   scripts/bench-build.sh stages push      what is named: stages push many lines
#   PROFILE=dev scripts/bench-build.sh      compiles sooner and measures less
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
scripts/setup.sh --tests
profile=${PROFILE:-release}
cargo build --quiet --locked --profile "$profile" --workspace --bins
ulimit -n "$(ulimit -Hn)"
exec "$(target_dir)/$([ "$profile" = dev ] && echo debug || echo "$profile")/bench-build" "$@"
