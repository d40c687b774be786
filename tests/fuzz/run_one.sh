#!/usr/bin/env bash
# run_one.sh NAME LOGS OPTION...: runs build/fuzz/fuzz/NAME with its corpus; its output as TAP goes to LOGS/NAME.log, its exit code and
# its seconds to LOGS/NAME.rc. What it finds new stays in build/fuzz-corpus.
name=$1 logs=$2
shift 2
mkdir -p "build/fuzz-corpus/$name"
"build/fuzz/fuzz/$name" "$@" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$logs/$name-" \
  "build/fuzz-corpus/$name" "tests/fuzz/corpus/$name" >"$logs/$name.log" 2>&1 </dev/null
rc=$?
if [ "$rc" -eq 0 ]; then
  result="ok 1 - $(grep -m1 number_of_executed_units "$logs/$name.log")"
else
  result="not ok 1 - $name"
fi
echo "$result" >>"$logs/$name.log"
echo "$rc $SECONDS" >"$logs/$name.rc"
