#!/usr/bin/env bash
# From `packer build` to an AMI, and to none: packer.sh [CASE...], without a case all of tests/packer/cases.sh, two at a time.
#
# Debian's Packer builds the template of packer/ against moto's EC2. The machine it gets is a private copy of this one
# (tests/packer/instance.sh), with sshd, the metadata of an instance, and AWS, ECR and GitHub at their real names
# (tests/packer/front.py); a real buildkitd is warmed there and sealed. All of it lives in namespaces of its own: no port, file
# or process of this machine is touched, nothing beyond loopback is in reach.
#
# CACHEWARM_BINARY is the binary under test; the release binary is built unless it is given. With CACHEWARM_KEEP set, logs and
# all are left in TMPDIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "error: BuildKit's daemon needs root: sudo -E $0" >&2; exit 1; }
"$here/setup.sh" >/dev/null
set -a
# shellcheck disable=SC1090,SC1091
. "${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}/env"
# These stand nowhere else: whoever finds one has found the secret itself.
# shellcheck disable=SC2034
{
  GIT_TOKEN=plainly-a-secret-$RANDOM$RANDOM$RANDOM
  NPM_TOKEN=npm-secret-$RANDOM$RANDOM$RANDOM
}
set +a
if [ -z "${CACHEWARM_BINARY:-}" ]; then
  (cd "$here/.." && cargo build --quiet --release --bin cachewarm)
  CACHEWARM_BINARY=${CARGO_TARGET_DIR:-$here/../target}/release/cachewarm
fi
CACHEWARM_BINARY=$(realpath "$CACHEWARM_BINARY")
export CACHEWARM_BINARY

work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
# The first process of a lane takes no other signal from outside, and with it goes all that is in it.
trap 'kill -KILL $(jobs -p) 2>/dev/null || true; wait; [ -n "${CACHEWARM_KEEP:-}" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start=$SECONDS
mkdir "$work/taken"
"$here/packer/seed.sh" "$work" &
wait $!
echo "the lab is ready ($((SECONDS - start)) s)"

# Both lanes go through the cases; who comes first to one has it.
lanes=()
for lane in 1 2; do
  "$here/packer/lane.sh" "$work" "$lane" "$@" &
  lanes+=($!)
done
status=0
for lane in "${lanes[@]}"; do
  wait "$lane" || status=1
done
passed=$(cat "$work"/lane-*/passed | wc -l)
failed=$(cat "$work"/lane-*/failed | wc -l)
echo "tests/packer.sh: $passed passed, $failed failed, in $((SECONDS - start)) s"
[ "$status" = 0 ] && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
