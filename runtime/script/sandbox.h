// What author code can see: a whitelist, built library by library, behind read-only tables.
//
// One environment per scenario, shared by its devices: `_G` is an empty proxy over a read-only base; assigning a global
// is an error that says "use local" and names the line; reading an undeclared one is an error that suggests the nearest
// name. Library tables are read-only proxies; the string metatable is guarded and its functions are ours, with a step
// budget (pattern.h). load/loadstring take text only. math.random draws from the running device's seeded generator.
#pragma once
#include <lua.h>
#include "core/error.h"
#include "core/rng.h"

struct sandbox_config {
    // The generator of what runs now (device or run); never NULL.
    struct rng *(*rng)(void *arg);
    // print(...) of the author: one line, already joined with tabs.
    void (*print)(void *arg, const char *line, size_t n);
    // Wall time for os.time/os.date (virtual when the run is), microseconds; CPU of the device for os.clock.
    int64_t (*wall_us)(void *arg);
    void *arg;
    // require: finds only what the product brings ("iotix", "iotix.*" from embedded_files, run in the trusted
    // environment) and files beside the scenario (names of [A-Za-z0-9_] joined by dots, no "..", no symlink out of
    // script_dir).
    const char *script_dir; // NULL: only the product's
};
// Prepares the state: opens libraries, builds base and environment. Once per state, before anything else.
int sandbox_open(lua_State *L, const struct sandbox_config *config, struct error *err) WARN_UNUSED_RESULT;
// Adds a trusted C module that product Lua (not the author) reaches with require(name).
int sandbox_preload(lua_State *L, const char *name, lua_CFunction open, struct error *err) WARN_UNUSED_RESULT;
// Compiles text (refuses bytecode, > 4 MB) and pushes the function with the author's environment set. name: "@path".
// ERR_INVALID with "path:line: message" when it does not compile.
int sandbox_compile(lua_State *L, const char *text, size_t n, const char *name, struct error *err) WARN_UNUSED_RESULT;
// Makes the table at the top of the stack read-only for authors: pushes a proxy instead of it.
void sandbox_readonly(lua_State *L);
// Runs a product module and pushes what it returns (as product code's require does).
int sandbox_require(lua_State *L, const char *module, struct error *err) WARN_UNUSED_RESULT;
