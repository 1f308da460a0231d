#!/usr/bin/env bash
# The last step before the snapshot. The machine's own tools remove what belongs to this machine and its users, then cachewarm
# cleans the state root, searches the machine for the build's secrets, and seals it, or says why not. cachewarm changes nothing
# outside the state root: what else your image has to forget goes into this file. It has warm.sh's variables.
set -euo pipefail
upload=${UPLOAD:-/var/tmp/cachewarm}
# shellcheck source-path=SCRIPTDIR source=../files/secrets.sh
. "$upload/files/secrets.sh"
# The socket as well: it would start the daemon again.
if [ -d /run/systemd/system ]; then
  systemctl stop buildkit.socket buildkit.service
fi
# Nothing of Packer's upload stays on the disk. What CI's bake printed names the secrets to look for, and their files may lie
# beside it: seal reads them in memory.
if [ -n "${CACHEWARM_BAKE:-}" ]; then
  install -d -m 700 /run/cachewarm-upload
  cp -a "$upload/." /run/cachewarm-upload
  export CACHEWARM_BAKE="${CACHEWARM_BAKE/#"$upload"/\/run\/cachewarm-upload}"
fi
cd /
rm -rf "$upload"

if command -v cloud-init >/dev/null; then
  cloud-init clean --logs --machine-id --seed
fi
: >/etc/machine-id
rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed
find /home /root -xdev -maxdepth 2 -type f \( -name '.*_history' -o -name .lesshst -o -name .viminfo \) -delete
find /home /root -xdev -maxdepth 3 -type f -path '*/.ssh/authorized_keys' -delete
find /var/log -xdev -type f -exec truncate -s 0 {} +

cachewarm seal --fix --root /var/lib/buildkit --builder spawn:/usr/local/bin/buildkitd \
  --buildkitd-config /etc/buildkit/buildkitd.toml --report text
