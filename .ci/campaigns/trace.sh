#!/usr/bin/env bash
# Simulates the shop twice, in two processes, for TRACE_SEEDS seeds (default 25, from TRACE_FROM,
# default 0) and TRACE_HOURS hours (default 1), and compares the hashes of their traces. The last line
# of JSON has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ ${1:-} != run ]]; then
  # One program for all campaigns that need more than the default one.
  cargo build --release -p commerce --features failpoints,simulate
  exec .ci/logged "release with features failpoints, simulate" .ci/campaigns/trace.sh run
fi

from=${TRACE_FROM:-0}
to=$((from + ${TRACE_SEEDS:-25}))
hours=${TRACE_HOURS:-1}
hashes() {
  target/release/commerce simulate --seeds "$from..$to" --hours "$hours" --hashes --json 2>/dev/null | jq .hashes
}
first=$(hashes)
second=$(hashes)
if ! diff <(echo "$first") <(echo "$second"); then
  echo "the same seeds were different runs" >&2
  exit 1
fi
jq -c --argjson from "$from" --argjson to "$to" --argjson hours "$hours" --argjson seconds "$SECONDS" \
  '{campaign: "trace-hashes", from: $from, to: $to, seeds: length, hours: $hours, seconds: $seconds, different: 0}' <<<"$first"
