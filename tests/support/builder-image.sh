#!/usr/bin/env bash
# Pushes moby/buildkit:buildx-stable-1, made from this machine's BuildKit and runc as the real one is laid out, on the
# base images of images.sh. builder-image.sh BUILDKITD BUILDCTL SOCKET REGISTRY
set -euo pipefail
buildkitd=$1 buildctl=$2 socket=$3 registry=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 022

mkdir -p "$folder/files/usr/bin"
runc=$(command -v runc)
cp "$buildkitd" "$buildctl" "$runc" "$folder/files/usr/bin/"
# runc is linked dynamically, and the image has no other libraries.
for library in $(ldd "$runc" | grep -o '/[^ ]*'); do
  mkdir -p "$folder/files$(dirname "$library")"
  cp -L "$library" "$folder/files$library"
done
cat >"$folder/Dockerfile" <<'END'
FROM busybox:1.35
COPY files /
VOLUME /var/lib/buildkit
ENV PATH=/usr/bin:/bin
ENTRYPOINT ["buildkitd"]
END
# Its layer is not compressed: nobody fetches it over a network.
"$buildctl" --addr "unix://$socket" build --progress=plain --frontend dockerfile.v0 \
  --local context="$folder" --local dockerfile="$folder" \
  --output "type=image,name=$registry/moby/buildkit:buildx-stable-1,push=true,registry.insecure=true,compression=uncompressed" \
  >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
