#!/usr/bin/env bash
# cmake --install into an empty directory; the installed program works from there and finds its models; a plugin is built
# outside of the tree against the installed headers, and a scenario runs through it.
build=$1
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
n=0 bad=0
check() { n=$((n + 1)); if "${@:2}" >"$dir/out" 2>&1; then echo "ok $n - $1"; else bad=1; echo "not ok $n - $1"; sed 's/^/# /' "$dir/out" | tail -n 20; fi; }
check "installs" cmake --install "$build" --prefix "$dir/usr"
check "installed program runs" "$dir/usr/bin/iotix-run" version
check "installed scenario checks" "$dir/usr/bin/iotix-run" --check "$dir/usr/share/iotix/scenarios/quickstart.lua"
check "licence is installed" test -s "$dir/usr/share/doc/iotix/LICENSE"

cp -r "$dir/usr/share/iotix/plugins/line" "$dir/line"
export PKG_CONFIG_PATH="$dir/usr/share/pkgconfig"
check "plugins build out of tree with make" make -C "$dir/line" CFLAGS="-O1 -Wall -Wextra -Werror"
check "plugins build out of tree with cmake" sh -c "cmake -S '$dir/line' -B '$dir/line/build' && cmake --build '$dir/line/build'"
python3 -u tests/integration/line_server.py >"$dir/server" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q port "$dir/server" && break; read -rt 0.1 <> <(:); done
port=$(awk '/^port/ { print $2 }' "$dir/server")
cat >"$dir/plugin.lua" <<LUA
local iotix = require "iotix"
local function behaviour(dev)
  assert(dev:connect())
  for i in dev:every("100ms") do dev:publish("t", tostring(i)) end
end
return iotix.scenario { name = "plugin", duration = "1s", groups = {
  iotix.group { name = "tcp", count = 2, behaviour = behaviour, connection = iotix.connection { url = "line://127.0.0.1:$port" } },
  iotix.group { name = "udp", count = 2, behaviour = behaviour, connection = iotix.connection { url = "line+udp://127.0.0.1:$port" } },
} }
LUA
check "a scenario runs through them" "$dir/usr/bin/iotix-run" "$dir/plugin.lua" --progress none \
  --plugin "$dir/line/libline.so" --plugin "$dir/line/libline-udp.so"
check "the server heard TCP" grep -q "^pub tcp/tcp-1/t 1" "$dir/server"
check "the server heard UDP" grep -q "^udp udp/udp-2/t 1" "$dir/server"
echo "1..$n"
exit "$bad"
