#!/usr/bin/env bash
# Plays every scenario of the shop under the faults of SCENARIO_SEEDS seeds (default 8), and lets
# SCENARIO_BUYERS people (default 10,000) buy one unit. A failing run prints the command that
# repeats it.
set -euo pipefail
cd "$(dirname "$0")/../.."

export SCENARIO_SEEDS=${SCENARIO_SEEDS:-8}
export SCENARIO_BUYERS=${SCENARIO_BUYERS:-10000}
cargo test -p commerce --test scenarios
