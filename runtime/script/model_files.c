#include "script/model_files.h"
#include <dirent.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "core/file.h"
#include "device/model.h"
#include "script/embedded.h"
#include "telemetry/dataset.h"

enum { NAMES_MAX = 10000 };

static const struct model_files *files_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

// A text without NUL, so that C and Lua mean the same file.
static const char *path_at(lua_State *L, int arg)
{
    size_t n;
    const char *path = luaL_checklstring(L, arg, &n);
    if (strlen(path) != n)
        luaL_error(L, "a path holds no NUL");
    return path;
}

// "./x" → "x": what people see.
static const char *shown(const char *path)
{
    while (path[0] == '.' && path[1] == '/' && path[2])
        path += 2;
    return path;
}

static int places_bind(lua_State *L)
{
    static const char *const beside[] = {".", "models", "../models"};
    const struct model_files *f = files_of(L);
    const char *near = lua_isnoneornil(L, 1) ? f->near : path_at(L, 1);
    char path[PATH_MAX];
    int n = 0;
    lua_newtable(L);
    for (unsigned i = 0; i < 3; i++) {
        if (i == 0)
            lua_pushstring(L, shown(near));
        else if (path_join(near, beside[i], path, sizeof path) == 0)
            lua_pushstring(L, shown(path));
        else
            continue;
        lua_rawseti(L, -2, ++n);
    }
    for (unsigned i = 0; i < f->n_dirs; i++) {
        lua_pushstring(L, f->dirs[i]);
        lua_rawseti(L, -2, ++n);
    }
    lua_pushliteral(L, IOTIX_DATADIR "/models");
    lua_rawseti(L, -2, ++n);
    return 1;
}

static int read_bind(lua_State *L)
{
    const char *path = path_at(L, 1);
    struct error err = {0};
    struct buf text;
    buf_create(&text, MODEL_FILE_MAX);
    int rc = file_read(path, MODEL_FILE_MAX, &text, &err);
    if (rc == 0)
        lua_pushlstring(L, text.data ? (const char *)text.data : "", text.len);
    buf_destroy(&text);
    if (rc == 0)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, err.text);
    lua_pushstring(L, error_code_name(err.code));
    return 3;
}

static int is_json(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

static int names_bind(lua_State *L)
{
    struct dirent **list = NULL;
    int n = scandir(path_at(L, 1), &list, is_json, alphasort);
    lua_newtable(L); // a full heap ends the process: nothing leaks
    for (int i = 0; i < n; i++) {
        if (i < NAMES_MAX) {
            lua_pushstring(L, list[i]->d_name);
            lua_rawseti(L, -2, i + 1);
        }
        free(list[i]);
    }
    free(list);
    return 1;
}

static int real_bind(lua_State *L)
{
    char path[PATH_MAX];
    lua_pushstring(L, realpath(path_at(L, 1), path));
    return 1;
}

static int parse_bind(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n), *path = path_at(L, 2);
    const struct model_files *f = files_of(L);
    struct error err = {0};
    const char *dirs[1] = {f->near};
    struct model_env env = {.datasets = datasets_new(), .dirs = dirs, .n_dirs = 1};
    struct model *model = model_parse(text, n, path, &env, &err);
    model_delete(model);
    datasets_delete(env.datasets);
    if (model) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, err.text);
    return 2;
}

// native.embedded(path) → text | nil: of a file that is compiled in
static int embedded_bind(lua_State *L)
{
    const struct embedded_file *f = embedded_find(luaL_checkstring(L, 1));
    if (!f)
        return 0;
    lua_pushlstring(L, f->bytes, f->size);
    return 1;
}

void model_files_open(lua_State *L, const struct model_files *files)
{
    static const luaL_Reg functions[] = {{"embedded", embedded_bind},
                                         {"model_places", places_bind},
                                         {"model_read", read_bind},
                                         {"model_names", names_bind},
                                         {"model_real", real_bind},
                                         {"model_parse", parse_bind},
                                         {NULL, NULL}};
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)files);
        lua_pushcclosure(L, f->func, 1);
        lua_setfield(L, -2, f->name);
    }
}
