#!/usr/bin/env bash
# Plants each bug of `commerce simulate --plant list` (or only those of PLANTS) into the simulated
# shop, and fails if one is not noticed within PLANT_SEEDS seeds (default 200). The last line of JSON
# has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$PWD/target/release/commerce
if [[ ${1:-} != run ]]; then
  # One program for all campaigns that need more than the default one.
  cargo build --release -p commerce --features failpoints,simulate
  exec .ci/logged "release with features failpoints, simulate" .ci/campaigns/plants.sh run
fi

seeds=${PLANT_SEEDS:-200}
step=10
caught=0
most=0
missed=()
for plant in ${PLANTS:-$("$program" simulate --plant list)}; do
  for ((from = 0; from < seeds; from += step)); do
    status=0
    said=$("$program" simulate --plant "$plant" --seeds "$from..$((from + step))" --hours 1 --json 2>/dev/null) || status=$?
    ((status == 0)) || break
  done
  case $status in
    0)
      missed+=("$plant")
      echo "$plant: not noticed in $seeds seeds" >&2
      ;;
    1)
      caught=$((caught + 1))
      ((from + step <= most)) || most=$((from + step))
      jq -r --arg plant "$plant" '.violations[0] | "\($plant): seed \(.seed), \(.checker): \(.detail[:90])"' <<<"$said"
      ;;
    *) exit "$status" ;;
  esac
done
jq -nc --argjson caught "$caught" --argjson most "$most" --argjson seconds "$SECONDS" \
  '{campaign: "planted-shop", caught: $caught, missed: $ARGS.positional, within_seeds: $most, seconds: $seconds}' \
  --args "${missed[@]}"
((${#missed[@]} == 0))
