#!/usr/bin/env bash
# Kills the optimised program while sixteen clients shop, and checks everything from outside:
# KILL_ROUNDS times (default 100) as it is, and as often with everything so small that kills meet
# recoveries, checkpoints and snapshots. KILL_SEED repeats a campaign. The last line of JSON of each
# has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo build --release -p commerce
export KILL_PROGRAM=$PWD/target/release/commerce
export KILL_ROUNDS=${KILL_ROUNDS:-100}
.ci/logged "release" cargo test -p commerce --test kill_nine -- --nocapture --test-threads 1
