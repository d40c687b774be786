// iotix.payload: what payloads are made of in Lua. Values that Lua has no type for (bytes as opposed to text, whole
// numbers as opposed to numbers) are userdata.
#include "script/payload_bind.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/units.h"

// --- values -------------------------------------------------------------------------------------------------------

bool payload_scalar(lua_State *L, int idx, struct value *out)
{
    memset(out, 0, sizeof *out);
    switch (lua_type(L, idx)) {
    case LUA_TNIL:
    case LUA_TLIGHTUSERDATA: // iotix.json.null
        return true;
    case LUA_TNUMBER:
        out->type = VALUE_NUMBER;
        out->number = lua_tonumber(L, idx);
        return true;
    case LUA_TBOOLEAN:
        out->type = VALUE_BOOLEAN;
        out->boolean = lua_toboolean(L, idx);
        return true;
    case LUA_TSTRING:
        out->type = VALUE_STRING;
        out->str.s = lua_tolstring(L, idx, &out->str.n);
        return true;
    case LUA_TUSERDATA:
        break;
    default:
        return false;
    }
    const struct handle_bytes *bytes = lua_touserdata(L, idx);
    const struct handle_integer *integer = lua_touserdata(L, idx);
    if (bytes->tag == HANDLE_BYTES) {
        out->type = VALUE_BINARY;
        out->str.s = bytes->bytes;
        out->str.n = bytes->n;
        return true;
    }
    if (integer->tag != HANDLE_INTEGER)
        return false;
    out->type = VALUE_INTEGER;
    out->integer = integer->v;
    return true;
}

static void push_meta(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, name);
    lua_setmetatable(L, -2);
}

// payload.bytes(string)
static int bytes_bind(lua_State *L)
{
    size_t n;
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "iotix.payload.bytes: expected a string, got %s", luaL_typename(L, 1));
    const char *s = lua_tolstring(L, 1, &n);
    struct handle_bytes *h = lua_newuserdata(L, sizeof *h + n);
    h->tag = HANDLE_BYTES;
    h->n = n;
    memcpy(h->bytes, s, n);
    push_meta(L, "iotix.payload.bytes");
    return 1;
}

static int bytes_text(lua_State *L)
{
    struct value v;
    if (!payload_scalar(L, 1, &v) || v.type != VALUE_BINARY)
        return luaL_error(L, "expected what iotix.payload.bytes returned");
    lua_pushlstring(L, v.str.s, v.str.n);
    return 1;
}

static int bytes_length(lua_State *L)
{
    struct value v;
    if (!payload_scalar(L, 1, &v) || v.type != VALUE_BINARY)
        return luaL_error(L, "expected what iotix.payload.bytes returned");
    lua_pushnumber(L, (double)v.str.n);
    return 1;
}

// payload.integer(number or decimal text)
static int integer_bind(lua_State *L)
{
    struct error err = {0};
    int64_t v = 0;
    double number = lua_tonumber(L, 1);
    size_t n;
    if (lua_type(L, 1) == LUA_TSTRING) {
        const char *s = lua_tolstring(L, 1, &n);
        if (strlen(s) != n || int_parse(s, INT64_MIN, INT64_MAX, &v, &err))
            return luaL_error(L, "iotix.payload.integer: %s", err.code ? err.text : "a number holds no NUL");
    } else if (lua_type(L, 1) != LUA_TNUMBER) {
        return luaL_error(L, "iotix.payload.integer: expected a whole number (or its digits as a string), got %s",
                          luaL_typename(L, 1));
    } else if (!(number >= -0x1p63 && number < 0x1p63) || number != floor(number)) {
        return luaL_error(L, "iotix.payload.integer: expected a whole number of at most 64 bits, got %f", number);
    } else {
        v = (int64_t)number;
    }
    struct handle_integer *h = lua_newuserdata(L, sizeof *h);
    h->tag = HANDLE_INTEGER;
    h->v = v;
    push_meta(L, "iotix.payload.integer");
    return 1;
}

