#!/usr/bin/env bash
# Installs what the tests need, builds, runs every test. The last line is: N passed, N failed, N skipped
#
#   tests/run.sh              everything
#   tests/run.sh --fast       without the sanitizer build and the fuzzers
#   tests/run.sh PART...      some parts (see --list)
#   tests/run.sh --list       the parts
#
# IOTIX_TEST_JOBS specs run at a time (default: one a core), and twice as many unit tests, most of which wait for something. Logs of every
# part are in build/test-logs. With CI=true a missing real part (a broker, a tool) fails instead of skipping.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

ALL_PARTS="lint unit spec integration docs install asan fuzz bench"
FAST_PARTS="lint unit spec integration docs install"
JOBS=${IOTIX_TEST_JOBS:-$(nproc)}
FUZZ_SECONDS=${IOTIX_FUZZ_SECONDS:-12}
FUZZ_SEED=${IOTIX_FUZZ_SEED:-1} # fixed, so that a change is judged and not luck; other seeds by hand
export LC_ALL=C.UTF-8

parts=()
for arg in "$@"; do
  case "$arg" in
    --list) echo "$ALL_PARTS" | tr ' ' '\n'; exit 0 ;;
    --fast) read -ra parts <<<"$FAST_PARTS" ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "run.sh: unknown option $arg" >&2; exit 2 ;;
    *) case " $ALL_PARTS " in *" $arg "*) parts+=("$arg") ;; *) echo "run.sh: no part $arg; parts: $ALL_PARTS" >&2; exit 2 ;; esac ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || read -ra parts <<<"$ALL_PARTS"

# shellcheck source=deploy/packages.sh
. deploy/packages.sh
# shellcheck disable=SC2086
iotix_install $IOTIX_BUILD_PACKAGES $IOTIX_TEST_PACKAGES || { echo "run.sh: packages could not be installed" >&2; exit 1; }

logs=build/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# tally PART LOG RC SECONDS: counts the TAP lines of a log; a non-zero exit without a "not ok" is one failure more.
tally() {
  local part=$1 log=$2 rc=$3 seconds=$4 ok not_ok skip
  skip=$(grep -cE '^(not )?ok [0-9]+.*# *(SKIP|skip|TODO|todo)' "$log")
  ok=$(($(grep -cE '^ok [0-9]+' "$log") - $(grep -cE '^ok [0-9]+.*# *(SKIP|skip|TODO|todo)' "$log")))
  not_ok=$(($(grep -cE '^not ok [0-9]+' "$log") - $(grep -cE '^not ok [0-9]+.*# *(SKIP|skip|TODO|todo)' "$log")))
  if [ "$rc" -ne 0 ] && [ "$not_ok" -eq 0 ]; then
    not_ok=1
    echo "not ok - $part ended with exit code $rc"
  fi
  if [ "$rc" -eq 0 ] && [ "$ok" -eq 0 ] && [ "$not_ok" -eq 0 ] && [ "$skip" -eq 0 ]; then
    not_ok=1
    echo "not ok - $part ran no test"
  fi
  if [ "$skip" -gt 0 ] && [ "${CI:-}" = true ]; then
    not_ok=$((not_ok + skip))
    grep -E '^(not )?ok [0-9]+.*# *(SKIP|skip|TODO|todo)' "$log" | sed 's/^/skipped in CI counts as failed: /'
    skip=0
  fi
  passed=$((passed + ok)) failed=$((failed + not_ok)) skipped=$((skipped + skip))
  printf '%-44s %4d passed %3d failed %3d skipped %4d s\n' "$part" "$ok" "$not_ok" "$skip" "$seconds"
  if [ "$not_ok" -gt 0 ]; then
    echo "--- $log"
    grep -nE '^not ok|^#|[Ee]rror|ERROR|Assertion|FAILED' "$log" | tail -n 60
    echo "--- last lines"
    tail -n 25 "$log"
    echo "---"
  fi
}

# run_tap PART LIMIT COMMAND...: runs a command that prints TAP.
run_tap() {
  local part=$1 limit=$2 log rc began=$SECONDS
  shift 2
  log=$logs/$(echo "$part" | tr '/ ' '__').log
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null
  rc=$?
  tally "$part" "$log" "$rc" $((SECONDS - began))
}

