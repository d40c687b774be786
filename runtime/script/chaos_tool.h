// The profiles of networks that come with the product, for the command line and other rooms that know no Lua.
#pragma once
#include <jansson.h>
#include "core/error.h"

// [{"name", "version", "description", "source", "fault"}] by name; owned by the caller. NULL: err.
json_t *script_chaos_profiles(struct error *err);
