#!/bin/sh
# Is the bake that follows warm on this machine? smoke.sh TARGET...
#
# Says so in the log and on the job's page (Buildkite, GitHub Actions), with the reason for each step that would run. A cold
# cache is no reason to fail a build: the exit code is 0 then, unless CACHE_MUST_BE_WARM is set. Settings of cachewarm come
# from its variables: CACHEWARM_ROOT, CACHEWARM_MANIFEST, CACHEWARM_BUILDER and so on.
set -eu
docker buildx bake --print "$@" >bake.json
code=0
cachewarm smoke --context . --bake bake.json --report text --report markdown=smoke.md --report json=smoke.json || code=$?
if [ -f smoke.md ]; then
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat smoke.md >>"$GITHUB_STEP_SUMMARY"
  fi
  if command -v buildkite-agent >/dev/null; then
    [ "$code" = 0 ] && style=success || style=warning
    buildkite-agent annotate --style "$style" --context cachewarm <smoke.md
  fi
fi
if [ "$code" = 5 ] && [ -z "${CACHE_MUST_BE_WARM:-}" ]; then
  exit 0
fi
exit "$code"
