#!/usr/bin/env bash
# shellcheck disable=SC2034  # used by the scripts that source this file
# The Debian packages iotix is built from and tested with, and how they get installed. Sourced by quickstart.sh and tests/run.sh.

# What building and running needs.
IOTIX_BUILD_PACKAGES="gcc libc6-dev cmake ninja-build pkg-config libluajit-5.1-dev libev-dev libpaho-mqtt-dev lua-cjson-dev
  libjansson-dev libssl-dev libcoap3-dev libcurl4-openssl-dev zlib1g-dev liburing-dev librdkafka-dev libcivetweb-dev libcmocka-dev mosquitto tzdata"
# What the tests need beside that.
IOTIX_TEST_PACKAGES="libcoap3-bin python3-pip luajit lua-busted lua-check lua-cjson make json-schema-test-suite mosquitto-clients influxdb kcat clang libclang-rt-14-dev llvm-14
  clang-format shellcheck python3 procps python3-cbor2 python3-yaml protobuf-compiler
  maven default-jdk-headless rabbitmq-server nats-server tshark openssl nginx-light"

# iotix_install PACKAGE...: installs those that are missing; needs root or sudo only when something is.
iotix_install() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "These Debian packages (or what corresponds to them here) are missing: ${missing[*]}" >&2
    return 1
  fi
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages: ${missing[*]}" >&2
      echo "Install them as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "installing: ${missing[*]}"
  # A package's service must not start here (mosquitto would take port 1883): policy-rc.d answers no while installing.
  local policy=/usr/sbin/policy-rc.d made_policy=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null && "${sudo[@]}" chmod +x "$policy" && made_policy=1
  fi
  local rc=0
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || rc=$?
  [ "$made_policy" = 1 ] && "${sudo[@]}" rm -f "$policy"
  return "$rc"
}
