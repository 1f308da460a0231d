#!/usr/bin/env bash
# Pushes the two images every sample build names: busybox:1.35, made from this machine's busybox, and the
# Dockerfile frontend as docker/dockerfile:1. images.sh BUILDCTL DOCKERFILE_FRONTEND SOCKET REGISTRY
set -euo pipefail
buildctl=$1 frontend=$2 socket=$3 registry=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 022

# push NAME: builds FOLDER/NAME, by BuildKit's own frontend, into the registry.
push() {
  "$buildctl" --addr "unix://$socket" build --progress=plain --frontend dockerfile.v0 \
    --local context="$folder/$1" --local dockerfile="$folder" --opt filename="$1.Dockerfile" \
    --output type=image,name="$registry/$2",push=true,registry.insecure=true >"$folder/log" 2>&1 ||
    { cat "$folder/log" >&2; exit 1; }
}

busybox=$(command -v busybox)
mkdir -p "$folder"/busybox/{bin,etc,root,tmp} "$folder/frontend"
cp "$busybox" "$folder/busybox/bin/busybox"
for applet in $("$busybox" --list); do
  [ "$applet" = busybox ] || ln -s busybox "$folder/busybox/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$folder/busybox/etc/passwd"
printf 'FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD ["sh"]\n' >"$folder/busybox.Dockerfile"

cp "$frontend" "$folder/frontend/dockerfile-frontend"
cat >"$folder/frontend.Dockerfile" <<'END'
FROM scratch
COPY dockerfile-frontend /bin/dockerfile-frontend
LABEL moby.buildkit.frontend.network.none="true"
LABEL moby.buildkit.frontend.caps="moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"
ENTRYPOINT ["/bin/dockerfile-frontend"]
END

push busybox library/busybox:1.35
push frontend docker/dockerfile:1
