#!/usr/bin/env bash
# Writes contracts/schemas from the types.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked -p contract --features schema --bin contract-schemas -- contracts/schemas
