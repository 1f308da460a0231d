# shellcheck shell=bash disable=SC2154,SC2034,SC2016
# Sourced by lane.sh: the cases of tests/packer.sh. A case is a function `case-NAME`, which says `succeeds` or `fails` once, with
# what differs from the example's settings; or a line of the table of secrets.

cache=123456789012.dkr.ecr.eu-west-1.amazonaws.com/ci/cache:main

# cases: their names.
cases() {
  declare -F | sed -n 's/^declare -f case-//p'
  secrets | awk '{ print $1 }'
}

case-good() {
  succeeds -var custom_endpoint_ec2=http://127.0.0.1:5600 -var 'builder_users=["ubuntu"]' -var 'tags={Team="ci"}'
  is_an_ami
  is_a_warm_machine
}

case-private-repository() {
  succeeds -var repo=https://github.com/private/project -var 'secret_parameters={CACHEWARM_GIT_TOKEN="/ci/git-token"}'
}

# What is uploaded rather than named: CI's bake, BuildKit's archive, another buildkitd.toml.
case-uploads() {
  cat >"$folder/bake.json" <<'END'
{"group": {"default": {"targets": ["test"]}},
 "target": {"test": {"context": ".", "dockerfile": "Dockerfile", "target": "test", "args": {"VERSION": "1,2"}}}}
END
  echo 'root = "/var/lib/buildkit"' >"$folder/ours.toml"
  succeeds -var bake_file="$folder/bake.json" -var 'targets=[]' -var 'build_args={}' -var buildkitd_config="$folder/ours.toml" \
    -var buildkit_url=https://nowhere.invalid/ -var buildkit_archive="$(ls "$work"/release/buildkit-*)"
  holds "buildkitd.toml is ours" inside grep -q '^root' /etc/buildkit/buildkitd.toml
}

case-expired-token() {
  touch "$lane/front/token-expired"
  fails 'token has expired'
}

case-missing-donor() {
  fails 'cannot use the cache .*ci/cache:nowhere.* does not have the manifest' -var "cache_from=[\"${cache%:*}:nowhere\"]"
}

case-low-hit-rate() {
  fails 'fewer than the 99.0 % asked for' -var rev=changed -var min_hit_rate=0.99
}

case-further-setting() {
  fails 'no cache has .*, and --on-miss fail forbids to run it' -var rev=changed -var 'settings={"on-miss"="fail"}'
}

case-running-buildkitd() {
  fails 'buildkitd .process [0-9]+. holds /var/lib/buildkit' -var 'commands_before_seal=["setsid buildkitd >/dev/null 2>&1 </dev/null &",
    "for attempt in $(seq 100); do [ ! -S /run/buildkit/buildkitd.sock ] || break; sleep 0.1; done"]'
}

case-truncated-solver-database() {
  fails 'damaged: .*/cache\.db' -var 'commands_before_seal=["truncate -s 8192 /var/lib/buildkit/cache.db"]'
}

case-truncated-metadata() {
  fails 'damaged: .*/metadata_v2\.db' -var 'commands_before_seal=["truncate -s 8192 /var/lib/buildkit/runc-overlayfs/metadata_v2.db"]'
}

case-full-disk() {
  truncate -s 3M "$lane/disk"
  mkfs.ext4 -q -m 0 -O ^has_journal "$lane/disk"
  disk=$lane/disk
  fails 'o space left on device'
}

# Nothing outside the state root is cleaned: it is named.
case-temporary-files() {
  fails '/tmp/dump.*CACHEWARM_GIT_TOKEN' -var 'secret_parameters={CACHEWARM_GIT_TOKEN="/ci/git-token"}' \
    -var 'commands_before_seal=["cat /run/lab/secret | tee /tmp/dump /var/tmp/dump >/dev/null"]'
}

# BuildKit keeps a copy of the build's directory; no layer has what is only read there.
case-context() {
  succeeds -var rev=context-only -var min_hit_rate=0.5 -var 'secret_parameters={CACHEWARM_GIT_TOKEN="/ci/git-token"}'
  holds "no file of the root has it" inside sh -c '! grep -raFl -f /run/lab/secret /var/lib/buildkit /var/lib/cachewarm'
}

# What a step put into a cache mount is in no layer either.
case-cache-mount() {
  succeeds -var rev=cache-mount -var min_hit_rate=0.5 -var 'secrets=["id=npm,env=NPM_TOKEN"]' \
    -var 'secret_parameters={NPM_TOKEN="/ci/npm-token"}'
  holds "no file of the root has it" inside sh -c '! grep -raFl npm-secret- /var/lib/buildkit /var/lib/cachewarm'
}

case-wrong-checksum() {
  fails "SHA-256 of BuildKit's archive" -var buildkit_sha256="$(printf '%064d' 1)"
}

case-unreadable-secret() {
  fails 'ssm:GetParameter' -var 'secret_parameters={CACHEWARM_GIT_TOKEN="/ci/no-such"}'
}

# Every command of the README, as it stands; then what was asked of AWS is held against the policies that it gives.
case-readme() {
  start_instance
  awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$here/../packer/README.md" >"$folder/commands"
  : >"$lane/front/calls"
  (cd "$lane/checkout" && bash -euxo pipefail "$folder/commands" <<<"$GIT_TOKEN")
  name=cachewarm is_tidy
  holds "one image is there" [ "$(name=cachewarm amis | wc -l)" = 1 ]
  python3 "$here/packer/policies.py" "$lane/front/calls" "$here/../packer/iam"
}

