#!/usr/bin/env bash
# Loses power POWER_CUTS times (default 100) at random moments of a recorded life of the shop, and
# checks everything from outside. POWER_SEED repeats a campaign's choices. The last line of JSON has
# the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v strace >/dev/null || { apt-get update -q && apt-get install -qy strace; }
export POWER_CUTS=${POWER_CUTS:-100}
.ci/logged "debug" cargo test -p commerce --test power_loss -- --nocapture
