#!/usr/bin/env bash
# How long `cachewarm smoke` takes beside the build that it foretells, when all of that is cached.
#
# A context of CACHEWARM_BENCH_FILES files (50,000 unless set) is copied by one step and mounted by another; the root is
# warmed by cachewarm. Then, in turns, three times each on a fresh file system, as on a fresh instance: smoke on the root, and
# `docker buildx build` by a daemon that runs on it; and that once more, with BuildKit's copy of the context there.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
tidy() { umount --lazy "$disk" 2>/dev/null || true; }
workbench "$0" "$@"
disk=$work/disk
mkdir "$disk"
files=${CACHEWARM_BENCH_FILES:-50000}
export BUILDX_CONFIG=$work/buildx DOCKER_CONFIG=$work/docker
images
python3 - "$work/context" "$files" <<'END'
import os, sys
root, files = sys.argv[1], int(sys.argv[2])
for number in range(files):
    folder = os.path.join(root, f"d{number % 50}", f"e{number // 50 % 40}")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"f{number}"), "w") as file:
        file.write(f"{number}\n" * (number % 100))
END
cat >"$work/context/Dockerfile" <<'END'
FROM busybox:1.35 AS build
RUN echo tools >/tools
COPY . /src/
RUN find /src -type f | wc -l >/count
FROM busybox:1.35
RUN --mount=type=bind,target=/ctx ls /ctx >/list
COPY --from=build /count /count
END
cachewarm=("$target/release/cachewarm")
spawn=(--builder "spawn:$BUILDKITD" --buildkitd-config "$work/buildkitd.toml" --manifest "$work/manifest.json" --quiet)
"${cachewarm[@]}" warm "${spawn[@]}" --context "$work/context" -f "$work/context/Dockerfile" --root "$work/root" \
  --report text=/dev/null
buildx_version=$(sed -n 's/.*github.com\/docker\/buildx \(v[^ ]*\).*/\1/p' "$here/tools-buildx/go.mod")
echo "$(machine), buildx $buildx_version, $files files"

seconds() {
  local begun ended
  begun=$EPOCHREALTIME
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  ended=$EPOCHREALTIME
  awk "BEGIN { print $ended - $begun }"
}

# fresh: an empty file system at $disk with the warm root and another checkout of the context. Neither side finds BuildKit's
# copy of the context, and what the other one has deleted slows nobody down.
fresh() {
  umount "$disk" 2>/dev/null || true
  rm -f "$work/image"
  truncate -s 8G "$work/image"
  mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
  mount -o loop "$work/image" "$disk"
  cp -a "$work/root" "$disk/root"
  cp -a "$work/context" "$disk/context"
  sync
}

for turn in 1 2 3; do
  fresh
  smoke=("${cachewarm[@]}" smoke "${spawn[@]}" --context "$disk/context" -f "$disk/context/Dockerfile" --root "$disk/root")
  took=$(seconds "${smoke[@]}" --report text)
  echo "smoke first $took"
  grep -A1 '^time' "$work/log" >&2
  fresh
  buildkitd "$work/daemon" "$disk/root" "$work/buildkitd.toml"
  daemon=$pid
  "$BUILDX" create --name bench --driver remote "unix://$work/daemon/buildkitd.sock" >/dev/null
  build=("$BUILDX" build --builder bench --progress plain --provenance=false "$disk/context")
  took=$(seconds "${build[@]}")
  echo "buildx first $took"
  [ "$(grep -c '^#[0-9]* CACHED' "$work/log")" = 5 ] || { echo "error: not all was cached" >&2; exit 1; }
  took=$(seconds "${build[@]}")
  echo "buildx again $took"
  stop "$daemon"
  "$BUILDX" rm bench >/dev/null 2>&1
done | tee "$work/times"
python3 - "$work/times" <<'END'
import collections, statistics, sys
times = collections.defaultdict(list)
for line in open(sys.argv[1]):
    who, which, seconds = line.split()
    times[f"{who} {which}"].append(float(seconds))
median = {name: statistics.median(all) for name, all in times.items()}
for name, value in median.items():
    print(f"{name:14} {value:6.2f} s   ({', '.join(f'{one:.2f}' for one in times[name])})")
print(f"smoke / buildx's first build: {median['smoke first'] / median['buildx first']:.2f}")
print(f"smoke / buildx's second build: {median['smoke first'] / median['buildx again']:.2f}")
END
