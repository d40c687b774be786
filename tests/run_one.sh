#!/usr/bin/env bash
# run_one.sh PROGRAM LIMIT PREFIX: runs a unit test program; its output goes to PREFIX_NAME.log, its exit code to PREFIX_NAME.rc.
name=$3_$(basename "$1")
timeout --kill-after=10 "$2" "$1" >"$name.log" 2>&1 </dev/null
echo $? >"$name.rc"
