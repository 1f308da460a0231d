#!/usr/bin/env bash
# How fast `cachewarm check` is, beside the plain ways of looking.
#
# A real buildkitd makes two state roots: one of CACHEWARM_BENCH_CHAINS chains (200 unless set) of 50 small layers of
# ten files each, and one of eight blobs of CACHEWARM_BENCH_MB megabytes (150 unless set). The databases of the first
# are read beside `du -s` of it, with the page cache empty and full; of the second every byte is read, beside
# `sha256sum` over the same blobs by as many processes as there are cores.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
prepare() { (cd "$here/tools" && CGO_ENABLED=0 go build -o "$cache/fill" ./fill); }
workbench "$0" "$@"
chains=${CACHEWARM_BENCH_CHAINS:-200}
megabytes=${CACHEWARM_BENCH_MB:-150}
: >"$work/buildkitd.toml"

# measure NAME COMMAND...: the median of five runs, and the most memory any of them took (of one process).
measure() {
  python3 - "$@" <<'END'
import os, resource, subprocess, sys, time
name, cold, command = sys.argv[1], sys.argv[1].endswith("cold"), sys.argv[2:]
seconds = []
for _ in range(5):
    if cold:
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as drop:
            drop.write("3")
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds.append(time.monotonic() - begun)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{name:44} {sorted(seconds)[2] * 1000:8.0f} ms   {min(seconds) * 1000:8.0f} ms at best   {peak:4.0f} MiB at most")
END
}

say "The machine"
machine

say "A root of many small layers"
buildkitd "$work/daemon" "$work/root" "$work/buildkitd.toml"
"$cache/fill" "$work/daemon/buildkitd.sock" "$chains" 50 10
stop "$pid"
sync
check=("$target/release/cachewarm" check --quiet --buildkitd-config "$work/buildkitd.toml" --root)
"${check[@]}" "$work/root" --report "json=$work/report.json"
python3 -c 'import json, sys
report = json.load(open(sys.argv[1]))
print(len(report["records"]), "records, verdict", report["verdict"])' "$work/report.json"
echo "$(find "$work/root" -type f | wc -l) files"
for state in warm cold; do
  measure "cachewarm check, $state" "${check[@]}" "$work/root" --report text
  measure "du -s, $state" du -s "$work/root"
done

say "A root of large blobs"
mkdir "$work/context"
{
  echo 'FROM scratch'
  for number in 1 2 3 4 5 6 7 8; do
    head -c "${megabytes}000000" /dev/urandom >"$work/context/$number"
    echo "COPY $number /"
  done
} >"$work/context/Dockerfile"
buildkitd "$work/daemon" "$work/large" "$work/buildkitd.toml"
"$BUILDCTL" --addr "unix://$work/daemon/buildkitd.sock" build --frontend dockerfile.v0 --local context="$work/context" \
  --local dockerfile="$work/context" --output type=oci,dest=/dev/null,compression=zstd >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
stop "$pid"
sync
blobs=$work/large/runc-overlayfs/content/blobs/sha256
echo "$(du -sm "$blobs" | cut -f 1) MiB in $(find "$blobs" -type f -size +1M | wc -l) blobs"
measure "cachewarm check --deep" "${check[@]}" "$work/large" --deep --report text
measure "sha256sum, $(nproc) processes" bash -c "ls '$blobs' | sed 's#^#$blobs/#' | xargs -P $(nproc) -n 1 sha256sum"
