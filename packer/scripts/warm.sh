#!/usr/bin/env bash
# Makes /var/lib/buildkit warm. What to build and from which caches is in cachewarm's variables, CACHEWARM_*; the exit code
# is cachewarm's, and anything but 0 ends the build of the image.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../files/secrets.sh
. "${UPLOAD:-/var/tmp/cachewarm}/files/secrets.sh"
cachewarm warm --root /var/lib/buildkit --builder spawn:/usr/local/bin/buildkitd \
  --buildkitd-config /etc/buildkit/buildkitd.toml --report text
