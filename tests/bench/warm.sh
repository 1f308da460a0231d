#!/usr/bin/env bash
# How fast `cachewarm warm` is on a large cache, beside the plain ways and the machine's own limit.
#
# A zstd cache of two chains, ten layers of CACHEWARM_BENCH_MB megabytes each (125 unless set), is brought to
# a fresh file system: by cachewarm with a daemon of its own and through a running one, with layers that it fetches
# itself and with layers that BuildKit fetches, by a walk that opens
# every node one after the other, by `docker buildx build --load`, and by the raw limit: every blob fetched,
# decompressed and untarred at once, and synced. First from loopback, then with every connection held to
# 40 MB/s after 20 ms, as object stores do.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
# shellcheck source=large-cache.sh
. "$here/bench/large-cache.sh"
prepare() {
  (cd "$here/.." && cargo build --quiet --release --example throttle)
  (cd "$here/tools" && CGO_ENABLED=0 go build -o "$cache/walk" ./walk)
}
tidy() { umount --lazy "$disk" 2>/dev/null || true; }
workbench "$0" "$@"
megabytes=${CACHEWARM_BENCH_MB:-125}
disk=$work/disk
mkdir "$disk"
export BUILDX_CONFIG=$work/buildx DOCKER_CONFIG=$work/docker

say "A cache of two chains"
large_cache
manifest() {
  curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://127.0.0.1:5000/v2/bench/manifests/cache"
}
blobs=$(manifest | python3 -c 'import json, sys; print(*(layer["digest"] for layer in json.load(sys.stdin)["layers"]))')
manifest | python3 -c 'import json, sys
sizes = [layer["size"] for layer in json.load(sys.stdin)["layers"]]
print(f"{len(sizes)} blobs, {sum(sizes) / 1e6:.0f} MB, zstd")'

"$target/release/examples/throttle" 127.0.0.1:5001 127.0.0.1:5000 40 20 &
ready "the slow registry" answers 127.0.0.1 5001

# Each way takes the registry's address and leaves its peak memory, where that is asked for, in $work/peak.
raw() {
  local blob ids=()
  for blob in $blobs; do
    mkdir -p "$disk/${blob#sha256:}"
    curl -sf "http://$1/v2/bench/blobs/$blob" | zstd -dcq | tar -xC "$disk/${blob#sha256:}" &
    ids+=($!)
  done
  wait "${ids[@]}"
  sync -f "$disk"
}

with_daemon() {
  buildkitd "$work/daemon" "$disk/root" "$work/buildkitd.toml"
  local daemon=$pid
  local status=0
  "$@" || status=$?
  stop "$daemon"
  sync -f "$disk"
  return $status
}

walk() { "$cache/walk" "$work/daemon/buildkitd.sock" "$work/context" "$1/bench:cache"; }

# warm REGISTRY BUILDER [FLAG...]: runs cachewarm and keeps its own peak; a builder's memory is not counted.
warm() {
  local id registry=$1 builder=$2
  shift 2
  "$target/release/cachewarm" warm --quiet --context "$work/context" --cache-from "$registry/bench:cache" --on-miss fail "$@" \
    --builder "$builder" --root "$disk/root" --buildkitd-config "$work/buildkitd.toml" --manifest none \
    --report "json=$work/report.json" >"$work/log" 2>&1 &
  id=$!
  while grep VmHWM "/proc/$id/status" >"$work/peak.part" 2>/dev/null; do
    mv "$work/peak.part" "$work/peak"
    sleep 0.05
  done
  wait "$id" || { cat "$work/log"; return 1; }
  phases=$(python3 -c 'import json, sys
print("; ".join("{name} {seconds:.1f}".format(**phase) for phase in json.load(open(sys.argv[1]))["phases"]))' "$work/report.json")
}

running() { with_daemon warm "$1" "unix://$work/daemon/buildkitd.sock" "${@:2}"; }
spawned() { warm "$1" "spawn:$BUILDKITD" "${@:2}" && sync -f "$disk"; }

# What `--load` sends, thrown away: Debian's dockerd could not read zstd layers, and its own work is not the point.
load() {
  "$BUILDX" create --name bench --driver remote "unix://$work/daemon/buildkitd.sock" >/dev/null
  "$BUILDX" build --builder bench --progress quiet --cache-from "$1/bench:cache" --output type=docker,dest=- \
    "$work/context" 2>"$work/log" >/dev/null || { cat "$work/log"; return 1; }
  "$BUILDX" rm bench >/dev/null 2>&1
}

# measure NAME COMMAND...: on a fresh file system; seconds to $seconds, and a line of the table.
measure() {
  local name=$1 begun
  shift
  fresh
  rm -f "$work/peak"
  phases=
  begun=$(date +%s.%N)
  if ! "$@"; then
    printf '%-44s failed\n' "$name"
    failed=1
  else
    seconds=$(echo "$(date +%s.%N) $begun" | awk '{ printf "%.1f", $1 - $2 }')
    printf '%-44s %6s s   %5s × raw   %5s × walk   %s\n' "$name" "$seconds" "$(ratio "$raw")" "$(ratio "$walked")" \
      "$(awk '{ printf "%.0f MiB at most", $2 / 1024 }' "$work/peak" 2>/dev/null || true)"
    [ -z "$phases" ] || echo "  $phases"
  fi
  umount "$disk"
}

ratio() { awk -v seconds="$seconds" -v other="$1" 'BEGIN { if (other) printf "%.2f", seconds / other; else print "-" }'; }

failed=0
for from in 127.0.0.1:5000 127.0.0.1:5001; do
  if [ $from = 127.0.0.1:5000 ]; then say "From loopback"; else say "From a registry of 40 MB/s a connection, after 20 ms"; fi
  raw='' walked=''
  measure "raw: every blob at once" raw $from
  raw=$seconds
  measure "walk: every node, one after the other" with_daemon walk $from
  walked=$seconds
  for by in auto builder; do
    measure "cachewarm, own daemon, proof, --fetch $by" spawned $from --fetch $by
    measure "cachewarm, running daemon, --fetch $by" running $from --fetch $by
  done
  measure "buildx --load, which leaves the root cold" with_daemon load $from
done
exit $failed
