// The metric series that all adapters have, for those that bring none of their own: plugins and adapters in Lua.
#pragma once
#include "adapter/plugin_abi.h"

// Tags "group:NAME,protocol:PROTOCOL". NULL: err.
struct iotix_series *series_new(const struct adapter_env *env, const char *protocol, const char *group,
                                struct error *err);
void series_delete(struct iotix_series *series);
// connect_failures, disconnects (ERR_NONE: asked for) or messages_dropped with the reason's name.
void series_count(struct iotix_series *series, enum iotix_reason what, enum error_code reason);
