#!/usr/bin/env bash
# MQTT 5 beside 3.1.1: CPU of a message, the two versions in turn, medians.
#
#   tests/bench/mqtt5.sh [--rounds N] [--seconds S] [--build DIR]
#
# The other version is measured right before and after, so that a drift of the machine's speed does not count.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=3 seconds=5 build=build/release
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --build) build=$2; shift ;;
    -h|--help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "mqtt5.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
measure() { # connections qos rate
  for ((i = 0; i < rounds; i++)); do
    for version in 4 5; do
      "$build/bench/bench_mqtt" --program "$build/bin/iotix-run" --scenario tests/bench/mqtt.lua --mode iotix-model \
        --connections "$1" --qos "$2" --rate "$3" --seconds "$seconds" --version "$version" >>"$rows"
      tail -n 1 "$rows" >&2
    done
  done
}
measure 1000 0 9000
measure 1000 1 9000
measure 8000 0 60000
measure 8000 1 30000

python3 - "$rows" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
print("| connections | QoS | 3.1.1, CPU us/message | 5, CPU us/message | 5 to 3.1.1 | bytes/device 3.1.1 | 5 |")
print("|---|---|---|---|---|---|---|")
for connections, qos in dict.fromkeys((r["connections"], r["qos"]) for r in rows):
    def of(version, key):
        return statistics.median(r[key] for r in rows if (r["connections"], r["qos"], r["version"]) == (connections, qos, version))
    four, five = of(4, "cpu_us_per_msg"), of(5, "cpu_us_per_msg")
    print("| {:,} | {} | {:.2f} | {:.2f} | {:.3f} | {:,.0f} | {:,.0f} |".format(
        connections, qos, four, five, five / four, of(4, "bytes_per_device"), of(5, "bytes_per_device")))
if not all(r["complete"] for r in rows):
    print("NOT ALL messages were delivered")
PY
