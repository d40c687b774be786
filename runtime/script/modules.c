// Everything is kept in one registry table: loaded (product results by name), views (what authors see of them), files
// (author results), preload (C functions), loading (names under way, in order), env. An error while a module loads
// takes its name from `loading` again, so that a caught error can be followed by another try.
#include "script/modules.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "script/embedded.h"
#include "script/guard.h"
#include "script/sandbox.h"

#define MAX_NAME 120
#define MAX_DEPTH 50
#define MAX_FILE (1 << 20)

static const char registry_key[] = "iotix.modules";

static void push_state(lua_State *L, const char *field)
{
    lua_getfield(L, LUA_REGISTRYINDEX, registry_key);
    lua_getfield(L, -1, field);
    lua_remove(L, -2);
}

void modules_open(lua_State *L)
{
    static const char *const fields[] = {"loaded", "views", "files", "preload", "loading"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        lua_newtable(L);
        lua_setfield(L, -2, fields[i]);
    }
    lua_setfield(L, LUA_REGISTRYINDEX, registry_key);
}

void modules_set_env(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, registry_key);
    lua_insert(L, -2);
    lua_setfield(L, -2, "env");
    lua_pop(L, 1);
}

void modules_preload(lua_State *L, const char *name, lua_CFunction open)
{
    push_state(L, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static bool name_is_valid(const char *name)
{
    size_t n = strlen(name);
    if (!n || n > MAX_NAME || name[0] == '.' || name[n - 1] == '.' || strstr(name, ".."))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '.')
            return false;
    }
    return true;
}

// --- running a module once
// ----------------------------------------------------------------------------------------------

static void check_cycle(lua_State *L, const char *name)
{
    push_state(L, "loading");
    int n = (int)lua_objlen(L, -1);
    int at = 0;
    for (int i = 1; i <= n && !at; i++) {
        lua_rawgeti(L, -1, i);
        if (strcmp(lua_tostring(L, -1), name) == 0)
            at = i;
        lua_pop(L, 1);
    }
    if (at) {
        luaL_Buffer b;
        luaL_buffinit(L, &b);
        for (int i = at; i <= n; i++) {
            push_state(L, "loading");
            lua_rawgeti(L, -1, i);
            lua_remove(L, -2);
            luaL_addvalue(&b);
            luaL_addstring(&b, " -> ");
        }
        luaL_addstring(&b, name);
        luaL_pushresult(&b);
        luaL_error(L, "modules require each other in a circle: %s", lua_tostring(L, -1));
    }
    if (n >= MAX_DEPTH)
        luaL_error(L, "modules require each other more than %d deep", MAX_DEPTH);
    lua_pop(L, 1);
}

static void loading_push(lua_State *L, const char *name)
{
    push_state(L, "loading");
    lua_pushstring(L, name);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 1);
}

static void loading_pop(lua_State *L)
{
    push_state(L, "loading");
    lua_pushnil(L);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2));
    lua_pop(L, 1);
}

