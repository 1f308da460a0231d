#!/usr/bin/env bash
# Does `cachewarm smoke` ever say what BuildKit then does not do? smoke.sh [EDITS] [SEED]
#
# Makes random projects (random Dockerfiles over file trees of other people's, out of the Go module cache), warms a root
# for each, and edits each at random, EDITS times in all (500 unless given). After each edit smoke's word on every step is
# held against what a real buildkitd does on a copy of the root. Prints every wrong word, and at the end how many there
# were; the same SEED makes the same projects and edits.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
workbench "$0" "$@"
export BUILDKITD BUILDCTL
images
python3 "$here/campaign/edits.py" "$target/release/cachewarm" "$work" "$(go env GOMODCACHE)" "${1:-500}" "${2:-1}"
