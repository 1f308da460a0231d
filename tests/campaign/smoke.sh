#!/usr/bin/env bash
# Does `cachewarm smoke` ever say what BuildKit then does not do? smoke.sh [EDITS] [SEED]
#
# Makes random projects (random Dockerfiles over file trees of other people's, out of the Go module cache), warms a root
# for each, and edits each at random, EDITS times in all (500 unless given). After each edit smoke's word on every step is
# held against what a real buildkitd does on a copy of the root. Prints every wrong word, and at the end how many there
# were; the same SEED makes the same projects and edits.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}
target=${CARGO_TARGET_DIR:-$here/../target}
if [ $$ != 1 ]; then
  "$here/setup.sh" >/dev/null
  (cd "$here/.." && cargo build --quiet --release)
fi
# shellcheck source=../support/ground.sh
. "$here/support/ground.sh"
alone "$0" "$@"
ip link set lo up
# shellcheck disable=SC1090,SC1091
. "$cache/env"
export BUILDKITD BUILDCTL
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '[registry."docker.io"]\n  mirrors = ["127.0.0.1:5000"]\n' >"$work/buildkitd.toml"
registry "$work/registry" 127.0.0.1 5000
buildkitd "$work/daemon" "$work/first" "$work/buildkitd.toml"
daemon=$pid
"$here/support/images.sh" "$BUILDCTL" "$DOCKERFILE_FRONTEND" "$work/daemon/buildkitd.sock" 127.0.0.1:5000
stop "$daemon"
python3 "$here/campaign/edits.py" "$target/release/cachewarm" "$work" "$(go env GOMODCACHE)" "${1:-500}" "${2:-1}"
