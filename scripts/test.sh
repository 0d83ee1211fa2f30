#!/usr/bin/env bash
# Everything that CI checks, in the order in which it fails fastest.
#
#   scripts/test.sh            all of it
#   scripts/test.sh --quick    without docker compose and the demo
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/common.sh
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

scripts/setup.sh --tests
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
if [ "${1:-}" != --quick ]; then
  say "the demo, twice";     scripts/demo.sh --once; scripts/demo.sh --once
  say "docker compose";      scripts/test-compose.sh
fi
say "all is well"
