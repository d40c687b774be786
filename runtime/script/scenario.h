// The script room's implementation of engine/scenario.h: scenarios written in Lua.
#pragma once
#include "engine/scenario.h"

const struct scenario_ops *script_scenario_ops(void);
