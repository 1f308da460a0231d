#!/usr/bin/env bash
# What the lanes of tests/packer.sh share, made once: seed.sh WORK. Into WORK go the certificates of the lab, BuildKit's
# release archive, the project as a bare repository with its branches, and the data of a registry with the project's base image
# and the mode=max cache that its CI exports.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../support/ground.sh
. "$here/support/ground.sh"
alone "$0" "$@"
ip link set lo up
work=$1
ecr=123456789012.dkr.ecr.eu-west-1.amazonaws.com
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

# certificates: of the names that front.py answers to; `bundle.pem` has the lab's authority only.
certificates() {
  local names
  names=$(printf 'DNS:%s,' "$ecr" '*.amazonaws.com' '*.eu-west-1.amazonaws.com' '*.ecr.eu-west-1.amazonaws.com' \
    '*.s3.eu-west-1.amazonaws.com' github.com)
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=lab authority' -keyout "$work/ca.key" \
    -out "$work/bundle.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=lab -keyout "$work/front.key" -out "$work/front.csr" 2>/dev/null
  openssl x509 -req -in "$work/front.csr" -CA "$work/bundle.pem" -CAkey "$work/ca.key" -days 2 -out "$work/front.pem" \
    -extfile <(printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "${names%,}") 2>/dev/null
  printf '%s ' "$ecr" github.com {api.ecr,ec2,iam,ssm,sts}.eu-west-1.amazonaws.com {iam,sts}.amazonaws.com \
    prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com >"$work/names"
}

# release: as GitHub has it.
release() {
  mkdir -p "$work/release/bin"
  ln "$BUILDKITD" "$BUILDCTL" "$work/release/bin/" 2>/dev/null || cp "$BUILDKITD" "$BUILDCTL" "$work/release/bin/"
  local version
  version=$("$BUILDKITD" --version | awk '{ print $3 }')
  tar -C "$work/release" -I 'gzip -1' -cf "$work/release/buildkit-$version.linux-amd64.tar.gz" bin
  rm -rf "$work/release/bin"
}

# branch NAME: a branch off main whose content is the work tree's.
branch() {
  git -C "$work/project" checkout -q -B "$1"
  git -C "$work/project" add -A
  git -C "$work/project" commit -qm "$1"
  git -C "$work/project" push -q "$work/git/you/project" "$1"
  git -C "$work/project" checkout -q main
}

# leaky NAME LINE FILE=CONTENT...: a branch whose last stage has one line more, and files.
leaky() {
  local name=$1 file
  echo "$2" >>"$work/project/Dockerfile"
  for file in "${@:3}"; do
    printf '%s' "${file#*=}" >"$work/project/${file%%=*}"
  done
  branch "$name"
}

project() {
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@example.com
  export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@example.com
  umask 022
  cp -R "$here/packer/project" "$work/project"
  git init -q --bare -b main "$work/git/you/project"
  git -C "$work/project" init -q -b main
  git -C "$work/project" add -A
  git -C "$work/project" commit -qm 'Three stages'
  git -C "$work/project" push -q "$work/git/you/project" main
  # shellcheck source-path=SCRIPTDIR source=leaks.sh
  . "$here/packer/leaks.sh"
  echo 'int kernel(void) { return 2; }' >"$work/project/src/kernel.c"
  branch changed
}

# cache: CI's build, by the names that its images have.
cache() {
  printf '127.0.0.1 localhost %s\n' "$ecr" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  registry "$work/registry" 127.0.0.1 80
  # shellcheck disable=SC2154
  local registry_pid=$pid
  printf '[registry."%s"]\n  http = true\n' "$ecr" >"$work/ci.toml"
  buildkitd "$work/ci" "$work/ci/root" "$work/ci.toml"
  mkdir -p "$work/busybox/bin"
  cp "$(command -v busybox)" "$work/busybox/bin/"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$work/busybox/bin/$applet"
  done
  printf 'FROM scratch\nCOPY busybox /\n' >"$work/Dockerfile"
  build --local context="$work" --local dockerfile="$work" --output "type=image,name=$ecr/ci/busybox:1.35,push=true"
  build --local context="$work/project" --local dockerfile="$work/project" --opt target=test --opt build-arg:VERSION=1,2 \
    --export-cache "type=registry,mode=max,ref=$ecr/ci/cache:main"
  stop "$pid" "$registry_pid"
  rm -rf "$work/ci" "$work/busybox"
}

build() {
  "$BUILDCTL" --addr "unix://$work/ci/buildkitd.sock" build --progress=plain --frontend dockerfile.v0 "$@" >"$work/ci/log" 2>&1 ||
    { cat "$work/ci/log" >&2; exit 1; }
}

certificates
release
project
cache