// The function at the top of the stack is the module: calls it with its name, leaves its result (true when it has
// none).
static void run_once(lua_State *L, const char *name, const char *cache)
{
    loading_push(L, name);
    lua_pushstring(L, name);
    int status = lua_pcall(L, 1, 1, 0);
    loading_pop(L);
    if (status)
        lua_error(L);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    push_state(L, cache);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static bool cached(lua_State *L, const char *cache, const char *name)
{
    push_state(L, cache);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

// --- the product's
// ------------------------------------------------------------------------------------------------------

static const struct embedded_file *product_file(const char *name)
{
    char path[MAX_NAME + 32];
    char dir[MAX_NAME + 1];
    snprintf(dir, sizeof(dir), "%s", name);
    for (char *p = dir; *p; p++) {
        if (*p == '.')
            *p = '/';
    }
    snprintf(path, sizeof(path), "lua/%s.lua", dir);
    const struct embedded_file *f = embedded_find(path);
    if (f)
        return f;
    snprintf(path, sizeof(path), "lua/%s/init.lua", dir);
    return embedded_find(path);
}

static void push_product_loader(lua_State *L, const char *name)
{
    push_state(L, "preload");
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    const struct embedded_file *f = name_is_valid(name) ? product_file(name) : NULL;
    if (!f)
        luaL_error(L, "module '%s' not found among the modules of iotix", name);
    char chunk[MAX_NAME + 40];
    snprintf(chunk, sizeof(chunk), "@%s", f->path);
    if (luaL_loadbufferx(L, f->bytes, f->size, chunk, "t"))
        lua_error(L);
    push_state(L, "env");
    lua_setfenv(L, -2);
}

static void product_require(lua_State *L, const char *name)
{
    if (cached(L, "loaded", name))
        return;
    check_cycle(L, name);
    // What a product module keeps belongs to all devices, whoever happens to ask for it first.
    push_product_loader(L, name);
    run_once(L, name, "loaded");
}

static int product_require_body(lua_State *L)
{
    product_require(L, lua_tostring(L, 1));
    return 1;
}

// Charged to the host; the charge must be undone when the module raises.
static int require_product(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (cached(L, "loaded", lua_tostring(L, 1)))
        return 1;
    struct guard *guard = guard_of(L);
    lua_pushcfunction(L, product_require_body);
    lua_insert(L, 1);
    uint32_t former = guard_charge(guard, 1);
    int status = lua_pcall(L, 1, 1, 0);
    guard_charge(guard, former);
    if (status)
        lua_error(L);
    return 1;
}

void modules_push_product(lua_State *L)
{
    lua_pushcfunction(L, require_product);
}

// --- what authors see of it
// ---------------------------------------------------------------------------------------------

static void copy_meta(lua_State *L, int from, int to, const char *field)
{
    lua_pushstring(L, field);
    lua_rawget(L, from);
    if (lua_isnil(L, -1))
        lua_pop(L, 1);
    else
        lua_setfield(L, to, field);
}

// Pushes a plain copy of the list at idx: a view has no length and ipairs does not see through it, so lists
// (iotix.args) are not protected, only copied.
static void push_list(lua_State *L, int idx)
{
    int n = (int)lua_objlen(L, idx);
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        lua_rawseti(L, -2, i);
    }
}

// Pushes a read-only view of the table at idx: a copy of its fields with the tables in it seen the same way.
// memo: table → its view, against circles and for identity.
static void push_view(lua_State *L, int idx, int memo, int depth)
{
    luaL_checkstack(L, 12, "module nests too deep");
    lua_pushvalue(L, idx);
    lua_rawget(L, memo);
    if (!lua_isnil(L, -1) || depth > 8) {
        if (lua_isnil(L, -1))
            luaL_error(L, "module nests too deep");
        return;
    }
    lua_pop(L, 1);
    lua_newtable(L);
    int fields = lua_gettop(L);
    lua_pushvalue(L, fields);
    sandbox_readonly(L); // ..., fields, view
    int view = lua_gettop(L);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, view);
    lua_rawset(L, memo);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pushvalue(L, -2);
        if (lua_istable(L, -2) && lua_objlen(L, -2) > 0)
            push_list(L, lua_gettop(L) - 1);
        else if (lua_istable(L, -2))
            push_view(L, lua_gettop(L) - 1, memo, depth + 1);
        else
            lua_pushvalue(L, -2);
        lua_rawset(L, fields);
        lua_pop(L, 1);
    }
    if (lua_getmetatable(L, idx)) {
        int from = lua_gettop(L);
        lua_getmetatable(L, view);
        copy_meta(L, from, from + 1, "__call");
        copy_meta(L, from, from + 1, "__tostring");
        lua_newtable(L); // what the module makes up when it is asked for
        copy_meta(L, from, from + 2, "__index");
        lua_setmetatable(L, fields);
        lua_settop(L, view);
    }
    lua_remove(L, fields);
}

// Replaces the value at the top of the stack, a product module's result, by its view.
static void to_view(lua_State *L, const char *name)
{
    if (!lua_istable(L, -1) || cached(L, "views", name))
        return;
    uint32_t former = guard_charge(guard_of(L), 1);
    lua_newtable(L);
    push_view(L, lua_gettop(L) - 1, lua_gettop(L), 0);
    push_state(L, "views");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    guard_charge(guard_of(L), former);
}

// --- the author's files
// -------------------------------------------------------------------------------------------------

// Opens rel beneath dir, following no link out of it. -1 with errno.
static int open_beneath(const char *dir, const char *rel)
{
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return -1;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, at, rel, &how, sizeof(how));
    int saved = errno;
    if (fd < 0 && (saved == ENOSYS || saved == EPERM)) {
        // An old kernel or a filter: compare real paths.
        char full[PATH_MAX], real[PATH_MAX], root[PATH_MAX];
        int n = snprintf(full, sizeof(full), "%s/%s", dir, rel);
        if (n > 0 && (size_t)n < sizeof(full) && realpath(full, real) && realpath(dir, root)) {
            size_t len = strlen(root);
            saved = EXDEV;
            if (strncmp(real, root, len) == 0 && (real[len] == '/' || len == 1))
                fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        } else {
            saved = errno;
        }
    }
    close(at);
    errno = saved;
    return fd;
}

