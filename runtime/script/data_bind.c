// Data files in Lua: native.data opens one while the scenario is loaded, to say what is in it; dev.data is the device's
// row, read when it is first asked for.
#include "script/internal.h"
#include <limits.h>
#include <string.h>
#include "core/file.h"
#include "core/jsonx.h"
#include "telemetry/dataset.h"

// A path beside the scenario, without a way out of its directory.
static int path_beside(const struct scenario *s, const char *name, size_t n, char *dst, size_t size, struct error *err)
{
    if (!n || n > 1023 || strlen(name) != n)
        return error_set(err, ERR_INVALID, "expected the path of a file, such as \"devices.csv\"");
    if (name[0] == '/' || strstr(name, ".."))
        return error_set(err, ERR_INVALID,
                         "\"%s\": a data file lies beside the scenario: a path without \"..\" that "
                         "does not begin with /",
                         name);
    if (path_join(s->script_dir, name, dst, size))
        return error_set(err, ERR_INVALID, "the path \"%s\" is too long", name);
    if (!strncmp(dst, "./", 2))
        memmove(dst, dst + 2, strlen(dst + 2) + 1);
    return 0;
}

static int read_options(lua_State *L, int at, struct dataset_options *o, struct error *err)
{
    lua_getfield(L, at, "format");
    int rc = dataset_format_parse(lua_tostring(L, -1), &o->format, err);
    lua_getfield(L, at, "delimiter");
    if (lua_type(L, -1) == LUA_TSTRING)
        o->delimiter = *lua_tostring(L, -1);
    lua_getfield(L, at, "header");
    if (lua_isboolean(L, -1))
        o->header = lua_toboolean(L, -1) ? DATASET_HEADER_YES : DATASET_HEADER_NO;
    lua_pop(L, 3);
    return rc;
}

// native.data(path, { format=, delimiter=, header= }) → { path=, rows=, columns= } | nil, message, code. The file is
// closed again: those who use it open it by what the plan says.
int data_bind_open(lua_State *L)
{
    const struct scenario *s = scenario_of(L);
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    struct dataset_options options = {0};
    struct error err = {0};
    char path[PATH_MAX];
    luaL_checktype(L, 2, LUA_TTABLE);
    if (read_options(L, 2, &options, &err) || path_beside(s, name, n, path, sizeof path, &err))
        return bind_fail(L, &err);
    struct datasets *all = datasets_new();
    struct dataset *ds = all ? dataset_open(all, path, NULL, 0, &options, &err) : NULL;
    if (!ds) {
        datasets_delete(all);
        return bind_fail(L, &err);
    }
    lua_createtable(L, 0, 3); // a full heap ends the process: nothing leaks
    lua_pushstring(L, path);
    lua_setfield(L, -2, "path");
    lua_pushnumber(L, (lua_Number)dataset_rows(ds));
    lua_setfield(L, -2, "rows");
    lua_newtable(L);
    for (unsigned i = 0; i < dataset_columns(ds); i++) {
        lua_pushstring(L, dataset_column_name(ds, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "columns");
    dataset_release(all, ds);
    datasets_delete(all);
    return 1;
}

// --- a device's row

// Upvalue 2: number of the group. A column that is there but empty is nil; one that is not there is a mistake.
static int row_index(lua_State *L)
{
    const struct scenario *s = scenario_of(L);
    unsigned number = (unsigned)lua_tointeger(L, lua_upvalueindex(2));
    struct error err = {0};
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "dev.data: columns go by their names, not by a %s", luaL_typename(L, 2));
    for (unsigned i = 0; i < fleet_group_count(s->fleet); i++) {
        const struct group_config *c = &fleet_group(s->fleet, i)->config;
        if (c->number == number && c->data && dataset_column(c->data, lua_tostring(L, 2), &err) < 0)
            return luaL_error(L, "dev.data: %s", err.text);
    }
    lua_pushnil(L);
    return 1;
}

static void push_meta(lua_State *L, struct scenario *s, unsigned number)
{
    struct scenario_group *g = &s->groups[number];
    if (!g->data_meta) {
        uint32_t former = guard_charge(s->guard, 1); // it serves the whole group
        lua_newtable(L);
        lua_pushlightuserdata(L, s);
        lua_pushinteger(L, (lua_Integer)number);
        lua_pushcclosure(L, row_index, 2);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        g->data_meta = guard_ref(L);
        guard_charge(s->guard, former);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->data_meta);
}

static void push_row(lua_State *L, struct scenario *s, const struct device *d)
{
    const struct dataset *ds = d->group->config.data;
    unsigned number = d->group->config.number, n = dataset_columns(ds);
    uint64_t at = dataset_seek(ds, d->index - 1);
    bool as_text = dataset_format(ds) == DATASET_CSV && !s->groups[number].data_numbers;
    struct scratch scratch;
    luaL_checkstack(L, 6, "dev.data");
    lua_createtable(L, 0, (int)n);
    scratch_create(&scratch, 2 * DATASET_MAX_ROW);
    for (unsigned i = 0; i < n; i++) {
        struct value v;
        scratch_clear(&scratch);
        if (as_text)
            dataset_text_at(ds, at, i, &scratch, &v);
        else
            dataset_field_at(ds, at, i, &scratch, &v);
        lua_pushstring(L, dataset_column_name(ds, i));
        value_to_lua(L, &v);
        lua_rawset(L, -3);
    }
    scratch_destroy(&scratch);
    push_meta(L, s, number);
    lua_setmetatable(L, -2);
}

void data_row_push(lua_State *L, struct scenario *s, const struct device *d)
{
    struct behaviour *b = scenario_behaviour(s);
    if (!d->group->config.data) {
        lua_pushnil(L);
        return;
    }
    if (!b || b->device != d) { // somebody else's handle: not at the expense of the device
        push_row(L, s, d);
        return;
    }
    if (!b->data) {
        push_row(L, s, d);
        b->data = guard_ref(L);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->data);
}
