# shellcheck shell=bash disable=SC2154,SC2016
# Sourced by lane.sh, which sets what is not set here: how a case is run, and what is held against it.

# run NAME: the case, and a line about it.
run() {
  name=$1
  folder=$lane/cases/$name
  local begin=$SECONDS status=0
  mkdir -p "$folder"
  (
    set -eE
    trap stop_instance EXIT
    trap 'echo "NOT SO: line $LINENO: $BASH_COMMAND"' ERR
    if declare -F "case-$name" >/dev/null; then "case-$name"; else secret "$name"; fi
  ) >"$folder/log" 2>&1 &
  wait $! || status=$?
  rm -f "$lane/front/token-expired"
  if [ $status = 0 ]; then
    echo "$name" >>"$lane/passed"
    echo "ok    $name ($((SECONDS - begin)) s)"
  else
    echo "$name" >>"$lane/failed"
    { echo "FAIL  $name ($((SECONDS - begin)) s)"; sed 's/^/      /' "$folder/log"; }
  fi
  [ -n "${CACHEWARM_KEEP:-}" ] || rm -rf "$folder"
}

# holds WHAT COMMAND...: it succeeds, or the case ends here.
holds() {
  "${@:2}" || { echo "NOT SO: $1"; exit 1; }
}

# start_instance: what EC2 would start; its sshd answers at every address.
start_instance() {
  mkdir -p "$folder/instance"
  cp "$work/names" "$work/bundle.pem" "$folder/"
  unshare --mount --pid --fork --kill-child=KILL "$here/packer/instance.sh" "$folder/instance" ${disk:+"$disk"} \
    >"$folder/instance.log" 2>&1 &
  instance=$!
  until answers 127.0.0.1 22 2>/dev/null; do
    kill -0 "$instance" 2>/dev/null || { cat "$folder/instance.log"; exit 1; }
    sleep 0.1
  done
  init=$(pgrep -P "$instance")
  inside sh -c 'cat >/run/lab/secret' <<<"$GIT_TOKEN"
}

