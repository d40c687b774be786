#!/usr/bin/env bash
# The benchmark: what a device of iotix costs beside the floor, on this machine, in one run.
#
#   tests/bench/run.sh [--quick] [--json FILE] [--build DIR]
#
# First what one value and one message cost, then virtual time, then devices on a network. --quick takes under two minutes (8,000
# connections); without it 1,000, 8,000 and 18,000. Each iotix row is measured between two floor rows and its ratio is to their mean, so
# that a drift of the machine's speed does not count.
set -euo pipefail
cd "$(dirname "$0")/../.."
quick=0 json='' build=build/release
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --json) json=$2; shift ;;
    --build) build=$2; shift ;;
    -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
programs="bench_hist bench_sink bench_ledger bench_mqtt bench_virtual bench_gen bench_encoder bench_mqtt_codec bench_tls bench_http bench_coap"
for program in $programs; do
  [ -x "$build/bench/$program" ] && continue
  # shellcheck disable=SC2086
  cmake --preset release >/dev/null && cmake --build --preset release --target iotix-run $programs >/dev/null
  break
done

echo "One value recorded into a histogram"
echo
"$build/bench/bench_hist"
echo
echo "One message into each sink"
echo
"$build/bench/bench_sink"
echo
echo "One message accounted for by the delivery ledger"
echo
"$build/bench/bench_ledger"
tests/bench/ledger.py --run "$build/bin/iotix-run"
echo
echo "One value of each generator"
echo
"$build/bench/bench_gen"
echo
echo "One message of three attributes in each encoding, beside snprintf of the same JSON"
echo
"$build/bench/bench_encoder"
echo
echo "One MQTT packet, version 5 beside 3.1.1"
echo
"$build/bench/bench_mqtt_codec"
echo

echo "TLS: an idle connection, a handshake, a message, on 1,000 connections"
echo
"$build/bench/bench_tls"
echo
echo "A keep-alive request over HTTP beside a bare libcurl multi loop"
echo
"$build/bench/bench_http" --rounds 9
echo
echo "A NON request of CoAP and its answer beside bare sendto/recv and a bare libcoap client"
echo
"$build/bench/bench_coap"
echo

rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
bench() {
  "$build/bench/bench_mqtt" --program "$build/bin/iotix-run" --scenario tests/bench/mqtt.lua "$@" >>"$rows"
  tail -n 1 "$rows" >&2
}
measure() { # connections qos rate seconds
  bench --mode floor --connections "$1" --qos "$2" --seconds 3
  bench --mode iotix-lua --connections "$1" --qos "$2" --rate "$3" --seconds "$4"
  bench --mode floor --connections "$1" --qos "$2" --seconds 3
  bench --mode iotix-model --connections "$1" --qos "$2" --rate "$3" --seconds "$4"
  bench --mode floor --connections "$1" --qos "$2" --seconds 3
}

virtual() {
  "$build/bench/bench_virtual" --program "$build/bin/iotix-run" --mode "$1" >>"$rows"
  tail -n 1 "$rows" >&2
}

for mode in floor iotix-model floor iotix-lua floor memory; do virtual "$mode"; done
if [ "$quick" = 1 ]; then
  measure 8000 0 60000 5
else
  measure 1000 0 9000 8
  measure 8000 0 60000 8
  measure 18000 0 60000 8
  measure 8000 1 30000 8
fi

if [ "$quick" = 0 ]; then
  echo "MQTT 5 beside 3.1.1"
  echo
  tests/bench/mqtt5.sh --build "$build"
  echo
fi

python3 - "$rows" "$json" <<'PY'
import json, sys
everything = [json.loads(line) for line in open(sys.argv[1])]
virtual = [r for r in everything if "connections" not in r]
rows = [r for r in everything if "connections" in r]
for i, row in enumerate(virtual):
    near = [r["samples_per_cpu_s"] for r in virtual[max(0, i - 1):i + 2] if r["mode"] == "floor"]
    if row["mode"].startswith("iotix"):
        row["ratio_to_floor"] = round(row["samples_per_cpu_s"] * len(near) / sum(near), 3)
print("Virtual time: attribute values generated, encoded and written to a file by one core (floor: snprintf and fwrite)\n")
print("| mode | samples a CPU second | to floor | bytes/message | bytes/device |")
print("|---|---|---|---|---|")
for r in virtual:
    print("| {} | {} | {} | {} | {} |".format(r["mode"], "{:,.0f}".format(r["samples_per_cpu_s"]) if "samples_per_cpu_s" in r else "",
        r.get("ratio_to_floor", ""), r.get("bytes_per_message", ""), r.get("bytes_per_device", "")))
print()
for i, row in enumerate(rows):
    near = [r for r in rows[max(0, i - 1):i + 2] if r["mode"] == "floor" and r["connections"] == row["connections"] and r["qos"] == row["qos"]]
    floor = sum(r["cpu_us_per_msg"] for r in near) / len(near)
    row["ratio_to_floor"] = round(row["cpu_us_per_msg"] / floor, 3)
print("| mode | QoS | connections | CPU us/message | to floor | bytes/device | CPU us/connect | longest stall ms | delivered |")
print("|---|---|---|---|---|---|---|---|---|")
for r in rows:
    iotix = r["mode"] != "floor"
    print("| {} | {} | {:,} | {:.2f} | {:.2f} | {} | {:.1f} | {} | {:,.0f} {} |".format(
        r["mode"], r["qos"], r["connections"], r["cpu_us_per_msg"], r["ratio_to_floor"], "{:,.0f}".format(r["bytes_per_device"]) if iotix else "",
        r["cpu_us_per_connect"], "{:.1f}".format(r["longest_stall_ms"]) if iotix else "", r["delivered"], "all" if r["complete"] else "NOT ALL"))
if sys.argv[2]:
    with open(sys.argv[2], "w") as f:
        json.dump(everything, f, indent=1)
PY
