// Lua sources and schemas that are compiled into the binary.
#pragma once
#include <stddef.h>

struct embedded_file {
    const char *path;  // as in the repository: "lua/iotix/init.lua", "models/schema/device-model.schema.json"
    const char *bytes; // NUL-terminated behind size
    size_t size;
};

extern const struct embedded_file embedded_files[]; // ends with path == NULL
// NULL when there is none.
const struct embedded_file *embedded_find(const char *path);
