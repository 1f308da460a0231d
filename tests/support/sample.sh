#!/usr/bin/env bash
# Makes the sample project a git repository: sample.sh DIR. The commit is the same on every machine.
set -euo pipefail
umask 022
mkdir -p "$1"
cp -R "$(dirname "$0")/../fixtures/sample/." "$1"
cd "$1"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=sample GIT_AUTHOR_EMAIL=sample@example.com GIT_AUTHOR_DATE='2026-01-01T00:00:00Z'
export GIT_COMMITTER_NAME=sample GIT_COMMITTER_EMAIL=sample@example.com GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init -q -b main
git add -A
git commit -qm 'Four stages'
git rev-parse HEAD
