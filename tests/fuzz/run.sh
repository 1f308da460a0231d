#!/usr/bin/env bash
# Fuzzes everything that reads the foreign bytes of a state root. run.sh [RUNS]: so many executions of each target,
# 100,000 unless given. Seeds are the databases of real roots in tests/fixtures; what libFuzzer finds beyond them is
# kept in $CACHEWARM_FUZZ_CORPUS (a folder beside the test tools unless set). A finding ends it with a non-zero status
# and the file that shows it. Needs cargo-fuzz: cargo install cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")"
command -v cargo-fuzz >/dev/null || { echo "error: cargo-fuzz is missing" >&2; echo "hint: cargo install cargo-fuzz --version 0.13.2" >&2; exit 1; }
runs=${1:-100000}
cache=${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}
corpus=${CACHEWARM_FUZZ_CORPUS:-$cache/fuzz}
# libFuzzer's instrumentation needs no nightly compiler; sanitizers would, and this code has no unsafe in it.
export RUSTC_BOOTSTRAP=1
for target in database values; do
  mkdir -p "$corpus/$target"
  seeds=$(mktemp -d)
  trap 'rm -rf "$seeds"' EXIT
  cp ../fixtures/*.db "$seeds"
  for root in ../fixtures/state-root ../fixtures/state-root-*; do
    for database in "$root"/*.db; do cp "$database" "$seeds/$(basename "$root")-$(basename "$database")"; done
  done
  [ "$target" = database ] || { rm "$seeds"/*; printf '[worker.oci]\n  maxUsedSpace = "10%%"\n  [[worker.oci.gcpolicy]]\n    keepDuration = "48h"\n    filters = ["type==source.local,id!=x"]\n' >"$seeds/policy"; printf '{"Input":1,"Digest":"sha256:aa","Selector":"sha256:bb"}@key' >"$seeds/link"; }
  cargo fuzz run --fuzz-dir . --target-dir "$cache/fuzz-target" --sanitizer none "$target" "$corpus/$target" "$seeds" -- \
    -runs="$runs" -max_len=200000 -timeout=10 -rss_limit_mb=512 -print_final_stats=1
done
