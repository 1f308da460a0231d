# shellcheck shell=bash
# What every script that measures begins with: sourced by one that has set $here to this folder's parent.
# shellcheck source=ground.sh
. "$here/support/ground.sh"

say() { printf '\n== %s\n' "$*"; }

# workbench SCRIPT ARGS...: the tools and the release binary are made, then the script runs again alone, with the tools'
# variables set, $target the folder of binaries, and $work a folder that goes with it. A function `prepare` makes what else
# is needed before, and `tidy` ends what else there is after.
workbench() {
  cache=${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}
  target=${CARGO_TARGET_DIR:-$here/../target}
  if [ $$ != 1 ]; then
    "$here/setup.sh" >/dev/null
    [ -n "${CACHEWARM_BINARY-}" ] || (cd "$here/.." && cargo build --quiet --release --bin cachewarm)
    if declare -F prepare >/dev/null; then prepare; fi
  fi
  alone "$@"
  ip link set lo up
  # shellcheck disable=SC1090,SC1091
  . "$cache/env"
  work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
  trap 'if declare -F tidy >/dev/null; then tidy; fi; kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# images: a registry at 127.0.0.1:5000 with the images every sample names, which $work/buildkitd.toml makes docker.io's mirror.
images() {
  printf '[registry."docker.io"]\n  mirrors = ["127.0.0.1:5000"]\n' >"$work/buildkitd.toml"
  registry "$work/registry" 127.0.0.1 5000
  buildkitd "$work/daemon" "$work/first" "$work/buildkitd.toml"
  local daemon=$pid
  "$here/support/images.sh" "$BUILDCTL" "$DOCKERFILE_FRONTEND" "$work/daemon/buildkitd.sock" 127.0.0.1:5000
  stop "$daemon"
}

# machine: what it is that measures.
machine() {
  echo "$(nproc) cores, $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(df --output=fstype "$work" | tail -1), BuildKit $("$BUILDKITD" --version | awk '{ print $3 }')"
}
