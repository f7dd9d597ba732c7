#!/usr/bin/env bash
# Simulates the shop for one virtual hour under the faults of SIM_SEEDS seeds (default 500, from
# SIM_FROM, default 0), and checks everything. A violation names its seed; `--replay SEED` shows it.
# With CAMPAIGN_LOG=FILE a line with the figures is appended there.
set -euo pipefail
cd "$(dirname "$0")/../.."

from=${SIM_FROM:-0}
seeds=${SIM_SEEDS:-500}
range=$from..$((from + seeds))
# One program for all campaigns that need more than the default one.
cargo build --release -p commerce --features failpoints,simulate
figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
status=0
target/release/commerce simulate --seeds "$range" --hours 1 --json >"$figures" || status=$?
cat "$figures"
if [[ -n ${CAMPAIGN_LOG:-} ]]; then
  jq -c --arg commit "$(git rev-parse --short HEAD)" --arg date "$(date -u +%F)" --arg range "$range" \
    '{commit: $commit, date: $date, command: "commerce simulate --seeds \($range) --hours 1 --json",
      build: "release with feature simulate", campaign: "simulate", from: ($range | split("..")[0] | tonumber),
      to: ($range | split("..")[1] | tonumber)} + del(.by_kind) + {violations: (.violations | length)}' \
    "$figures" >>"$CAMPAIGN_LOG"
fi
exit "$status"
