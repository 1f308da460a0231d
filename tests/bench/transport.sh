#!/usr/bin/env bash
# How much the way through the Docker API costs: one buildkitd in a container, reached by its unix socket and by
# `docker exec` of `buildctl dial-stdio` (docker-container://), in turn.
#
# A build context of 512 MB that is sent whole, three times by each way; and `cachewarm warm` of the zstd cache of
# tests/bench/warm.sh (CACHEWARM_BENCH_MB megabytes a layer, 125 unless set), once by each way on a fresh file system. With
# Debian's dockerd, and with today's.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
# shellcheck source=large-cache.sh
. "$here/bench/large-cache.sh"
tidy() {
  kill $(jobs -p) 2>/dev/null || true
  wait
  umount --lazy "$disk" "$work"/docker-*/exec/netns/default 2>/dev/null || true
}
workbench "$0" "$@"
megabytes=${CACHEWARM_BENCH_MB:-125}
disk=$work/disk
mkdir "$disk"

# dockerd NAME PROGRAM FLAGS...: starts it; its id is in `pid`.
dockerd() {
  local folder=$work/docker-$1 program=$2
  shift 2
  mkdir -p "$folder"
  export DOCKER_HOST=unix://$folder/docker.sock
  "$program" --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "$DOCKER_HOST" \
    --registry-mirror http://127.0.0.1:5000 --bridge=none --iptables=false --ip6tables=false "$@" >"$folder/log" 2>&1 &
  pid=$!
  ready "dockerd" docker version
}

# container: a buildkitd on $disk/root, which listens at $work/run/buildkitd.sock as well.
container() {
  mkdir -p "$work/run"
  docker run --detach --name bench --network host --cap-add ALL --cap-drop SYS_RESOURCE -v /sys/fs/cgroup:/sys/fs/cgroup \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
    -v "$disk/root:/var/lib/buildkit" -v "$work/run:/run/buildkit" \
    -v "$work/buildkitd.toml:/etc/buildkit/buildkitd.toml" moby/buildkit:buildx-stable-1 >/dev/null 2>&1 ||
    { docker rm --force bench >/dev/null 2>&1 || true
      docker run --detach --name bench --network host --privileged \
        -v "$disk/root:/var/lib/buildkit" -v "$work/run:/run/buildkit" \
        -v "$work/buildkitd.toml:/etc/buildkit/buildkitd.toml" moby/buildkit:buildx-stable-1 >/dev/null; }
  ready "the buildkitd in the container" "$BUILDCTL" --addr "unix://$work/run/buildkitd.sock" debug workers
}

# phase BUILDER FLAGS...: warms, and gives the seconds of its phase `materialize`.
phase() {
  "$target/release/cachewarm" warm --quiet --builder "$1" --root "$disk/root" --buildkitd-config "$work/buildkitd.toml" \
    --manifest none --report "json=$work/report.json" "${@:2}" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
  python3 -c 'import json, sys
print(next(phase["seconds"] for phase in json.load(open(sys.argv[1]))["phases"] if phase["name"] == "materialize"))' "$work/report.json"
}

# line NAME UNIX EXEC [MEGABYTES]: medians of both lists of seconds, and their ratio.
line() {
  python3 - "$@" <<'END'
import statistics, sys
name, unix, through = sys.argv[1], *(statistics.median(map(float, text.split())) for text in sys.argv[2:4])
rate = lambda seconds: f" ({float(sys.argv[4]) / seconds:.0f} MB/s)" if len(sys.argv) > 4 else ""
print(f"{name:36} unix {unix:5.1f} s{rate(unix)}   exec {through:5.1f} s{rate(through)}   {through / unix:.2f} ×")
END
}

ways=("unix://$work/run/buildkitd.sock" docker-container://bench)

say "The machine"
machine

say "A cache of two chains, and a context of 512 MB"
large_cache builder
mkdir "$work/upload"
for number in 1 2 3 4 5 6 7 8; do head -c 64000000 /dev/urandom >"$work/upload/$number"; done
printf 'FROM busybox:1.35\nRUN --mount=type=bind,target=/context true\n' >"$work/upload/Dockerfile"

for version in 20 29; do
  if [ $version = 20 ]; then
    dockerd 20 "$DOCKERD_20"
  else
    # Debian's runc does not know the namespaces of time.
    dockerd 29 "$DOCKERD_29" --feature=time-namespaces=false
  fi
  daemon=$pid
  say "Through Docker $(docker version --format '{{.Server.APIVersion}}') (API)"
  docker pull --quiet moby/buildkit:buildx-stable-1 >/dev/null

  fresh
  container
  times=("" "")
  for round in 1 2 3; do
    for way in 0 1; do
      # BuildKit keeps what it has of a directory: each round sends another one.
      cp -al "$work/upload" "$work/upload-$version-$round-$way"
      times[way]+=" $(phase "${ways[way]}" --context "$work/upload-$version-$round-$way")"
    done
  done
  line "context upload, median of 3" "${times[0]}" "${times[1]}" 512
  docker rm --force bench >/dev/null
  umount "$disk"

  times=("" "")
  for way in 0 1; do
    fresh
    container
    times[way]=$(phase "${ways[way]}" --context "$work/context" --cache-from 127.0.0.1:5000/bench:cache --on-miss fail)
    docker rm --force bench >/dev/null
    umount "$disk"
  done
  line "warm of the cache" "${times[0]}" "${times[1]}"
  stop "$daemon"
done
