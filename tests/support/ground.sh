# shellcheck shell=bash
# Real parts for shell scripts: sourced, then `alone "$0" "$@"` once, before anything is started.

# alone SCRIPT ARGS...: runs the script again as the first process of its own process, network and mount
# namespaces. Ports and host names are then its own, nothing beyond loopback is in reach, and however it
# ends the kernel takes down all it started.
alone() {
  [ $$ != 1 ] || return 0
  [ "$(id -u)" = 0 ] || { echo "error: BuildKit's daemon needs root: sudo -E $0" >&2; exit 1; }
  exec unshare --mount --net --pid --fork --mount-proc --kill-child=KILL bash "$@"
}

# ready WHAT COMMAND...: waits until the command succeeds.
ready() {
  local what=$1 attempt
  shift
  for attempt in {1..300}; do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "error: $what did not come up" >&2
  return 1
}

answers() { (exec 3<>"/dev/tcp/$1/$2"); }

# registry FOLDER ADDRESS PORT [YAML]: starts a registry that keeps its blobs in the folder; its id is in `pid`.
registry() {
  mkdir -p "$1"
  cat >"$1/config.yml" <<END
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $1/data}, delete: {enabled: true}}
http:
  addr: $2:$3
${4-}
END
  # The registry's AWS library refuses to start when it meets this one.
  env -u AWS_CA_BUNDLE docker-registry serve "$1/config.yml" >"$1/log" 2>&1 &
  pid=$!
  ready "the registry at $2:$3" answers "$2" "$3"
}

# buildkitd FOLDER ROOT CONFIG: starts a daemon on the root with its socket in the folder; its id is in `pid`.
buildkitd() {
  mkdir -p "$1"
  local traces=()
  # The oldest have no such option, and the socket below /run.
  ! "$BUILDKITD" --help | grep -e --otel-socket-path >/dev/null || traces=(--otel-socket-path "$1/traces.sock")
  "$BUILDKITD" --root "$2" --config "$3" --addr "unix://$1/buildkitd.sock" \
    "${traces[@]}" --containerd-worker=false --oci-worker-gc=false >"$1/buildkitd.log" 2>&1 &
  pid=$!
  ready "buildkitd on $2" "$BUILDCTL" --addr "unix://$1/buildkitd.sock" debug workers
}

# stop PID...: asks to end, and waits for it.
stop() {
  kill "$@"
  wait "$@" || true
}
