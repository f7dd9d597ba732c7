#!/usr/bin/env bash
# Simulates the shop for one virtual hour under the faults of SIM_SEEDS seeds (default 500, from
# SIM_FROM, default 0), and checks everything. A violation names its seed; `--replay SEED` shows it.
# The last line of JSON has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ ${1:-} != run ]]; then
  # One program for all campaigns that need more than the default one.
  cargo build --release -p commerce --features failpoints,simulate
  exec .ci/logged "release with features failpoints, simulate" .ci/campaigns/simulate.sh run
fi

from=${SIM_FROM:-0}
to=$((from + ${SIM_SEEDS:-500}))
status=0
figures=$(target/release/commerce simulate --seeds "$from..$to" --hours 1 --json) || status=$?
jq '{by_kind, violations}' <<<"$figures"
jq -c --argjson from "$from" --argjson to "$to" \
  '{campaign: "simulate", from: $from, to: $to} + del(.by_kind) + {violations: (.violations | length)}' <<<"$figures"
exit "$status"
