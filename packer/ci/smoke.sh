#!/bin/sh
# Is the bake that follows warm on this machine? smoke.sh TARGET...
#
# Says so in the log and on the job's page (Buildkite, GitHub Actions), with the reason for each step that would run. A cold
# cache, or a machine without one, is no reason to fail a build: the exit code is 0 then, unless CACHE_MUST_BE_WARM is set.
# Settings of cachewarm come from its variables: CACHEWARM_ROOT, CACHEWARM_MANIFEST, CACHEWARM_BUILDER and so on. The reports
# are left in SMOKE_DIR, which must not be in the checkout: what lies in there is part of the build.
set -eu
out=${SMOKE_DIR:-${RUNNER_TEMP:-${TMPDIR:-/tmp}}/cachewarm-smoke}
mkdir -p "$out"
docker buildx bake --print "$@" >"$out/bake.json"
code=0
cachewarm smoke --context . --bake "$out/bake.json" --report text --report "markdown=$out/smoke.md" \
  --report "json=$out/smoke.json" || code=$?
if [ "$code" = 3 ]; then
  echo "Nobody could tell whether this build is warm: the job's log says why." >"$out/smoke.md"
fi
if [ -f "$out/smoke.md" ]; then
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$out/smoke.md" >>"$GITHUB_STEP_SUMMARY"
  fi
  if command -v buildkite-agent >/dev/null; then
    [ "$code" = 0 ] && style=success || style=warning
    buildkite-agent annotate --style "$style" --context cachewarm <"$out/smoke.md"
  fi
fi
case $code in
  3 | 5) [ -n "${CACHE_MUST_BE_WARM:-}" ] && exit "$code" || exit 0 ;;
  *) exit "$code" ;;
esac
