#!/usr/bin/env bash
# Set-up, then every check and every test. Needs root: BuildKit's daemon does.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "error: BuildKit's daemon needs root: sudo -E $0" >&2; exit 1; }

tests/setup.sh
cargo fmt --check
cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items
INSTA_UPDATE=no cargo test
