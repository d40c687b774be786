#!/usr/bin/env bash
# Installs the servers of other people that come from npm, Go modules, PyPI and Maven Central into build/peers, pinned by their lock
# files (Maven: by the checksums of all jars). What cannot be had here is said, with its name; the specs that need it skip (or fail when CI=true).
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
here=$PWD/tests/integration/peers to=$PWD/build/peers
mkdir -p "$to"

# fresh NAME FILE...: whether build/peers/NAME was made from these files as they are now
fresh() {
  local name=$1 sum
  shift
  sum=$(cat "$@" | sha256sum)
  [ "$(cat "$to/$name/.made-of" 2>/dev/null)" = "$sum" ] && return 0
  rm -rf "${to:?}/$name" && mkdir -p "$to/$name"
  echo "$sum" >"$to/$name/.made-of.tmp"
  return 1
}
# ended NAME STATUS COMMAND
ended() { if [ "$2" = 0 ]; then mv "$to/$1/.made-of.tmp" "$to/$1/.made-of"; else missing "$1" "$3 failed, see build/peers/$1/log"; fi; }
missing() { echo "peer $1 is not installed: $2"; }

aedes() {
  fresh aedes "$here"/aedes/* && return
  command -v npm >/dev/null || { missing aedes "npm is missing"; return; }
  cp "$here"/aedes/* "$to/aedes/"
  (cd "$to/aedes" && timeout 120 npm ci --omit=dev --no-audit --no-fund) >"$to/aedes/log" 2>&1
  ended aedes $? "npm ci"
}

mochi() {
  fresh mochi "$here"/mochi/* && return
  command -v go >/dev/null || { missing mochi "go is missing"; return; }
  cp "$here"/mochi/* "$to/mochi/"
  (cd "$to/mochi" && timeout 240 go build -o broker .) >"$to/mochi/log" 2>&1
  ended mochi $? "go build"
}

aiocoap() {
  fresh aiocoap "$here"/../coap/requirements.txt && return
  python3 -m pip --version >/dev/null 2>&1 || { missing aiocoap "python3-pip is missing"; return; }
  timeout 120 python3 -m pip install --require-hashes --no-deps --no-input --target "$to/aiocoap/site" \
    -r "$here"/../coap/requirements.txt >"$to/aiocoap/log" 2>&1
  ended aiocoap $? "pip install"
}

# jvm NAME: the jars of NAME/pom.xml, and NAME/*.java compiled against them
jvm() {
  fresh "$1" "$here/$1"/* && return
  local tool
  for tool in mvn javac; do
    command -v $tool >/dev/null || { missing "$1" "$tool is missing"; return; }
  done
  cp "$here/$1"/* "$to/$1/"
  (
    cd "$to/$1" &&
      timeout 240 mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$PWD/lib" &&
      (cd lib && sha256sum --check --strict --quiet ../jars.sha256 && [ "$(find . -name '*.jar' | wc -l)" = "$(wc -l <../jars.sha256)" ]) &&
      javac -cp 'lib/*' -d classes ./*.java
  ) >"$to/$1/log" 2>&1
  ended "$1" $? "mvn and javac"
}

aedes
mochi
aiocoap
jvm artemis
jvm hivemq
jvm californium
true
