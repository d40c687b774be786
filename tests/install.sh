#!/usr/bin/env bash
# cmake --install into an empty directory; the installed program works from there and finds its models.
build=$1
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0 bad=0
check() { n=$((n + 1)); if "${@:2}" >"$dir/out" 2>&1; then echo "ok $n - $1"; else bad=1; echo "not ok $n - $1"; sed 's/^/# /' "$dir/out" | tail -n 20; fi; }
check "installs" cmake --install "$build" --prefix "$dir/usr"
check "installed program runs" "$dir/usr/bin/iotix-run" version
check "installed scenario checks" "$dir/usr/bin/iotix-run" --check "$dir/usr/share/iotix/scenarios/quickstart.lua"
check "licence is installed" test -s "$dir/usr/share/doc/iotix/LICENSE"
echo "1..$n"
exit "$bad"
