#!/usr/bin/env bash
# Puts cachewarm, buildkitd, runc and igzip on this machine, and units that the next boot starts. Nothing is started now:
# `cachewarm warm` has a buildkitd of its own on the state root, and seal wants none.
#
# In the folder UPLOAD: the binary `cachewarm`, and files/. BUILDKIT_VERSION and BUILDKIT_SHA256 say which BuildKit; it comes
# from the file BUILDKIT_ARCHIVE, else from BUILDKIT_URL, else from GitHub. BUILDKITD_CONFIG is another buildkitd.toml.
# BUILDER_USERS may use the daemon.
set -euo pipefail
umask 022
upload=${UPLOAD:-/var/tmp/cachewarm}
files=$upload/files

fail() {
  echo "install: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) fail "there is no BuildKit for $(uname -m)" "use an x86_64 or an arm64 machine" ;;
esac

# An image that has BuildKit already may be running it: the root must be free.
if [ -d /run/systemd/system ]; then
  for unit in buildkit.socket buildkit.service; do
    systemctl stop "$unit" 2>/dev/null || true
  done
fi

echo "== packages"
packages=()
command -v curl >/dev/null || packages+=(curl ca-certificates)
command -v setpriv >/dev/null || packages+=(util-linux)
# Docker's own packages bring a runc, which Debian's would replace.
command -v runc >/dev/null || packages+=(runc)
# Unpacks gzip layers about three times as fast as BuildKit's own reader; BuildKit uses it where it is in PATH.
command -v igzip >/dev/null || packages+=(isal)
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "${packages[*]}: missing, and there is no apt-get" "have the source AMI bring them"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}"
fi

echo "== BuildKit $BUILDKIT_VERSION"
archive=${BUILDKIT_ARCHIVE:-}
download=$(mktemp -d -p /var/tmp)
trap 'rm -rf "$download"' EXIT
if [ -z "$archive" ]; then
  release=https://github.com/moby/buildkit/releases/download/$BUILDKIT_VERSION
  url=${BUILDKIT_URL:-$release/buildkit-$BUILDKIT_VERSION.linux-$architecture.tar.gz}
  archive=$download/buildkit.tar.gz
  curl -fsSL --retry 5 --retry-connrefused -o "$archive" "$url" ||
    fail "could not download $url" "check BUILDKIT_URL and the machine's way out, or upload it: -var buildkit_archive=FILE"
fi
sum=$(sha256sum "$archive" | cut -d' ' -f1)
[ "$sum" = "$BUILDKIT_SHA256" ] ||
  fail "the SHA-256 of BuildKit's archive is $sum, not $BUILDKIT_SHA256" \
    "check the version and the architecture ($architecture) that the sum is for"
tar -xzf "$archive" -C "$download" --no-same-owner
for program in buildkitd buildctl buildkit-runc; do
  if [ -f "$download/bin/$program" ]; then
    install -m 755 "$download/bin/$program" "/usr/local/bin/$program"
  fi
done

echo "== cachewarm, units, settings"
install -m 755 "$upload/cachewarm" /usr/local/bin/cachewarm
install -d -m 755 /etc/buildkit /var/lib/cachewarm
install -m 644 "${BUILDKITD_CONFIG:-$files/buildkitd.toml}" /etc/buildkit/buildkitd.toml
install -m 644 "$files"/systemd/* /etc/systemd/system/
getent group buildkit >/dev/null || groupadd --system buildkit
systemctl enable --quiet buildkit.socket buildkit.service
for user in ${BUILDER_USERS:-}; do
  id "$user" >/dev/null 2>&1 || fail "there is no user $user" "name in builder_users only users the image has by now"
  usermod --append --groups buildkit "$user"
  systemctl enable --quiet "buildx-builder@$user.service"
done
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi

echo "== check"
for program in cachewarm buildkitd buildctl runc igzip; do
  printf '%-10s ' "$program"
  "$program" --version | head -1
done
version=$(buildkitd --version | awk '{ print $3 }')
[ "$version" = "$BUILDKIT_VERSION" ] ||
  fail "the archive has buildkitd $version, not $BUILDKIT_VERSION" "make buildkit_version and buildkit_sha256 those of one release"
