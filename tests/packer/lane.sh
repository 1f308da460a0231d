#!/usr/bin/env bash
# One lane of tests/packer.sh: AWS, ECR and GitHub on loopback, then case after case: lane.sh WORK NUMBER [CASE...].
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../support/ground.sh
. "$here/support/ground.sh"
alone "$0" "$@"
work=$1 lane=$1/lane-$2
shift 2
mkdir -p "$lane/home" "$lane/tmp"
: >"$lane/passed"
: >"$lane/failed"
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

# Every address is this machine's: whatever address EC2 says an instance has, its sshd answers there.
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip address add 169.254.169.254/32 dev lo
printf '127.0.0.1 localhost %s %s\n' "$(hostname)" "$(cat "$work/names")" >"$lane/hosts"
mount --bind "$lane/hosts" /etc/hosts

# The environment of the person who runs Packer.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_DEFAULT_REGION AWS_REGION
export HOME=$lane/home TMPDIR=$lane/tmp CHECKPOINT_DISABLE=1 PACKER_CACHE_DIR=$lane/tmp PACKER_NO_COLOR=1
export AWS_ACCESS_KEY_ID=lab-caller-key AWS_SECRET_ACCESS_KEY=lab-caller-secret
export SSL_CERT_FILE=$work/bundle.pem AWS_CA_BUNDLE=$work/bundle.pem CURL_CA_BUNDLE=$work/bundle.pem
unset SSL_CERT_DIR

# api SERVICE ARGUMENTS...: a call of moto's, with curl: its command line tool takes a second to start.
api() {
  curl -sS --fail-with-body http://127.0.0.1:5600/ "${@:2}" \
    -H "Authorization: AWS4-HMAC-SHA256 Credential=lab/20260101/eu-west-1/$1/aws4_request, SignedHeaders=host, Signature=00"
}

# ec2 ACTION [PARAMETER...]: the answer, XML.
ec2() {
  local parameter parameters=()
  for parameter in "${@:2}"; do parameters+=(--data-urlencode "$parameter"); done
  api ec2 -d "Action=$1" -d Version=2016-11-15 "${parameters[@]}"
}

# services: moto with what an account has, the registry with its blobs in moto's S3, and the front.
services() {
  cat >"$lane/amis.json" <<'END'
[{"ami_id": "ami-0a1b2c3d4e5f60718", "name": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101",
  "description": "Canonical, Ubuntu, 24.04, amd64 noble image", "owner_id": "099720109477", "public": true, "state": "available",
  "virtualization_type": "hvm", "architecture": "x86_64", "root_device_name": "/dev/sda1", "root_device_type": "ebs",
  "hypervisor": "xen", "platform": null, "image_type": "machine", "creation_date": "2026-01-01T00:00:00.000Z",
  "image_location": "amazon/noble", "sriov": "simple"}]
END
  env -u AWS_CA_BUNDLE MOTO_AMIS_PATH="$lane/amis.json" "$MOTO_SERVER" -H 127.0.0.1 -p 5600 >"$lane/moto.log" 2>&1 &
  ready moto curl -sf http://127.0.0.1:5600/moto-api/
  api iam -d 'Action=CreateInstanceProfile&Version=2010-05-08&InstanceProfileName=lab' >/dev/null
  for secret in "git-token $GIT_TOKEN" "npm-token $NPM_TOKEN"; do
    api ssm -H 'X-Amz-Target: AmazonSSM.PutParameter' -H 'Content-Type: application/x-amz-json-1.1' \
      -d "{\"Name\": \"/ci/${secret% *}\", \"Value\": \"${secret#* }\", \"Type\": \"SecureString\"}" >/dev/null
  done
  "$(dirname "$MOTO_SERVER")/python" - "$work/registry/data" <<'END'
import boto3, pathlib, sys
s3 = boto3.client("s3", endpoint_url="http://127.0.0.1:5600", region_name="eu-west-1", verify=False)
bucket = "prod-eu-west-1-starport-layer-bucket"
s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
root = pathlib.Path(sys.argv[1])
for file in root.rglob("*"):
    if file.is_file():
        s3.put_object(Bucket=bucket, Key=str(file.relative_to(root)), Body=file.read_bytes())
END
  htpasswd -Bbc "$lane/htpasswd" AWS 123456789012-auth-token 2>/dev/null
  cat >"$lane/registry.yml" <<END
version: 0.1
log: {level: warn}
storage:
  s3: {accesskey: lab, secretkey: lab, region: eu-west-1, regionendpoint: "http://127.0.0.1:5600", secure: false, v4auth: true,
    forcepathstyle: true, bucket: prod-eu-west-1-starport-layer-bucket}
  redirect: {disable: false}
http: {addr: "127.0.0.1:5610"}
auth: {htpasswd: {realm: "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/", path: $lane/htpasswd}}
END
  env -u AWS_CA_BUNDLE docker-registry serve "$lane/registry.yml" >"$lane/registry.log" 2>&1 &
  ready "the registry" answers 127.0.0.1 5610
  mkdir "$lane/front"
  ln -s "$work"/{git,release,front.pem,front.key} "$lane/front/"
  "$here/packer/front.py" "$lane/front" >"$lane/front.log" 2>&1 &
  ready "the front" answers 127.0.0.1 443
}

# A checkout as a person has it who uses Packer 1.6.6: without what only newer ones know.
checkout() {
  mkdir -p "$lane/checkout/target/release"
  cp -R "$here/../packer" "$lane/checkout/"
  rm "$lane/checkout/packer/plugins.pkr.hcl"
  sed -i '/since 1.7 {$/,/since 1.7 }$/d' "$lane/checkout/packer/cachewarm.pkr.hcl"
  ln -s "$CACHEWARM_BINARY" "$lane/checkout/target/release/cachewarm"
}

# shellcheck source-path=SCRIPTDIR source=run.sh
. "$here/packer/run.sh"
# shellcheck source-path=SCRIPTDIR source=cases.sh
. "$here/packer/cases.sh"
# shellcheck disable=SC2034
sum=$(sha256sum "$work"/release/buildkit-*.tar.gz | cut -d' ' -f1)
services
checkout
watch_arguments &
if [ $# = 0 ]; then
  # shellcheck disable=SC2046
  set -- $(cases)
fi
for name; do
  mkdir "$work/taken/$name" 2>/dev/null || continue
  run "$name"
done
nothing_is_left
