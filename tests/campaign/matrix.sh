#!/usr/bin/env bash
# Does `cachewarm check --used-by` foresee what each BuildKit does with a root that each wrote? matrix.sh [VERSION...]
#
# Builds the BuildKits (v0.20.2 v0.32.2 v0.33.1 v0.34.2 unless others are given), has each export the cache of a sample and
# warm a root from it, and holds the forecast for each user of each root against what that one does on copies of it: builds
# with nothing to import, builds with the cache and one file changed, and opens every layer with the cache. Prints a row a
# cell, and every forecast that did not come true; ends with 1 if there is one.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../support/workbench.sh
. "$here/support/workbench.sh"
versions=("$@")
[ $# != 0 ] || versions=(v0.20.2 v0.32.2 v0.33.1 v0.34.2)

# prepare: a buildkitd of each version, in the cache folder.
prepare() {
  local version folder
  for version in "${versions[@]}"; do
    folder=$cache/matrix-$version
    [ ! -x "$folder/buildkitd" ] || continue
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    (cd "$folder.part" && go mod init matrix && go get -tool "github.com/moby/buildkit/cmd/buildkitd@$version" &&
      CGO_ENABLED=0 go build -ldflags "-s -w -X github.com/moby/buildkit/version.Version=$version" -o . tool) >&2
    mv "$folder.part" "$folder"
  done
}
workbench "$0" "$@"
images
export BUILDCTL
binary=${CACHEWARM_BINARY-$target/release/cachewarm}
commit=$("$here/support/sample.sh" "$work/sample")
amiss=0

# of VERSION: has what is started from now on be of this version.
of() { BUILDKITD=$cache/matrix-$1/buildkitd; }

# build ROOT CONTEXT ARGS...: what the BuildKit at hand does there: steps that run, layers fetched, layers unpacked.
build() {
  local root=$1 context=$2 daemon
  shift 2
  buildkitd "$work/daemon" "$root" "$work/buildkitd.toml"
  daemon=$pid
  "$BUILDCTL" --addr "unix://$work/daemon/buildkitd.sock" build --progress=rawjson --frontend dockerfile.v0 \
    --local context="$context" --local dockerfile="$context" "$@" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
  stop "$daemon" 2>/dev/null
  python3 - "$work/build.log" <<'END'
import json, re, sys
steps, fetched, unpacked = {}, set(), set()
for line in open(sys.argv[1]):
    try:
        message = json.loads(line)
    except ValueError:
        continue
    for vertex in message.get("vertexes") or []:
        if re.match(r"\[[^\]]*\d+/\d+\] (?!FROM )", vertex.get("name", "")):
            steps[vertex["digest"]] = steps.get(vertex["digest"], False) or vertex.get("cached", False)
    for status in message.get("statuses") or []:
        name = status.get("id", "")
        if name.startswith("sha256:"):
            fetched.add(name)
        if name.startswith("extracting"):
            unpacked.add(name)
print(sum(not cached for cached in steps.values()), len(fetched), len(unpacked))
END
}

# copy ROOT: a copy of it.
copy() {
  rm -rf "$work/copy"
  cp -a --reflink=auto "$1" "$work/copy"
}

# counted ROOT: bytes that the BuildKit at hand counts there, copies of directories aside.
counted() {
  buildkitd "$work/daemon" "$1" "$work/buildkitd.toml"
  local daemon=$pid
  "$BUILDCTL" --addr "unix://$work/daemon/buildkitd.sock" du --format '{{json .}}' >"$work/usage.json"
  stop "$daemon" 2>/dev/null
  python3 -c 'import json, sys
print(sum(record["size"] for record in json.load(open(sys.argv[1])) if record["recordType"] != "source.local"))' "$work/usage.json"
}

# wrong WHAT: counts and says it.
wrong() {
  amiss=$((amiss + 1))
  echo "WRONG: $writer used by $user: $*"
}

cp -a "$work/sample" "$work/changed"
echo '# changed' >>"$work/changed/tests/test_kernel.py"
printf '%-8s %-8s %-6s %-8s %-10s %-12s %-12s %s\n' writer user check legacy again 'plain build' 'with cache' 'everything opened'
for writer in "${versions[@]}"; do
  of "$writer"
  cache_ref=127.0.0.1:5000/team/sample:$writer
  build "$work/ci" "$work/sample" --export-cache "type=registry,mode=max,ref=$cache_ref" >/dev/null
  rm -rf "$work/ci"
  warm() {
    "$binary" warm --repo "file://$work/sample" --rev "$commit" --cache-from "$cache_ref" --builder "spawn:$BUILDKITD" \
      --buildkitd-config "$work/buildkitd.toml" --manifest none --quiet --report "json=$work/warm.json" --root "$1"
  }
  warm "$work/root" || wrong "could not be warmed"
  for user in "${versions[@]}"; do
    of "$user"
    code=0
    "$binary" check --root "$work/root" --cache-from "$cache_ref" --used-by "$BUILDKITD" --quiet \
      --buildkitd-config "$work/buildkitd.toml" --report "json=$work/check.json" || code=$?
    # Of a layer that is unpacked again BuildKit counts the blob again, too.
    read -r legacy again compressed < <(python3 -c 'import json, sys
donor = json.load(open(sys.argv[1]))["donors"][0]
again = [layer["size"] for layer in donor["covered"] if layer["state"] == "legacy"]
print(donor["coverage"]["legacy"], donor["unpacked_again_bytes"], sum(again))' "$work/check.json")

    copy "$work/root"
    plain=$(build "$work/copy" "$work/sample")
    copy "$work/root"
    cached=$(build "$work/copy" "$work/changed" --import-cache "type=registry,ref=$cache_ref")
    copy "$work/root"
    before=$(counted "$work/copy")
    warm "$work/copy" || wrong "could not be warmed again"
    more=$(($(counted "$work/copy") - before))
    opened=$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["transfer"]["extracted"])' "$work/warm.json")
    printf '%-8s %-8s %-6s %-8s %-10s %-12s %-12s %s\n' "$writer" "$user" "$code" "$legacy" "$again" "${plain// //}" "${cached// //}" \
      "$opened unpacked, $more bytes more"

    [ "$plain" = "0 0 0" ] || wrong "a build without the cache: $plain (run, fetched, unpacked)"
    read -r ran fetched unpacked <<<"$cached"
    [ "$ran/$fetched" = 2/0 ] || wrong "a build with the cache: $cached (run, fetched, unpacked)"
    [ "$code" != 0 ] || [ "$unpacked" = 0 ] || wrong "warm, and $unpacked layers were unpacked"
    [ "$code" = 0 ] || [ "$unpacked" != 0 ] || wrong "not warm, and nothing was unpacked"
    [ "$unpacked" -le "$legacy" ] || wrong "$legacy layers were foreseen, and $unpacked unpacked"
    [ "$opened" = "$legacy" ] || wrong "$legacy layers were foreseen, and opening everything unpacked $opened"
    [ "$more" = $((again + compressed)) ] || wrong "$again + $compressed bytes were foreseen, and $more came"
  done
  rm -rf "$work/root"
done
[ "$amiss" = 0 ] || { echo "$amiss forecasts did not come true"; exit 1; }
echo "every forecast came true"
