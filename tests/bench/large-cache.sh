# shellcheck shell=bash
# A large cache for benchmarks: sourced after support/ground.sh, and for whoever has set $work, $disk and $megabytes.

# fresh: an empty file system at $disk. Deleting many files would slow the next way down for a while.
fresh() {
  rm -f "$work/image"
  truncate -s "$((megabytes * 60 + 2000))M" "$work/image"
  mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$work/image"
  mount -o loop "$work/image" "$disk"
  sync
}

# layer CHAIN NUMBER: what one step of a chain makes: files that do not compress, and some that do.
layer() {
  echo "RUN mkdir -p /$1/$2 && for i in 1 2 3 4 5; do head -c $((megabytes * 200000)) /dev/urandom >/$1/$2/\$i; done && seq 1 20000 >/$1/$2/text"
}

# large_cache: the zstd cache of two chains of five layers of $megabytes each, as 127.0.0.1:5000/bench:cache, of the build in
# $work/context; the registry goes on, and $work/buildkitd.toml names it docker.io's mirror. The images of images.sh are
# there as well, and BuildKit's own with `large_cache builder`.
large_cache() {
  mkdir -p "$work/context"
  {
    echo 'FROM busybox:1.35 AS base'
    echo 'COPY seed /seed'
    for chain in left right; do
      echo "FROM base AS $chain"
      for number in 1 2 3 4 5; do layer $chain $number; done
    done
    echo 'FROM left'
    echo 'RUN --mount=type=bind,from=right,source=/right,target=/right cp /right/5/text /text'
  } >"$work/context/Dockerfile"
  echo seed >"$work/context/seed"
  registry "$work/registry" 127.0.0.1 5000
  printf '[registry."docker.io"]\n  mirrors = ["127.0.0.1:5000"]\n' >"$work/buildkitd.toml"
  fresh
  buildkitd "$work/ci" "$disk/root" "$work/buildkitd.toml"
  local socket=$work/ci/buildkitd.sock daemon=$pid
  "$here/support/images.sh" "$BUILDCTL" "$DOCKERFILE_FRONTEND" "$socket" 127.0.0.1:5000
  [ "${1-}" != builder ] || "$here/support/builder-image.sh" "$BUILDKITD" "$BUILDCTL" "$socket" 127.0.0.1:5000
  "$BUILDCTL" --addr "unix://$socket" build --progress=plain --frontend dockerfile.v0 \
    --local context="$work/context" --local dockerfile="$work/context" \
    --export-cache type=registry,mode=max,compression=zstd,compression-level=1,force-compression=true,ref=127.0.0.1:5000/bench:cache \
    >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  stop "$daemon"
  umount "$disk"
}
