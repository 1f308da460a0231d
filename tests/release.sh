#!/usr/bin/env bash
# Builds the binary that runs on any Linux machine of this one's architecture, static, and prints its path.
#
# The target is musl where rustc has its standard library (`rustup target add $(uname -m)-unknown-linux-musl`, and musl-tools);
# else glibc, static, which resolves names by files and DNS alone. `release.sh --try` tries it in an empty root as well, with a
# buildkitd outside: that needs root, and what `tests/setup.sh --demo` installs.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "release: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

[ -z "$(git status --porcelain)" ] || fail "the tree has changes that no commit names" "commit them, or build in a clean clone"

target=$(uname -m)-unknown-linux-musl
if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
  command -v musl-gcc >/dev/null || fail "musl-gcc is missing" "apt-get install musl-tools"
  export "CC_${target//-/_}=musl-gcc"
else
  target=$(uname -m)-unknown-linux-gnu
  echo "release: rustc has no standard library for musl here; building for $target, static" >&2
fi
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target "$target" >&2
binary=${CARGO_TARGET_DIR:-target}/$target/release/cachewarm
# readelf names the loader of a binary that needs one.
! readelf --program-headers --wide "$binary" | grep -q INTERP || fail "$binary is not static" "look at what links to libc"
echo "release: $(stat -c %s "$binary") bytes" >&2
echo "$binary"
[ "${1-}" = --try ] || exit 0

[ "$(id -u)" = 0 ] || fail "the trial needs root" "sudo -E $0 --try"
tests/setup.sh --demo >&2
# shellcheck disable=SC1091
. "${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}/env-demo"
jail=$(mktemp -d)
daemon=
# shellcheck disable=SC2317
finish() {
  [ -z "$daemon" ] || kill "$daemon" || true
  wait
  umount -q "$jail/proc" || true
  rm -rf "$jail"
}
trap finish EXIT
mkdir -p "$jail"/{proc,tmp,run,root,etc/ssl/certs,context,var/lib/buildkit}
install "$binary" "$jail/cachewarm"
cp /etc/ssl/certs/ca-certificates.crt "$jail/etc/ssl/certs/"
mount -t proc proc "$jail/proc"
inside() { env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$jail" /cachewarm "$@"; }

inside --version | grep -F "$(git log -1 --format='%h %cs') $target" >&2
printf 'FROM scratch AS base\nCOPY file /first\nFROM base\nCOPY file /second\n' >"$jail/context/Dockerfile"
echo text >"$jail/context/file"
"$BUILDKITD" --config /dev/null --root "$jail/var/lib/buildkit" --addr "unix://$jail/run/buildkitd.sock" >"$jail/log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
  [ ! -S "$jail/run/buildkitd.sock" ] || break
  sleep 0.1
done
inside warm /context --builder unix:///run/buildkitd.sock --root /var/lib/buildkit --manifest /manifest.json --min-hit-rate 0 >&2 ||
  { cat "$jail/log" >&2; fail "the static binary does not warm a daemon outside its root" "look at what both said"; }
inside check --root /var/lib/buildkit --manifest /manifest.json >&2
