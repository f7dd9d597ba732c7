#!/usr/bin/env bash
# Messages that always panic or abort the process: dead letters after their limit, and nobody else
# pays for them.
set -euo pipefail
cd "$(dirname "$0")/../.."

# One program for all campaigns that need more than the default one.
cargo build --release -p commerce --features failpoints,simulate
export KILL_PROGRAM=$PWD/target/release/commerce
# They are ignored in a build without failpoints; here the program has them, not the test.
cargo test -p commerce --test poison -- --ignored --nocapture
