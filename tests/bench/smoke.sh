#!/usr/bin/env bash
# The benchmark works (TAP): a small run delivers everything and has all its figures. No figure is judged here.
cd "$(dirname "$0")/../.." || exit 1
build=$1
n=0 bad=0
for mode in floor iotix-lua iotix-model; do
  n=$((n + 1))
  row=$("$build/bench/bench_mqtt" --mode "$mode" --connections 200 --seconds 2 --rate 1000 --program "$build/bin/iotix-run" 2>&1)
  if [[ $row == *'"complete":true'* ]]; then
    echo "ok $n - $mode delivers everything: $row"
  else
    bad=1
    echo "not ok $n - $mode"
    echo "# $row"
  fi
done
for mode in floor iotix-model iotix-lua memory; do
  n=$((n + 1))
  row=$("$build/bench/bench_virtual" --mode "$mode" --devices 100 --hours 1 --program "$build/bin/iotix-run" 2>&1)
  if [[ $row == *'"complete":true'* ]]; then
    echo "ok $n - virtual time, $mode: $row"
  else
    bad=1
    echo "not ok $n - virtual time, $mode"
    echo "# $row"
  fi
done
for program in bench_gen:6 bench_ledger:4 bench_encoder:6 bench_mqtt_codec:3; do
  least=${program#*:} program=${program%:*} # rows with a figure
  n=$((n + 1))
  if rows=$("$build/bench/$program" 2>&1) && [ "$(grep -c '[0-9]' <<<"$rows")" -ge "$least" ]; then
    echo "ok $n - $program prints its rows"
  else
    bad=1
    echo "not ok $n - $program"
    echo "# $rows"
  fi
done
for mode in floor libcoap adapter; do
  n=$((n + 1))
  row=$("$build/bench/bench_coap" --mode "$mode" --devices 100 --messages 2000 2>&1)
  if [[ $row == *'"complete":true'* ]]; then
    echo "ok $n - CoAP, $mode: $row"
  else
    bad=1
    echo "not ok $n - CoAP, $mode"
    echo "# $row"
  fi
done
n=$((n + 1))
if rows=$("$build/bench/bench_http" --rounds 1 --connections 20 --requests 400 2>&1) && [[ $rows == *'"complete":true'* ]]; then
  echo "ok $n - HTTP: $(head -n 1 <<<"$rows")"
else
  bad=1
  echo "not ok $n - HTTP"
  echo "# $rows"
fi
echo "1..$n"
exit "$bad"