case-image-builder() {
  start_instance
  archive | inside sh -c 'cat >/var/tmp/cachewarm.tar.gz'
  document image-builder "$here/../packer/image-builder/component.yml" Repo=https://github.com/you/project Target=test \
    BuildArgs=VERSION=1,2 "CacheFrom=$cache" "BuildkitSha256=$sum" | inside bash -euo pipefail
  holds "the machine is sealed" inside test -s /var/lib/cachewarm/sealed.json
}

case-cloud-init() {
  start_instance
  archive >"$work/release/cachewarm.tar.gz"
  document cloud-init "$here/../packer/cloud-init/user-data.yml" "BUILDKIT_SHA256=$sum" CACHEWARM_BUILD_ARG=VERSION=1,2 \
    ARCHIVE=https://github.com/moby/buildkit/releases/download/lab/cachewarm.tar.gz \
    "ARCHIVE_SHA256=$(sha256sum "$work/release/cachewarm.tar.gz" | cut -d' ' -f1)" | inside bash -euo pipefail
  holds "the machine is sealed" inside test -s /var/lib/cachewarm/sealed.json
}

case-signature() {
  "$(dirname "$MOTO_SERVER")/python" "$here/packer/signature.py" "$here/../packer/files"
}

case-scripts() {
  (cd "$here/.." && shellcheck -x packer/scripts/*.sh packer/files/*.sh tests/packer.sh tests/packer/*.sh)
}

document() { "$(dirname "$MOTO_SERVER")/python" "$here/packer/documents.py" "$@"; }

# archive: as the README makes it.
archive() { (cd "$lane/checkout" && tar -cz --dereference -C packer files scripts -C ../target/release cachewarm); }

# secrets: a case a line. NAME BRANCH PLACE, where the seal must have found the secret and as what, and a command that leaves
# it there, in which @ is that command's word for the secret.
secrets() {
  cat <<'END'
layer-plain        layer-plain        fs/npmrc:.*npm,.as.it.is
layer-base64       layer-base64       fs/npmrc:.*npm,.in.base64
layer-gzip         layer-gzip         fs/npmrc.gz:.*npm,
layer-argument     layer-argument     fs/npmrc:.*NPM_TOKEN,.as.it.is
layer-copy         layer-copy         fs/etc/token:.*CACHEWARM_GIT_TOKEN,.as.it.is
layer-copy-base64  layer-copy-base64  fs/etc/token:.*CACHEWARM_GIT_TOKEN,.in.base64
step-name          step-name          metadata_v2.db:.*NPM_TOKEN
home-notes         main  /home/ubuntu/notes:     echo clone with @ >/home/ubuntu/notes
root-script        main  /root/deploy:           echo curl -H "token: @" >/root/deploy
home-base64        main  /home/ubuntu/token.b64: printf %s @ | base64 -w0 >/home/ubuntu/token.b64
etc-default        main  /etc/default/agent:     echo TOKEN=@ >/etc/default/agent
etc-gzip           main  /etc/agent.gz:          printf %s @ | gzip >/etc/agent.gz
opt-agent          main  /opt/agent/agent.cfg:   mkdir -p /opt/agent && echo token=@ >/opt/agent/agent.cfg
opt-gzip           main  /opt/agent/agent.cfg:   mkdir -p /opt/agent && printf 'token=%s' @ | gzip >/opt/agent/agent.cfg
srv                main  /srv/token:             echo @ >/srv/token
usr                main  /usr/lib/agent/token:   mkdir -p /usr/lib/agent && echo @ >/usr/lib/agent/token
srv-base64         main  /srv/token:             printf %s @ | base64 >/srv/token
home-aws-key       main  /home/ubuntu/readme:    echo key AKIA"IOSFODNN7"EXAMPLQ >/home/ubuntu/readme
home-github-token  main  /root/todo:             echo ghp_"16C7e42F292c6912E7710c838347Ae178B4a" >/root/todo
home-ecr-token     main  /home/ubuntu/login:     printf AWS:%s $(head -c 1500 /dev/urandom | base64 -w0) | base64 -w0 >/home/ubuntu/login
home-jwt           main  /home/ubuntu/signed-in: echo eyJ"hbGciOiJIUzI1NiJ9".eyJ"zdWIiOiIxMjM0NTY3ODkwIn0".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P >/home/ubuntu/signed-in
END
}

# secret NAME: the case of that line.
secret() {
  local branch place command
  read -r _ branch place command < <(secrets | awk -v name="$1" '$1 == name')
  # The machine's own word for the secret: no argument of any program has it.
  command=$(sed 's/@/$(cat \/run\/lab\/secret)/; s/["\\]/\\&/g' <<<"$command")
  local settings=(-var "rev=$branch" -var min_hit_rate=0.5 -var 'secrets=["id=npm,env=NPM_TOKEN"]'
    -var 'secret_parameters={CACHEWARM_GIT_TOKEN="/ci/git-token", NPM_TOKEN="/ci/npm-token"}')
  case $1 in
    layer-argument | step-name) settings+=(-var "build_args={VERSION=\"1,2\", NPM_TOKEN=\"$NPM_TOKEN\"}") ;;
  esac
  fails "$place" "${settings[@]}" -var "commands_before_seal=[\"$command\"]"
}

