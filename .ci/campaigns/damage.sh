#!/usr/bin/env bash
# Damages files of data directories DAMAGES times (default 200), and checks that what opens them finds
# everything or refuses. DAMAGE_SEED repeats a campaign's choices. The last line of JSON has the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DAMAGES=${DAMAGES:-200}
.ci/logged "debug" cargo test -p commerce --test damage -- --nocapture
