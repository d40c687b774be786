// iotix.gen: value generators as callable userdata. The specification is parsed once per distinct table and shared by
// all devices that use the same one; a generator itself is a handle with its states (16 bytes for a plain one). It
// draws from whoever calls it, and its time begins with its first call.
#include "script/internal.h"
#include <string.h>
#include "core/jsonx.h"

enum { GENS_MAX = 200000, GENS_DEVICE_MAX = 100 }; // different specifications: of a shard, first used by one device

struct handle_gen {
    uint32_t tag;
    const struct gen_spec *spec; // owned by the scenario
    int64_t start_us;            // loop time of its first call, -1: not called yet
    struct gen_state states[];
};

static struct gen_context gen_context_of(struct scenario *s)
{
    const struct device *d = scenario_device(s);
    scratch_clear(&s->texts);
    return (struct gen_context){.wall_us = scenario_wall_us(s), .index = d ? d->index : 1, .scratch = &s->texts};
}

// Stack: text of the specification at `text`. The cache is a Lua table in the registry: text → number of the spec.
static struct gen_spec *spec_find_or_parse(lua_State *L, struct scenario *s, const char *text, size_t n,
                                           struct error *err)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->gen_cache);
    lua_pushlstring(L, text, n);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnumber(L, -1)) {
        struct gen_spec *known = s->gens[(size_t)lua_tonumber(L, -1)];
        lua_pop(L, 3);
        return known;
    }
    lua_pop(L, 1);
    struct gen_spec *spec = NULL;
    struct behaviour *b = scenario_behaviour(s);
    if (s->n_gens == GENS_MAX || (b && b->gens == GENS_DEVICE_MAX)) {
        error_set(err, ERR_LIMIT, "more than %d different generators; make them outside of loops",
                  b ? GENS_DEVICE_MAX : GENS_MAX);
    } else {
        if (s->n_gens % 64 == 0) {
            struct gen_spec **more = realloc(s->gens, (s->n_gens + 64) * sizeof *more);
            if (!more) {
                error_set(err, ERR_NO_MEMORY, "no memory for a generator");
                lua_pop(L, 2);
                return NULL;
            }
            s->gens = more;
        }
        json_t *json = json_parse(text, n, "generator", err);
        spec = json ? gen_parse(json, VALUE_NULL, NULL, err) : NULL;
        json_decref(json);
    }
    if (spec) {
        lua_pushnumber(L, s->n_gens);
        uint32_t former = guard_charge(s->guard, 1);
        lua_rawset(L, -3);
        guard_charge(s->guard, former);
        s->gens[s->n_gens++] = spec;
        if (b)
            b->gens++;
        lua_pop(L, 1);
    } else {
        lua_pop(L, 2);
    }
    return spec;
}

static int gen_push(lua_State *L, struct scenario *s, const struct gen_spec *spec)
{
    size_t size = sizeof(struct handle_gen) + gen_state_count(spec) * sizeof(struct gen_state);
    struct handle_gen *g = lua_newuserdata(L, size);
    memset(g, 0, size);
    g->tag = HANDLE_GEN;
    g->spec = spec;
    g->start_us = -1;
    struct gen_context context = gen_context_of(s);
    gen_init(spec, g->states, scenario_rng(s), &context);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->gen_meta);
    lua_setmetatable(L, -2);
    return 1;
}

// native.gen(type, options) → generator
int gen_bind_new(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    const char *type = luaL_checkstring(L, 1);
    if (!lua_isnoneornil(L, 2) && !lua_istable(L, 2))
        return luaL_error(L, "iotix.gen.%s: expected a table of options, got %s", type, luaL_typename(L, 2));
    struct error err = {0};
    buf_clear(&s->scratch);
    int rc = 0;
    if (lua_istable(L, 2)) {
        lua_pushstring(L, type);
        lua_setfield(L, 2, "type"); // product Lua hands over its own copy
        rc = json_encode_value(L, 2, &s->scratch, &err);
    } else {
        rc = buf_printf(&s->scratch, "{\"type\":\"%s\"}", type);
    }
    struct gen_spec *spec = rc ? NULL : spec_find_or_parse(L, s, (const char *)s->scratch.data, s->scratch.len, &err);
    buf_clear(&s->scratch);
    if (!spec)
        return bind_fail(L, &err);
    return gen_push(L, s, spec);
}

// native.gen_copy(generator) → one of the same specification that is at its beginning | nil: the value is none
int gen_bind_copy(lua_State *L)
{
    const struct handle_gen *g = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    return g && g->tag == HANDLE_GEN ? gen_push(L, scenario_of(L), g->spec) : 0;
}

// native.gen_keys(type) → list of the keys of its options as in JSON
int gen_bind_keys(lua_State *L)
{
    const char *const *keys = gen_type_keys(luaL_checkstring(L, 1));
    lua_newtable(L);
    for (int i = 0; keys && keys[i]; i++) {
        lua_pushstring(L, keys[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int gen_call(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct handle_gen *g = lua_touserdata(L, 1);
    if (!g || lua_islightuserdata(L, 1) || g->tag != HANDLE_GEN)
        return luaL_error(L, "call a generator that iotix.gen made");
    struct value v;
    struct gen_context context = gen_context_of(s);
    int64_t now_us = loop_now_us(s->config.loop);
    if (g->start_us < 0)
        g->start_us = now_us;
    context.time_us = now_us - g->start_us;
    gen_next(g->spec, g->states, scenario_rng(s), &context, &v);
    value_to_lua(L, &v);
    return 1;
}

void gen_bindings_open(lua_State *L, struct scenario *s)
{
    lua_newtable(L);
    s->gen_cache = luaL_ref(L, LUA_REGISTRYINDEX);
    static const luaL_Reg meta[] = {{"__call", gen_call}, {NULL, NULL}};
    bind_metatable(L, s, meta, NULL);
    s->gen_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
