#!/usr/bin/env bash
# Simulates the shop twice, in two processes, for TRACE_SEEDS seeds (default 25, from TRACE_FROM,
# default 0), and compares the hashes of their traces. With CAMPAIGN_LOG=FILE a line is appended.
set -euo pipefail
cd "$(dirname "$0")/../.."

from=${TRACE_FROM:-0}
seeds=${TRACE_SEEDS:-25}
range=$from..$((from + seeds))
hours=${TRACE_HOURS:-1}
# One program for all campaigns that need more than the default one.
cargo build --release -p commerce --features failpoints,simulate
hashes() {
  target/release/commerce simulate --seeds "$range" --hours "$hours" --hashes --json | jq -c .hashes
}
first=$(hashes)
second=$(hashes)
if [[ $first != "$second" ]]; then
  diff <(jq . <<<"$first") <(jq . <<<"$second")
  echo "the same seeds were different runs" >&2
  exit 1
fi
echo "the hashes of $seeds seeds are the same in two processes"
if [[ -n ${CAMPAIGN_LOG:-} ]]; then
  jq -nc --arg commit "$(git rev-parse --short HEAD)" --arg date "$(date -u +%F)" --arg range "$range" \
    --argjson seeds "$seeds" --argjson hours "$hours" --argjson seconds "$SECONDS" \
    '{commit: $commit, date: $date, command: "commerce simulate --seeds \($range) --hours \($hours) --hashes --json, twice",
      build: "release with feature simulate", campaign: "trace-hashes", seeds: $seeds, hours: $hours,
      seconds: $seconds, different: 0}' >>"$CAMPAIGN_LOG"
fi
