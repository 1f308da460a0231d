#!/usr/bin/env bash
# Set-up, then every check and every test. Needs root: BuildKit's daemon does.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "error: BuildKit's daemon needs root: sudo -E $0" >&2; exit 1; }

tests/setup.sh --packages
# The tools are fetched and built while cargo does the same for us.
log=$(mktemp)
tests/setup.sh >"$log" 2>&1 &
tools=$!
trap 'kill "$tools" 2>/dev/null || true; rm -f "$log"' EXIT
cargo fmt --check
cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items
cargo test --no-run
wait "$tools" || { cat "$log" >&2; exit 1; }
cat "$log"
INSTA_UPDATE=no cargo test
CACHEWARM_BINARY=${CARGO_TARGET_DIR:-target}/debug/cachewarm tests/packer.sh
