#!/usr/bin/env bash
# The main job on real input: a sample project whose mode=max cache lies in a registry behind an ECR login
# is warmed into an empty state root, looked at from disk, and BuildKit itself then confirms it with the cache's
# registry off. demo.sh [--builder spawn|docker-container]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case "$*" in
  "" | "--builder spawn") builder=spawn ;;
  "--builder docker-container") builder=docker-container ;;
  *) echo "usage: $0 [--builder spawn|docker-container]" >&2; exit 2 ;;
esac
# build: sets up what the demo needs, and builds cachewarm meanwhile.
build() {
  local log setup
  log=$(mktemp)
  # The Debian packages have what cargo needs of C.
  echo "set-up: BuildKit, a registry and moto, and cachewarm itself; some minutes the first time"
  "$here/setup.sh" --packages-demo $builder
  (cd "$here/.." && cargo build --quiet) 2>"$log" &
  setup=$!
  "$here/setup.sh" --demo $builder
  wait $setup || { cat "$log" >&2; exit 1; }
  rm -f "$log"
  echo "set-up took $SECONDS s"
}
if [ $$ != 1 ]; then
  build
fi
# shellcheck source=support/ground.sh
. "$here/support/ground.sh"
alone "$0" "$@"
ip link set lo up
# shellcheck disable=SC1090,SC1091
. "${CACHEWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cachewarm}/env-demo"
target=${CARGO_TARGET_DIR:-$here/../target}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ecr=123456789012.dkr.ecr.eu-west-1.amazonaws.com
cache=$ecr/team/sample:cache

say() { printf '\n== %s\n' "$*"; }

certificates() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=demo authority' \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$ecr" -keyout "$work/ecr.key" -out "$work/ecr.csr" 2>/dev/null
  openssl x509 -req -in "$work/ecr.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 2 -out "$work/ecr.pem" \
    -extfile <(printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$ecr") 2>/dev/null
}

say "A registry behind AWS's login, and a mirror of docker.io"
printf '127.0.0.1 localhost %s\n' "$ecr" >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
certificates
export SSL_CERT_FILE=$work/ca.pem
unset AWS_CA_BUNDLE AWS_PROFILE
export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_ENDPOINT_URL_ECR=http://127.0.0.1:5600
"$MOTO_SERVER" -H 127.0.0.1 -p 5600 >"$work/moto.log" 2>&1 &
ready "moto" answers 127.0.0.1 5600
htpasswd -Bbc "$work/htpasswd" AWS 123456789012-auth-token 2>/dev/null
registry "$work/ecr" 127.0.0.1 443 "  tls: {certificate: $work/ecr.pem, key: $work/ecr.key}
auth: {htpasswd: {realm: 'https://$ecr/', path: $work/htpasswd}}"
ecr_pid=$pid
registry "$work/mirror" 127.0.0.1 5000
cat >"$work/buildkitd.toml" <<END
[registry."docker.io"]
  mirrors = ["127.0.0.1:5000"]
[registry."$ecr"]
  ca = ["$work/ca.pem"]
END
echo "https://$ecr and 127.0.0.1:5000"

say "CI builds the sample and exports its cache, mode=max"
commit=$("$here/support/sample.sh" "$work/sample")
buildkitd "$work/ci" "$work/ci/root" "$work/buildkitd.toml"
ci_pid=$pid
"$here/support/images.sh" "$BUILDCTL" "$DOCKERFILE_FRONTEND" "$work/ci/buildkitd.sock" 127.0.0.1:5000
mkdir "$work/login"
printf '{"auths": {"%s": {"auth": "%s"}}}' "$ecr" "$(printf AWS:123456789012-auth-token | base64)" >"$work/login/config.json"
DOCKER_CONFIG=$work/login "$BUILDCTL" --addr "unix://$work/ci/buildkitd.sock" build --progress=plain \
  --frontend dockerfile.v0 --local context="$work/sample" --local dockerfile="$work/sample" \
  --export-cache "type=registry,mode=max,ref=$cache" >"$work/export.log" 2>&1 || { cat "$work/export.log"; exit 1; }
if [ $builder = docker-container ]; then
  "$here/support/builder-image.sh" "$BUILDKITD" "$BUILDCTL" "$work/ci/buildkitd.sock" 127.0.0.1:5000
fi
stop "$ci_pid"
rm -rf "$work/login" "$work/ci"
echo "commit $commit, cache $cache"

if [ $builder = spawn ]; then
  address=spawn:$BUILDKITD
