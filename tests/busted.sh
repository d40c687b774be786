#!/usr/bin/env bash
# Runs a busted file under LuaJIT with TAP output. Debian's busted script names no interpreter that has the FFI, so it is run by hand.
cd "$(dirname "$0")/.." || exit 1
exec luajit -e 'package.path = "lua/?.lua;lua/?/init.lua;tests/?.lua;" .. package.path' \
  /usr/bin/busted -e 'package.path = "lua/?.lua;lua/?/init.lua;tests/?.lua;" .. package.path' -o TAP "$@"
