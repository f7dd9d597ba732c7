#!/usr/bin/env bash
# Counts the instructions of the hot paths (callgrind) and compares them with the bounds in
# benches/instructions.json. A regression shows on a machine however busy.
#
#   .ci/instructions.sh             all cases; fails when one takes a tenth more than its bound
#   .ci/instructions.sh w1-turn     only the named ones
#   UPDATE=1 .ci/instructions.sh    writes what was counted as the new bounds
set -euo pipefail
cd "$(dirname "$0")/.."
bounds=benches/instructions.json
# Per cent. Another compiler or processor (memcpy, checksums) accounts for a few.
tolerance=10

missing=()
command -v valgrind >/dev/null || missing+=(valgrind)
command -v jq >/dev/null || missing+=(jq)
((${#missing[@]} == 0)) || { apt-get update -q && apt-get install -qy "${missing[@]}"; } || {
  echo "SKIPPED: ${missing[*]} cannot be installed here; instructions are not counted" >&2
  exit 0
}

# Little to compile: this package has no dependencies for tests. Line tables are for profiles.
export CARGO_PROFILE_RELEASE_DEBUG=${CARGO_PROFILE_RELEASE_DEBUG:-0}
cargo build --quiet --release -p instructions
program=${CARGO_TARGET_DIR:-target}/release/instructions

cases=("$@")
((${#cases[@]} > 0)) || mapfile -t cases < <("$program")

counted='{}'
failed=0
said=$(mktemp)
trap 'rm -f "$said"' EXIT
printf '%-16s %12s %12s %8s\n' case instructions bound change
for name in "${cases[@]}"; do
  operations=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
    --toggle-collect='instructions::measured*' "$program" "$name" 2>"$said") ||
    { cat "$said" >&2; exit 1; }
  total=$(sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' "$said")
  if [[ -z $total || $total == 0 ]]; then
    echo "$name: nothing was counted" >&2
    cat "$said" >&2
    exit 1
  fi
  each=$((total / operations))
  counted=$(jq --arg name "$name" --argjson each "$each" '.[$name] = $each' <<<"$counted")
  bound=$(jq -r --arg name "$name" '.[$name] // 0' "$bounds" 2>/dev/null || echo 0)
  if ((bound == 0)); then
    printf '%-16s %12d %12s %8s\n' "$name" "$each" - new
    failed=1
    continue
  fi
  change=$(((each - bound) * 1000 / bound))
  verdict=
  if ((each * 100 > bound * (100 + tolerance))); then
    verdict='  more than its bound'
    failed=1
  elif ((each * 100 < bound * (100 - tolerance))); then
    verdict='  less; lower the bound'
  fi
  sign=+
  ((change >= 0)) || sign=-
  printf '%-16s %12d %12d %7s%%%s\n' "$name" "$each" "$bound" \
    "$sign$((${change#-} / 10)).$((${change#-} % 10))" "$verdict"
done

if [[ ${UPDATE:-} == 1 ]]; then
  [[ -f $bounds ]] || echo '{}' >"$bounds"
  jq -S --argjson counted "$counted" '. + $counted' "$bounds" >"$bounds.new"
  mv "$bounds.new" "$bounds"
  echo "$bounds holds what was counted"
elif ((failed)); then
  echo "if it is meant, say why in the commit and run: UPDATE=1 .ci/instructions.sh" >&2
  exit 1
fi
