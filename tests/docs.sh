#!/usr/bin/env bash
# Documentation as TAP: generated pages are up to date, links inside the repository lead somewhere, Lua examples in the pages load.
run=$1
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
shopt -s lastpipe # check runs in this shell, not in one of its own
n=0 bad=0
check() { local found; found=$(cat); n=$((n + 1)); if [ -z "$found" ]; then echo "ok $n - $1"; else bad=1; echo "not ok $n - $1"; echo "$found" | head -n 30 | sed 's/^/# /'; fi; }

{ luajit docs/generate.lua >"$dir/api.md" 2>&1; diff "$dir/api.md" docs/reference/scenario-api.md >/dev/null || echo "run: luajit docs/generate.lua > docs/reference/scenario-api.md"; } | check "docs/reference/scenario-api.md is made from lua/iotix/_meta"
{ luajit docs/generate_model.lua >"$dir/model.md" 2>&1; diff "$dir/model.md" docs/reference/device-model.md >/dev/null || echo "run: luajit docs/generate_model.lua > docs/reference/device-model.md"; } | check "docs/reference/device-model.md is made from the schema"
{ luajit docs/generate_protocols.lua >"$dir/protocols.md" 2>&1; diff "$dir/protocols.md" docs/reference/protocols.md >/dev/null || echo "run: luajit docs/generate_protocols.lua > docs/reference/protocols.md"; } | check "docs/reference/protocols.md is made from tests/integration/matrix.lua"
{ luajit docs/generate_chaos.lua >"$dir/profiles.md" 2>&1; diff "$dir/profiles.md" docs/reference/chaos-profiles.md >/dev/null || echo "run: luajit docs/generate_chaos.lua > docs/reference/chaos-profiles.md"; } | check "docs/reference/chaos-profiles.md is made from lua/iotix/chaos/profiles.lua"
{ "$run" help --markdown >"$dir/cli.md" 2>&1; diff "$dir/cli.md" docs/reference/cli.md || echo "run: iotix-run help --markdown > docs/reference/cli.md"; } | check "docs/reference/cli.md is made from the option table"

# Links [text](path) between files of the repository.
git ls-files --cached --others --exclude-standard '*.md' | while read -r page; do
  grep -oE '\]\([^)#: ]+(#[^)]*)?\)' "$page" | sed -E 's/^\]\(([^)#]+).*/\1/' | while read -r target; do
    [ -e "$(dirname "$page")/$target" ] || echo "$page: $target does not exist"
  done
done | check "links lead somewhere"

# Every ```lua block that is a whole scenario (it returns iotix.scenario) passes --check. Blocks of any language whose first line
# names a file (```csv devices.csv) lie beside the scenarios of their page.
i=0
for page in README.md docs/*/*.md; do
  [ -e "$page" ] || continue
  i=$((i + 1))
  beside=$dir/page-$i
  mkdir -p "$beside"
  awk -v dir="$beside" '
    /^```/ { if (on) { on = 0; next } on = 1; lua = $1 == "```lua"; k += lua; file = NF == 2 ? dir "/" $2 : ""; next }
    on && lua { print > (dir "/example-" k ".lua") }
    on && file { print > file }' "$page"
  for example in "$beside"/example-*.lua; do
    [ -e "$example" ] || continue
    grep -q 'return iotix.scenario' "$example" || continue
    "$run" --check --model-dir models "$example" >"$dir/out" 2>&1 || { echo "$page: an example does not pass --check:"; cat "$dir/out"; }
  done
done | check "examples in the documentation pass --check"

for scenario in scenarios/*.lua; do
  "$run" --check "$scenario" >"$dir/out" 2>&1 || { echo "$scenario:"; cat "$dir/out"; }
done | check "every scenario passes --check"
echo "1..$n"
exit "$bad"