static int integer_text(lua_State *L)
{
    struct value v;
    char text[24];
    if (!payload_scalar(L, 1, &v) || v.type != VALUE_INTEGER)
        return luaL_error(L, "expected what iotix.payload.integer returned");
    int n = snprintf(text, sizeof text, "%lld", (long long)v.integer);
    lua_pushlstring(L, text, n > 0 ? (size_t)n : 0);
    return 1;
}

// --- tables -------------------------------------------------------------------------------------------------------

static int compare_bytes(const void *a, const void *b)
{
    const struct payload_key *x = a, *y = b;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static int compare_lengths(const void *a, const void *b)
{
    const struct payload_key *x = a, *y = b;
    return x->n == y->n ? memcmp(x->s, y->s, x->n) : x->n < y->n ? -1 : 1;
}

static int add_key(struct payload_keys *k, const char *s, size_t n, struct error *err)
{
    enum { FEW = sizeof k->few / sizeof k->few[0] };
    if (k->n == PAYLOAD_KEYS_MAX)
        return error_set(err, ERR_LIMIT, "a table with more than %d keys", PAYLOAD_KEYS_MAX);
    if (k->n == FEW && k->list == k->few) {
        struct payload_key *more = malloc(PAYLOAD_KEYS_MAX * sizeof *more);
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "no memory for the keys of a table");
        memcpy(more, k->few, sizeof k->few);
        k->list = more;
    }
    k->list[k->n++] = (struct payload_key){s, n};
    return 0;
}

int payload_keys_create(struct payload_keys *k, lua_State *L, int idx, bool shorter_first, struct error *err)
{
    int top = lua_gettop(L);
    k->list = k->few;
    k->n = 0;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        size_t n;
        bool text = lua_type(L, -2) == LUA_TSTRING;
        const char *s = text ? lua_tolstring(L, -2, &n) : NULL;
        if (!text || add_key(k, s, n, err)) {
            if (!text)
                error_set(err, ERR_INVALID, "expected keys that are text, there is a %s", luaL_typename(L, -2));
            lua_settop(L, top);
            payload_keys_destroy(k);
            return -1;
        }
    }
    qsort(k->list, k->n, sizeof *k->list, shorter_first ? compare_lengths : compare_bytes);
    return 0;
}

void payload_keys_destroy(struct payload_keys *k)
{
    if (k->list != k->few)
        free(k->list);
    k->list = k->few;
    k->n = 0;
}

int payload_list_length(lua_State *L, int idx, struct error *err)
{
    size_t n = lua_objlen(L, idx), numbers = 0, texts = 0;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TNUMBER)
            numbers++;
        else
            texts++;
    }
    if (n > INT32_MAX || numbers != n || (n && texts))
        return error_set(err, ERR_INVALID,
                         "a list with holes, or a table with both list items and named keys, has no such form");
    return (int)n;
}

int payload_push(lua_State *L, struct scenario *s)
{
    lua_pushlstring(L, s->scratch.len ? (const char *)s->scratch.data : "", s->scratch.len);
    buf_clear(&s->scratch);
    return 1;
}

int payload_fail(lua_State *L, struct scenario *s, enum error_code code, const char *text)
{
    struct error err = {0};
    buf_clear(&s->scratch);
    error_set(&err, code, "%s", text);
    return bind_fail(L, &err);
}

// --- the module ---------------------------------------------------------------------------------------------------

void payload_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg bytes[] = {{"__tostring", bytes_text}, {"__len", bytes_length}, {NULL, NULL}};
    static const luaL_Reg integer[] = {{"__tostring", integer_text}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"bytes", bytes_bind},
                                         {"integer", integer_bind},
                                         {"cbor", payload_cbor},
                                         {"from_cbor", payload_from_cbor},
                                         {"csv", payload_csv},
                                         {"influx", payload_influx},
                                         {"pack", payload_pack},
                                         {"unpack", payload_unpack},
                                         {"sparkplug", payload_sparkplug},
                                         {NULL, NULL}};
    bind_metatable(L, s, bytes, NULL);
    lua_setfield(L, LUA_REGISTRYINDEX, "iotix.payload.bytes");
    bind_metatable(L, s, integer, NULL);
    lua_setfield(L, LUA_REGISTRYINDEX, "iotix.payload.integer");
    lua_newtable(L);
    bind_functions(L, s, functions);
    lua_setfield(L, -2, "payload");
}
