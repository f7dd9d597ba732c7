#!/usr/bin/env bash
# As kill9.sh, with one handler in fifty panicking, and again with one in a thousand aborting the
# process: nothing may end as a dead letter.
set -euo pipefail
cd "$(dirname "$0")/../.."

# One program for all campaigns that need more than the default one.
cargo build --release -p commerce --features failpoints,simulate
export KILL_PROGRAM=$PWD/target/release/commerce
export KILL_ROUNDS=${KILL_ROUNDS:-25}
# They are ignored in a build without failpoints; here the program has them, not the test.
.ci/logged "release with features failpoints and simulate" cargo test -p commerce --test kill_nine -- --ignored --nocapture --test-threads 1