else
  say "Docker, which pulls BuildKit's image from the mirror"
  export DOCKER_HOST=unix://$work/docker.sock
  "$DOCKERD_20" --data-root "$work/docker" --exec-root "$work/docker-exec" --pidfile "$work/docker.pid" \
    --host "$DOCKER_HOST" --registry-mirror http://127.0.0.1:5000 --bridge=none --iptables=false >"$work/docker.log" 2>&1 &
  docker_pid=$!
  ready "dockerd" docker version
  docker version --format 'Docker {{.Server.Version}}'
  address=docker-container
fi

say "cachewarm warm --builder $builder, on an empty state root"
status=0
"$target/debug/cachewarm" warm --repo "file://$work/sample" --rev "$commit" --cache-from "$cache" \
  --builder "$address" --root "$work/root" --buildkitd-config "$work/buildkitd.toml" \
  --manifest "$work/manifest.json" --report text --report "json=$work/report.json" || status=$?

say "cachewarm check, without a daemon: what lies in the root"
checked=0
"$target/debug/cachewarm" check --quiet --root "$work/root" --buildkitd-config "$work/buildkitd.toml" --cache-from "$cache" \
  --manifest "$work/manifest.json" --deep --report text || checked=$?

say "Proof: the daemon is started again, the cache's registry is off, the mirror's layers are gone"
stop "$ecr_pid"
find "$work/mirror/data" -path '*/blobs/sha256/*' -name data -size +100k -delete
buildkitd "$work/proof" "$work/root" "$work/buildkitd.toml"

failures=0
# check WHAT COMMAND...: PASS or FAIL, by the command.
check() {
  local what=$1
  shift
  if "$@"; then echo "PASS  $what"; else echo "FAIL  $what"; failures=$((failures + 1)); fi
}

# rebuild STAGES FILE: changes the file and builds; afterwards `ran` has the steps that were executed,
# `moved` what was downloaded or unpacked.
rebuild() {
  rm -rf "$work/edited"
  git clone --quiet "$work/sample" "$work/edited"
  echo '# changed' >>"$work/edited/$1"
  "$BUILDCTL" --addr "unix://$work/proof/buildkitd.sock" build --progress=plain --frontend dockerfile.v0 \
    --local context="$work/edited" --local dockerfile="$work/edited" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; return 1; }
  ran=$(awk '$2 ~ /^\[[a-z-]+$/ && $2 != "[internal]" { name[$1] = $2 " " $3 } $2 == "CACHED" { delete name[$1] }
    END { for (id in name) if (name[id] !~ /^\[base 1\//) print name[id] }' "$work/build.log" | sort | xargs)
  moved=$(grep -E '^#[0-9]+ (sha256:|extracting)' "$work/build.log" || true)
}

json() { python3 -c "import json; r = json.load(open('$work/report.json')); print($1)" 2>/dev/null; }
check "cachewarm exits 0 (it exited $status)" [ "$status" = 0 ]
if [ $builder = docker-container ]; then
  check "Docker has no container left" [ -z "$(docker ps --all --quiet)" ]
  stop "$docker_pid"
  # dockerd leaves it mounted.
  umount "$work/docker-exec/netns/default" 2>/dev/null || true
fi
check "verdict warm" [ "$(json 'r["verdict"]')" = warm ]
check "11 of 11 layers extracted" [ "$(json 'r["layers"]["extracted"], r["layers"]["total"]')" = "11 11" ]
check "cachewarm check exits 0 (it exited $checked)" [ "$checked" = 0 ]
check "the cache's registry is off" bash -c "! exec 3<>/dev/tcp/127.0.0.1/443" 2>/dev/null
rebuild tests/test_kernel.py
check "tests/ changed: only [test 1/2] and [test 2/2] run (ran: $ran)" [ "$ran" = "[test 1/2] [test 2/2]" ]
check "tests/ changed: nothing is fetched or unpacked" [ -z "$moved" ]
rebuild csrc/kernel.c
check "csrc/ changed: both [base] steps are cached (ran: $ran)" \
  [ "$ran" = "[build 1/3] [build 2/3] [build 3/3] [test 1/2] [test 2/2] [vllm-base 1/3] [vllm-base 2/3] [vllm-base 3/3]" ]
check "csrc/ changed: nothing is fetched or unpacked" [ -z "$moved" ]

say "$([ "$failures" = 0 ] && echo "PASS: the state root is warm" || echo "FAIL: $failures of the checks above")"
[ "$failures" = 0 ]