build() {
  local preset=$1 log=$logs/build_$1.log began=$SECONDS
  shift
  if { cmake --preset "$preset" && cmake --build --preset "$preset" "$@"; } >"$log" 2>&1; then
    printf '%-76s %4d s\n' "build $preset" $((SECONDS - began))
    return 0
  fi
  failed=$((failed + 1))
  echo "not ok - the build $preset failed"
  grep -E 'error|warning|FAILED|Error' -A3 "$log" | tail -n 60
  return 1
}

# tally_all PREFIX NAME: what run_one.sh left in $logs/PREFIX*, in order. NAME as printf has it, of the part of the name behind the prefix.
tally_all() {
  local log rc seconds part
  for log in "$logs/$1"*.log; do
    [ -e "$log" ] || continue
    rc=1 seconds=0 # without the file it was ended from outside
    [ ! -e "${log%.log}.rc" ] || read -r rc seconds <"${log%.log}.rc"
    part=$(basename "${log%.log}")
    # shellcheck disable=SC2059
    tally "$(printf "$2" "${part#"$1"}")" "$log" "$rc" "$seconds"
    rm -f "${log%.log}.rc"
  done
}

# Every unit test program of a build; they print TAP. Those that wait longest come first.
unit_part() {
  local preset=$1 limit=$2 program
  export CMOCKA_MESSAGE_OUTPUT=TAP IOTIX_RUN=$PWD/build/$preset/bin/iotix-run
  for program in build/"$preset"/unit/unit_{engine,script,adapter}_* build/"$preset"/unit/unit_*; do
    [ -x "$program" ] && [ ! -d "$program" ] && echo "$program"
  done | awk '!seen[$0]++' | xargs -P $((2 * JOBS)) -I{} tests/run_one.sh {} "$limit" "$logs/$preset"
  tally_all "${preset}_unit_" "${preset}_unit_%s"
}

# spec_part PART LIMIT PRESET FILE...: busted files of tests/PART. A file that says "-- Runs alone" does.
spec_part() {
  local part=$1 limit=$2 preset=$3
  shift 3
  export IOTIX_RUN=$PWD/build/$preset/bin/iotix-run IOTIX_ROOT=$PWD
  grep -L -e '-- Runs alone' "$@" | xargs -P "$JOBS" -I{} tests/run_one.sh {} "$limit" "$logs/${part}_$preset"
  grep -l -e '-- Runs alone' "$@" | xargs -P 1 -I{} tests/run_one.sh {} "$limit" "$logs/${part}_$preset"
  tally_all "${part}_${preset}_" "$part/%s ($preset)"
}

# Two at a time: a target uses one core.
fuzz_part() {
  build fuzz || return
  local program
  for program in build/fuzz/fuzz/fuzz_*; do
    [ -x "$program" ] && basename "$program"
  done | xargs -P 2 -I{} tests/fuzz/run_one.sh {} "$logs" -seed="$FUZZ_SEED" -max_total_time="$FUZZ_SECONDS"
  tally_all fuzz_ fuzz/fuzz_%s
}

started=$(date +%s)
have_release=0
need_release() { [ "$have_release" = 1 ] || { build release && have_release=1; }; }
for part in "${parts[@]}"; do
  echo "== $part"
  case "$part" in
    lint) run_tap lint 300 tests/lint/run.sh ;;
    unit) need_release && unit_part release 180 ;;
    spec) need_release && spec_part spec 300 release tests/spec/*_spec.lua ;;
    integration) need_release && tests/integration/peers/install.sh && spec_part integration 600 release tests/integration/*_spec.lua ;;
    docs) need_release && run_tap docs 300 tests/docs.sh build/release/bin/iotix-run ;;
    install) need_release && run_tap install 120 tests/install.sh build/release ;;
    asan) # specs that run none of our programs would say the same as before
      build asan || continue
      export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0" UBSAN_OPTIONS=print_stacktrace=1
      unit_part asan 300
      mapfile -t specs < <(grep -lE 'IOTIX_RUN|integration\.proc' tests/spec/*_spec.lua)
      spec_part spec 400 asan "${specs[@]}" ;;
    fuzz) fuzz_part ;;
    bench) need_release && run_tap bench 300 tests/bench/smoke.sh build/release ;;
  esac
done
echo "took $(($(date +%s) - started)) s; logs in $logs"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