// Pushes the file's text. On failure nothing, and errno.
static int push_text(lua_State *L, int fd)
{
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    errno = S_ISREG(st.st_mode) ? EFBIG : EISDIR;
    if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE)
        return -1;
    char *text = lua_newuserdata(L, (size_t)st.st_size + 1);
    size_t n = 0;
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            lua_pop(L, 1);
            return -1;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    lua_pushlstring(L, text, n);
    lua_remove(L, -2);
    return 0;
}

int modules_read(lua_State *L, const char *dir, const char *rel)
{
    int fd = open_beneath(dir, rel);
    if (fd < 0)
        return -1;
    int rc = push_text(L, fd), saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

// Pushes the function of dir/NAME.lua. False, with its path instead: there is no such file, and none is `needed`.
static bool push_author_loader(lua_State *L, const char *dir, const char *name, int env, bool needed)
{
    char rel[MAX_NAME + 8], path[PATH_MAX];
    snprintf(rel, sizeof(rel), "%s.lua", name);
    for (char *p = rel; p < rel + strlen(name); p++) {
        if (*p == '.')
            *p = '/';
    }
    snprintf(path, sizeof(path), "%s/%s", dir, rel);
    int fd = open_beneath(dir, rel);
    if (fd < 0 && errno == ENOENT && !needed) {
        lua_pushstring(L, path);
        return false;
    }
    if (fd < 0)
        luaL_error(L, "module '%s' not found: %s: %s", name, path,
                   errno == EXDEV || errno == ELOOP ? "it leads out of the scenario's directory" : strerror(errno));
    int failed = push_text(L, fd);
    int saved = errno;
    close(fd);
    if (failed)
        luaL_error(L, "module '%s' cannot be read: %s: %s", name, path, strerror(saved));
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    char chunk[PATH_MAX + 1];
    snprintf(chunk, sizeof(chunk), "@%s", path);
    struct error err = {0};
    if (sandbox_compile(L, text, n, chunk, &err)) { // its own place in front, not that of the call
        lua_pushstring(L, err.text);
        lua_error(L);
    }
    lua_remove(L, -2);
    lua_pushvalue(L, env);
    lua_setfenv(L, -2);
    return true;
}

static bool is_private(const char *name)
{
    return strstr(name, "._") != NULL;
}

static int require_author(lua_State *L)
{
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    lua_settop(L, 1);
    if (strlen(name) != n || !name_is_valid(name))
        return luaL_error(
            L, "require: a module name is made of letters, digits and _ joined by dots, as in \"lib.payload\"");
    if (strcmp(name, "iotix") == 0 || strncmp(name, "iotix.", 6) == 0) {
        if (is_private(name))
            return luaL_error(L, "module '%s' is private to iotix", name);
        lua_pushcfunction(L, require_product);
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        to_view(L, name);
        return 1;
    }
    if (cached(L, "files", name))
        return 1;
    const char *dir = lua_tostring(L, lua_upvalueindex(1));
    if (!dir)
        return luaL_error(L, "module '%s' not found: this scenario has no directory of its own", name);
    check_cycle(L, name);
    push_author_loader(L, dir, name, lua_upvalueindex(2), true);
    run_once(L, name, "files");
    return 1;
}

// Files of the scenario's own directory are those that its require finds: a module is run once, whoever asks.
bool modules_author_file(lua_State *L, const char *dir, const char *name)
{
    char key[PATH_MAX];
    lua_getfield(L, LUA_REGISTRYINDEX, registry_key);
    lua_getfield(L, -1, "script_dir");
    lua_getfield(L, -2, "author_env");
    lua_remove(L, -3); // script_dir, environment
    const char *own = lua_tostring(L, -2);
    if (!name_is_valid(name))
        luaL_error(L, "\"%s\" is no name of a module: letters, digits and _ joined by dots", name);
    if (own && !strcmp(own, dir))
        snprintf(key, sizeof key, "%s", name);
    else if ((size_t)snprintf(key, sizeof key, "%s/%s", dir, name) >= sizeof key)
        luaL_error(L, "the path of module '%s' is too long", name);
    if (!cached(L, "files", key)) {
        check_cycle(L, key);
        if (!push_author_loader(L, dir, name, lua_gettop(L), false)) {
            lua_replace(L, -3);
            lua_pop(L, 1);
            return false;
        }
        run_once(L, key, "files");
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
    return true;
}

void modules_push_author(lua_State *L, const char *script_dir, int author_env)
{
    lua_getfield(L, LUA_REGISTRYINDEX, registry_key);
    lua_pushvalue(L, author_env);
    lua_setfield(L, -2, "author_env");
    lua_pushstring(L, script_dir);
    lua_setfield(L, -2, "script_dir");
    lua_pop(L, 1);
    lua_pushvalue(L, author_env);
    if (script_dir)
        lua_pushstring(L, script_dir);
    else
        lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushcclosure(L, require_author, 2);
}