# inside COMMAND...: in the instance, as root.
inside() {
  nsenter --target "$init" --mount --pid env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

stop_instance() {
  if [ -n "${init:-}" ]; then
    kill -KILL "$init"
    wait "$instance" || true
    init=
  fi
}

# packs ARGUMENTS...: `packer build` with the example's settings and these; the exit code is Packer's.
packs() {
  start_instance
  rm -f "$folder"/{manifest,sealed}.json
  sed "s/^buildkit_sha256 .*/buildkit_sha256 = \"$sum\"/; s/\"cachewarm\"/\"lab\"/" \
    "$lane/checkout/packer/example.pkrvars.hcl" >"$folder/case.pkrvars.hcl"
  (cd "$lane/checkout" && packer build -color=false -var-file="$folder/case.pkrvars.hcl" -var ami_prefix="$name" \
    -var output_dir="$folder" "$@" packer)
}

# amis: the ids of the case's images.
amis() {
  { ec2 DescribeImages Owner.1=self Filter.1.Name=name "Filter.1.Value.1=$name-*"; echo; } | sed 's/<imageId>/\n&/g' |
    sed -nE 's/^<imageId>([^<]+).*/\1/p'
}

# Nothing of the build is left in the account but an image.
is_tidy() {
  local states
  states=$(ec2 DescribeInstances Filter.1.Name=tag:Name "Filter.1.Value.1=Packer: $name-*" |
    grep -oE '<name>(pending|running|shutting-down|terminated|stopping|stopped)<' | sort -u)
  holds "the instance is terminated, not: $states" [ "$states" = '<name>terminated<' ]
  holds "no key pair is left" nothing 'ec2 DescribeKeyPairs' '<keyName>'
  holds "no security group is left" nothing 'ec2 DescribeSecurityGroups' '<groupName>packer'
}

# nothing COMMAND PATTERN: no line of what the command prints has it.
nothing() { ! $1 | grep -oE "$2"; }

succeeds() {
  packs "$@"
  is_tidy
  holds "one image is there: $(amis | xargs)" [ "$(amis | wc -l)" = 1 ]
  holds "Packer's manifest names it" grep -q ":$(amis)\"" "$folder/manifest.json"
  processes=$(inside ps -eo pid=,args= | grep -vE '^ +1 |ps -eo' || true)
  holds "only sshd runs on the machine, not: $processes" [ -z "$processes" ]
}

# fails PATTERN ARGUMENTS...: Packer fails, its output has the pattern, and nothing is left.
fails() {
  local status=0
  packs "${@:2}" >"$folder/packer.log" 2>&1 || status=$?
  cat "$folder/packer.log"
  holds "Packer fails" [ $status != 0 ]
  holds "the cause is named: $1" grep -qE "$1" "$folder/packer.log"
  holds "there is no image: $(amis | xargs)" [ -z "$(amis)" ]
  is_tidy
}

# is_an_ami: as people look for it: tags on the image and on its snapshot.
is_an_ami() {
  local tags tag
  tags=$(ec2 DescribeTags Filter.1.Name=resource-id "Filter.1.Value.1=$(amis)" |
    grep -oE '<(key|value)>[^<]*' | sed 's/^<value>/=/; s/^<key>/\n/' | tr -d '\n' | sed 's/cachewarm:/\n&/g')
  echo "$tags"
  for tag in "cachewarm:commit=$(git -C "$work/git/you/project" rev-parse main)" 'cachewarm:hit-rate=1' 'cachewarm:rev=main' \
    'cachewarm:manifest=sha256:' 'SourceAMI=ami-0a1b2c3d4e5f60718' 'Team=ci'; do
    holds "tag $tag" grep -qF "$tag" <<<"$tags"
  done
  snapshot=$(ec2 DescribeImages Owner.1=self "Filter.1.Name=name" "Filter.1.Value.1=$name-*" | grep -oE 'snap-[0-9a-f]+' | head -1)
  holds "the snapshot $snapshot has the tags" grep -q 'cachewarm:manifest' \
    <(ec2 DescribeTags Filter.1.Name=resource-id "Filter.1.Value.1=$snapshot")
}

# is_a_warm_machine: what would start from the image.
is_a_warm_machine() {
  holds "the units are sound" inside systemd-analyze verify --man=no buildkit.service buildkit.socket \
    buildx-builder@ubuntu.service
  holds "the units start at boot" inside test -L /etc/systemd/system/sockets.target.wants/buildkit.socket \
    -a -L /etc/systemd/system/multi-user.target.wants/buildx-builder@ubuntu.service
  holds "no key is left" inside test ! -s /home/ubuntu/.ssh/authorized_keys
  holds "nothing of the build is left" inside sh -c '[ -z "$(find /var/tmp /root/.aws /root/.docker -type f 2>/dev/null)" ]'
  holds "nothing is mounted in the root" nothing 'inside cat /proc/self/mounts' '/var/lib/buildkit/'
  holds "garbage collection keeps it" inside cachewarm check --quiet --buildkitd-config /etc/buildkit/buildkitd.toml \
    --require kept=100%
  holds "smoke finds it warm" inside env VERSION=1,2 cachewarm smoke --quiet --repo https://github.com/you/project --rev main \
    --target test --build-arg VERSION --builder spawn --report text
  holds "a daemon starts on it" inside sh -c 'buildkitd >/run/log 2>&1 & daemon=$!
    for attempt in $(seq 100); do buildctl debug workers >/dev/null 2>&1 && break; sleep 0.1; done
    buildctl debug workers; code=$?; kill $daemon; wait $daemon; exit $code'
}

# watch_arguments: notes whenever the git token stands in a process list, where every user could read it.
watch_arguments() {
  echo "$GIT_TOKEN" >"$lane/pattern"
  while sleep 0.1; do
    grep -aF -f "$lane/pattern" /proc/[0-9]*/cmdline >>"$lane/seen" 2>/dev/null || true
  done
}

# nothing_is_left: of the lane, once its services have stopped.
nothing_is_left() {
  if [ -s "$lane/seen" ]; then
    echo "FAIL  the git token stood in a process list: $(tr '\0' ' ' <"$lane/seen")"
    echo arguments >>"$lane/failed"
  fi
  # shellcheck disable=SC2046
  kill $(jobs -p)
  wait
  local left
  # shellcheck disable=SC2009
  left=$(ps -eo pid=,args= | grep -vE "^ +(1|$BASHPID) |ps -eo|grep|^ +[0-9]+ bash .*lane\.sh" || true)
  [ -z "$left" ] || { echo "FAIL  processes are left: $left"; echo processes >>"$lane/failed"; }
  left=$(grep "$work" /proc/self/mounts | grep -v ' /etc/hosts ' || true)
  [ -z "$left" ] || { echo "FAIL  mounts are left: $left"; echo mounts >>"$lane/failed"; }
  left=$(ss -Hltnx 2>/dev/null || true)
  [ -z "$left" ] || { echo "FAIL  sockets are left: $left"; echo sockets >>"$lane/failed"; }
}
