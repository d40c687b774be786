// The script room's implementation of engine/model_tool.h.
#pragma once
#include "engine/model_tool.h"

const struct model_tool_ops *script_model_tool_ops(void);
