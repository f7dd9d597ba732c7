#!/usr/bin/env bash
# Kills the optimised program KILL_ROUNDS times (default 25) while sixteen clients shop, and checks
# everything from outside. KILL_SEED repeats a campaign. The last line of JSON has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release -p commerce
export KILL_PROGRAM=$PWD/target/release/commerce
export KILL_ROUNDS=${KILL_ROUNDS:-25}
cargo test -p commerce --test kill_nine -- --nocapture
