#!/usr/bin/env bash
# Everything that CI checks, in the order in which it fails fastest.
#
#   scripts/test.sh                all of it
#   scripts/test.sh --quick        without chaos, docker compose and the demo
#   scripts/test.sh --topologies   only the core of the system tests, on every kind of Redis in turn
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
ulimit -n "$(ulimit -Hn)" # Some tests hold ten thousand connections.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

scripts/setup.sh --tests
if [ "${1:-}" = --topologies ]; then
  cargo build --quiet --locked --workspace --bins
  for topology in standalone tls user socket sentinel cluster; do
    say "the core on a Redis of the kind: $topology"
    FORGE_TOPOLOGY=$topology cargo nextest run --locked -p e2e -E 'test(/^(builds|cancelling|crashes|intake|deaths)::/)'
  done
  exit
fi
say "formatting";            cargo fmt --all --check
say "lints";                 cargo clippy --quiet --locked --workspace --all-targets --all-features -- -D warnings
say "documentation";         RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps
say "contract drift"
rm -rf "$STATE/schemas"
cargo run --quiet --locked -p contract --features schema --bin contract-schemas -- "$STATE/schemas"
diff -r "$STATE/schemas" contracts/schemas || die "contracts/schemas is not what the types say; run scripts/schemas.sh"
say "programs";              cargo build --quiet --locked --workspace --bins
say "tests";                 cargo nextest run --locked --workspace
say "examples in the docs";  cargo test --quiet --locked --workspace --doc
say "the contract without Rust"
scripts/test-contract.sh
say "the API without Rust";   scripts/test-api.sh
if [ "${1:-}" != --quick ]; then
  say "chaos";                scripts/chaos.sh
  say "chaos with sentinels"; scripts/chaos.sh --redis sentinel --n 400 --faults 8
  say "chaos with two prows"; scripts/chaos.sh --database postgres --n 400 --faults 10
  say "can chaos fail?";      scripts/chaos.sh --can-it-fail
  say "the demo, twice";     scripts/demo.sh --once; scripts/demo.sh --once
  say "docker compose";      scripts/test-compose.sh
fi
say "all is well"
