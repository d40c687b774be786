#!/usr/bin/env bash
# Lint as TAP: banned functions, what rooms may include, file sizes, formats of Lua and shell, repository hygiene.
cd "$(dirname "$0")/../.." || exit 1
shopt -s lastpipe # check runs in this shell, not in one of its own
n=0 bad=0
# check NAME: reads findings from standard input; none = ok
check() {
  local found
  found=$(cat)
  n=$((n + 1))
  if [ -z "$found" ]; then
    echo "ok $n - $1"
  else
    bad=1
    echo "not ok $n - $1"
    echo "$found" | head -n 30 | sed 's/^/# /'
  fi
}

files() { git ls-files --cached --others --exclude-standard "$@"; }

# shellcheck disable=SC2046
grep -nwE '(strcpy|sprintf|strcat|atoi|gets|alloca|strncat|atol|vsprintf)[[:space:]]*\(' $(files 'runtime/*.[ch]' 'tests/*.[ch]') |
  grep -vE '^[^:]+:[0-9]+:[[:space:]]*(//|\*)' | check "no banned C function"

tests/lint/rooms.sh | check "rooms include only what they may use"

tests/lint/conformance.sh | check "tests named in conformance pages exist"

for f in $(files 'runtime/*.[ch]' 'lua/*.lua'); do
  [ -e "$f" ] || continue
  lines=$(wc -l <"$f")
  [ "$lines" -gt 820 ] && echo "$f has $lines lines"
done | check "no source file over about 800 lines"

# File-scope state: a static or global object that is not const. Thread-directed signal state is the one exception, marked so.
for f in $(files 'runtime/*.c'); do
  grep -nE '^(static )?(struct [a-z_]+|int|unsigned|bool|char|u?int[0-9]+_t|volatile [a-z_ ]+|_Thread_local .*|static __thread .*)[ *]+[a-z_]+(\[[^]]*\])?( = [^(]*)?;' "$f" /dev/null |
    grep -vE 'const|extern|file-scope state:'
done | check "no mutable file-scope state"

git ls-files | grep -E '(^|/)util[s]?[._/]|(^|/)util[s]?$' | check "there is no util"

luacheck --quiet --formatter plain lua scenarios tests/spec tests/integration docs/*.lua 2>&1 | grep -vE '^(Total|Checking)' | grep . | check "luacheck"

# shellcheck disable=SC2046
shellcheck -x $(files '*.sh' .ci/run) 2>&1 | grep . | check "shellcheck"

if command -v clang-format >/dev/null; then
  # shellcheck disable=SC2046
  clang-format --dry-run $(files 'runtime/*.[ch]' 'tests/*.[ch]') 2>&1 | grep 'warning:' | cut -d: -f1 | sort | uniq -c | check "clang-format"
fi

files | grep -E '\.(o|a|so|so\.[0-9]+|exe|gcda|gcno|pcap)$' | check "no binaries in the tree"

# shellcheck disable=SC2046
grep -nIE '(registry\.npmjs|pypi\.org/simple|proxy\.golang|repo1\.maven|/home/[a-z]+/|/root/|/work/)' $(files | grep -vE '^tests/lint/run.sh$') |
  check "no registry hosts or machine paths"

for f in models/*.json models/schema/*.json CMakePresets.json; do
  python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$f" 2>&1 | tail -n1
done | check "JSON files parse"

echo "1..$n"
exit "$bad"
