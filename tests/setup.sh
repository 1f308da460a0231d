#!/usr/bin/env bash
# Installs what the tests and the demo run against: Debian's packages (Docker 20.10 and Podman among them), BuildKit,
# buildx, Docker 29, moto, Packer and what its test takes for an instance.
# Pinned, and quick when nothing is to do. Everything that is not a Debian package lives in a cache
# folder outside the tree; its file `env` says where each part is. `setup.sh --packages` stops after the Debian packages.
# `setup.sh --demo` installs what tests/demo.sh needs and nothing else, and its file is `env-demo`.
set -euo pipefail
cd "$(dirname "$0")"

cache=${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}
packages=(runc docker-registry apache2-utils busybox-static git openssl curl ca-certificates iproute2 util-linux gcc libc6-dev
  git-lfs make perl pkg-config python3-venv procps)
more_packages=(docker.io podman zstd e2fsprogs packer openssh-server openssh-client sudo awscli cmark-gfm isal shellcheck strace
  systemd)
moto_version=5.2.5

# fail WHAT COMMAND: what is missing, and the command that would have installed it.
fail() {
  echo "setup: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

debian_packages() {
  local missing
  missing=$(comm -23 <(printf '%s\n' "${packages[@]}" | sort) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p' | sort))
  [ -n "$missing" ] || return 0
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  # No daemon is to start because its package came: docker.io's, openssh-server's.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin $policy
    # The words are meant now.
    # shellcheck disable=SC2064
    trap "$sudo rm -f $policy" EXIT
  fi
  # Word splitting is meant: one argument per package.
  # shellcheck disable=SC2086
  { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing; } >&2 ||
    fail "Debian packages are missing" "${sudo:+sudo }apt-get install --no-install-recommends $(echo $missing)"
}

# go_tools NAME MODULE [LDFLAGS]: builds a tools module's tools, static, once per go.mod and go.sum.
go_tools() {
  local folder
  folder=$cache/$1-$(cat "$2/go.mod" "$2/go.sum" | sha256sum | cut -c1-16)
  if [ ! -d "$folder" ]; then
    command -v go >/dev/null || fail "Go is missing; $1 is built with it" "install Go 1.26 or newer: https://go.dev/doc/install"
    echo "setup: building $1, once; this takes some minutes" >&2
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    (cd "$2" && CGO_ENABLED=0 go build -ldflags "-s -w ${3-}" -o "$folder.part/" tool) >&2 ||
      fail "could not build $1" "cd tests/$2 && CGO_ENABLED=0 go build -o $folder/ tool"
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}

# buildkit_of NAME MODULE: as go_tools; its programs know their version.
buildkit_of() {
  local version
  version=$(sed -n 's/^\tgithub.com\/moby\/buildkit \(v[^ ]*\).*/\1/p' "$2/go.mod")
  go_tools "$1" "$2" "-X github.com/moby/buildkit/version.Version=$version"
}

# cloud_init_schema: of Debian's package, which is not installed: it would take this machine for one that it has to set up.
cloud_init_schema() {
  local folder=$cache/cloud-init
  if [ ! -d "$folder" ]; then
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    # apt's own user may not write here, and says so.
    { (cd "$folder.part" && apt-get download -q -o APT::Sandbox::User=root cloud-init) && dpkg-deb -x "$folder.part"/*.deb "$folder.part"; } >&2 ||
      fail "could not fetch cloud-init's schema" "apt-get update && apt-get download cloud-init"
    rm "$folder.part"/*.deb
    mv "$folder.part" "$folder"
  fi
  find "$folder" -name 'schema-cloud-config-*.json'
}

moto() {
  local folder=$cache/moto-$moto_version
  if [ ! -x "$folder/bin/moto_server" ]; then
    rm -rf "$folder"
    { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "moto[server,ecr]==$moto_version"; } >&2 ||
      fail "could not install moto" "python3 -m venv $folder && $folder/bin/pip install 'moto[server,ecr]==$moto_version'"
  fi
  echo "$folder"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

case "${1-}" in
  --demo | --packages-demo) [ "${2-}" != docker-container ] || packages+=(docker.io) ;;
  *) packages+=("${more_packages[@]}") ;;
esac
debian_packages
if [[ "${1-}" = --packages* ]]; then
  exit 0
fi
buildkit=$(buildkit_of buildkit tools)
if [ "${1-}" = --demo ]; then
  moto=$(moto)
  cat >"$cache/env-demo.part" <<END
BUILDKITD=$buildkit/buildkitd
BUILDCTL=$buildkit/buildctl
DOCKERFILE_FRONTEND=$buildkit/dockerfile-frontend
DOCKERD_20=/usr/sbin/dockerd
MOTO_SERVER=$moto/bin/moto_server
END
  mv "$cache/env-demo.part" "$cache/env-demo"
  exit 0
fi
# What came before v0.33.1 named layers in another way.
older=$(buildkit_of buildkit-older tools-older)
oldest=$(buildkit_of buildkit-oldest tools-oldest)
buildx=$(go_tools buildx tools-buildx)
dockerd=$(go_tools dockerd tools-dockerd)
moto=$(moto)
cloud_init_schema=$(cloud_init_schema)

cat >"$cache/env.part" <<END
BUILDKITD=$buildkit/buildkitd
BUILDCTL=$buildkit/buildctl
DOCKERFILE_FRONTEND=$buildkit/dockerfile-frontend
BUILDKITD_OLDER=$older/buildkitd
BUILDKITD_OLDEST=$oldest/buildkitd
BUILDX=$buildx/buildx
DOCKERD_20=/usr/sbin/dockerd
DOCKERD_29=$dockerd/dockerd
MOTO_SERVER=$moto/bin/moto_server
CLOUD_INIT_SCHEMA=$cloud_init_schema
END
mv "$cache/env.part" "$cache/env"
cat "$cache/env"
