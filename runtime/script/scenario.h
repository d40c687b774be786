// The script room's implementation of engine/scenario.h: scenarios written in Lua.
#pragma once
#include "engine/scenario.h"

const struct scenario_ops *script_scenario_ops(void);
// "2.1.0-beta3": of the LuaJIT this was built with.
const char *script_lua_version(void);
