#!/usr/bin/env bash
# Does cachewarm build of real bake files what buildx builds of them? bake.sh DIR [NAME...]
#
# DIR has checkouts of other people's projects, and beside each checkout NAME a file NAME.bake: each line of it is a call of
# `docker buildx bake` in NAME, without these words (variables before it as the shell has them). Base images are made up here, with
# a shell that runs nothing, and so nothing is fetched: see bake.py. For each line `cachewarm warm --bake` and `cachewarm warm --`
# warm a root, and buildx builds on it. Prints where the graphs that buildx is answered are not cachewarm's, what buildx had
# to do, and at the end how many graphs were the same.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
prepare() { (cd "$here/tools" && CGO_ENABLED=0 go build -o "$cache/record" ./record); }
[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
workbench "$0" "$@"
export BUILDKITD BUILDX DOCKERFILE_FRONTEND
gcc -O1 -static -o "$work/shell" "$here/campaign/shell.c"
python3 "$here/campaign/bake.py" "${CACHEWARM_BINARY:-$target/release/cachewarm}" "$cache/record" "$work" "$@"
