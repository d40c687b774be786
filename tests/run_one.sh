#!/usr/bin/env bash
# run_one.sh PROGRAM LIMIT PREFIX: runs a unit test program, or a busted file (*_spec.lua); its output goes to PREFIX_NAME.log, its exit code
# and its seconds to PREFIX_NAME.rc.
name=$3_$(basename "$1" _spec.lua)
command=("$1")
[ "${1%_spec.lua}" = "$1" ] || command=(tests/busted.sh "$1")
SECONDS=0
timeout --kill-after=10 "$2" "${command[@]}" >"$name.log" 2>&1 </dev/null
echo "$? $SECONDS" >"$name.rc"
