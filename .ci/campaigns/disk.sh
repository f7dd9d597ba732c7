#!/usr/bin/env bash
# Fills the shop's disk DISK_ROUNDS times (default 5) while clients shop, and stops the process
# STOP_ROUNDS times (default 4) for up to STOP_S seconds (default 5). DISK_SEED and STOP_SEED repeat a
# campaign's choices. The last line of JSON of each has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DISK_ROUNDS=${DISK_ROUNDS:-5} STOP_ROUNDS=${STOP_ROUNDS:-4} STOP_S=${STOP_S:-5}
.ci/logged "debug" cargo test -p commerce --test full_disk --test stopped -- --nocapture --test-threads 1
