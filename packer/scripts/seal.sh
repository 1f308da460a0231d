#!/usr/bin/env bash
# The last step before the snapshot: stops what may use the state root, and has cachewarm clean it, look through the machine
# and put its seal on it, or say why not. It gets warm.sh's variables, so that it can look for the build's own secrets.
set -euo pipefail
upload=${UPLOAD:-/var/tmp/cachewarm}
# shellcheck source-path=SCRIPTDIR source=../files/secrets.sh
. "$upload/files/secrets.sh"
# The socket as well: it would start the daemon again.
if [ -d /run/systemd/system ]; then
  systemctl stop buildkit.socket buildkit.service
fi
# Nothing of Packer's stays but what CI's bake printed, in memory: it says which secrets to look for.
if [ -n "${CACHEWARM_BAKE:-}" ]; then
  install -m 600 "$CACHEWARM_BAKE" /run/cachewarm-bake.json
  export CACHEWARM_BAKE=/run/cachewarm-bake.json
fi
cd /
rm -rf "$upload"
cachewarm seal --fix --root /var/lib/buildkit --builder spawn:/usr/local/bin/buildkitd \
  --buildkitd-config /etc/buildkit/buildkitd.toml --report text
