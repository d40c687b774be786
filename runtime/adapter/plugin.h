// Plugins: shared objects that bring an adapter (plugin_abi.h).
//
// A plugin is first tried in a forked process, so that one that crashes or hangs while it is loaded is an error with a
// name. Then every process that holds devices loads it for itself: nothing is inherited, so a plugin may keep
// file-scope state.
#pragma once
#include "adapter/adapter.h"

struct iotix_host;
// The functions that a plugin may call.
const struct iotix_host *plugin_host(void);

struct plugin_info {
    char path[4096]; // absolute
    char name[16];
    char schemes[160]; // "line, lines"
};
// Whether the last of these files is a plugin that works, by loading it in a child process, where those before it are
// loaded too (their names and schemes are taken). deadline_us: how long that may take (0:
// 10 s). ERR_NOT_FOUND; ERR_INVALID: a directory, not a shared object, symbols missing, what adapter_check finds;
// ERR_UNSUPPORTED: another ABI; ERR_INTERNAL: it crashed (names the signal and where); ERR_TIMEOUT. All texts begin
// with the path. The calling process should have no threads.
int plugin_probe(const char *const *paths, unsigned n, int64_t deadline_us, struct plugin_info *out,
                 struct error *err) WARN_UNUSED_RESULT;
// Loads it into this process and adds its adapter; it stays until the process ends. Errors as above, but nothing stops
// a crash.
int plugin_load(const char *path, struct adapter_registry *registry, struct error *err) WARN_UNUSED_RESULT;
