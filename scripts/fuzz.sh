#!/usr/bin/env bash
# Looks for bytes that break what reads them: each target for a while, from its small corpus on.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]     60 s each by default; targets: body head message request secrets
#                                     (gateway), redact pipeline compose (forgery)
#
# What breaks it is kept in crates/<crate>/fuzz/artifacts. What was learnt on the way goes to .forge/fuzz, not
# into the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
scripts/setup.sh --tests
cargo fuzz --version >/dev/null 2>&1 || { say "installing cargo-fuzz (once)"; cargo install --quiet --locked cargo-fuzz; }
seconds=${1:-60}; shift || true
[ $# -gt 0 ] || set -- body head message request secrets redact pipeline compose
export RUSTC_BOOTSTRAP=1 # Coverage of a stable compiler is behind this.
for target in "$@"; do
  case $target in
    redact | pipeline | compose) fuzz=crates/forgery/fuzz ;;
    *) fuzz=crates/gateway/fuzz ;;
  esac
  cp Cargo.lock $fuzz # The versions that are shipped; cargo adds what only the fuzzer needs.
  say "$target for $seconds s"
  mkdir -p "$STATE/fuzz/$target" "$fuzz/corpus/$target"
  # Our code has no `unsafe`: panics, hangs and memory are what is looked for, not addresses.
  cargo fuzz run --fuzz-dir $fuzz --sanitizer none --target-dir "$(target_dir)/fuzz" "$target" \
    "$STATE/fuzz/$target" "$fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=10 -max_len=16384 -print_final_stats=1 \
    2>"$STATE/fuzz/$target.log" || { tail -40 "$STATE/fuzz/$target.log" >&2; die "$target broke; see $fuzz/artifacts/$target"; }
  grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb)' "$STATE/fuzz/$target.log"
done
