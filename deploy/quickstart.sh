#!/usr/bin/env bash
# From a checkout to a running scenario: installs the Debian packages, builds, runs scenarios/quickstart.lua.
# Idempotent; a second run takes seconds. Root or sudo is needed only when packages are missing.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/quickstart.sh [--deps-only] [--no-run]

  --deps-only   install the Debian packages and stop
  --no-run      install and build, do not run the scenario
USAGE
}

deps_only=0
run=1
for arg in "$@"; do
  case "$arg" in
    --deps-only) deps_only=1 ;;
    --no-run) run=0 ;;
    -h|--help) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown option $arg" >&2; usage >&2; exit 2 ;;
  esac
done

cd "$(dirname "$0")/.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh

# shellcheck disable=SC2086
iotix_install $IOTIX_BUILD_PACKAGES
[ "$deps_only" = 1 ] && { echo "packages are there"; exit 0; }

echo "building build/release/bin/iotix-run (the first time takes about a minute)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset release && cmake --build --preset release --target iotix-run; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "quickstart.sh: the build failed (above)" >&2
  exit 1
fi
[ "$run" = 1 ] || exit 0

echo "\$ iotix-run scenarios/quickstart.lua"
exec build/release/bin/iotix-run scenarios/quickstart.lua
