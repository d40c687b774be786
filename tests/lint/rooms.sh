#!/usr/bin/env bash
# Prints every include that goes against docs/internals/architecture.md: a room includes only itself and the rooms it may use.
cd "$(dirname "$0")/../.." || exit 1
declare -A may=(
  [core]="core"
  [metrics]="core"
  [telemetry]="core"
  [store]="core"
  [link]="core metrics"
  [adapter]="core metrics link"
  [sink]="core metrics link adapter"
  [device]="core metrics telemetry link adapter"
  [chaos]="core metrics telemetry link adapter device"
  [engine]="core metrics telemetry link adapter device chaos sink store"
  [script]="core metrics telemetry link adapter device chaos sink store engine"
  [api]="core metrics engine store"
  [cli]="core metrics telemetry link adapter device chaos sink store engine script api"
)
for room in "${!may[@]}"; do
  [ -d "runtime/$room" ] || continue
  while IFS=: read -r file line text; do
    target=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$text")
    case " ${may[$room]} $room " in
      *" $target "*) ;;
      *) echo "$file:$line: $room may not include $target" ;;
    esac
  done < <(grep -rnE '^#include "[a-z]+/' "runtime/$room")
done
# Only the script room knows Lua.
grep -rnE '#include <(lua|lauxlib|lualib|luajit)\.h>' runtime --include='*.[ch]' | grep -v '^runtime/script/' |
  sed 's/$/   (only runtime\/script may include Lua)/'
true
