#!/bin/sh
# The builder of a CI job, as buildx's current one: the buildkitd of the machine image where one listens (its cache is
# warm), else a fresh container. BUILDER_NAME and BUILDKIT_SOCKET say otherwise.
set -eu
name=${BUILDER_NAME:-ci}
socket=${BUILDKIT_SOCKET:-/run/buildkit/buildkitd.sock}
docker buildx rm "$name" >/dev/null 2>&1 || true
if [ -S "$socket" ]; then
  docker buildx create --name "$name" --driver remote --use "unix://$socket"
else
  echo "no buildkitd listens at $socket: a fresh builder, with a cold cache" >&2
  docker buildx create --name "$name" --driver docker-container --bootstrap --use
fi
