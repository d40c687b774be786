// CBOR of Lua values and back. Maps are in the order of RFC 8949, 4.2.1, and numbers in their shortest form: the same
// value is always the same bytes.
#include <math.h>
#include "script/payload_bind.h"
#include "telemetry/cbor.h"

enum { FROM_MAX_BYTES = 1 << 20, FROM_MAX_ITEMS = 65536 };

// --- to CBOR ------------------------------------------------------------------------------------------------------

static int put(lua_State *L, int idx, struct buf *out, int depth, struct error *err);

static int full(struct error *err)
{
    return error_set(err, ERR_LIMIT, "the CBOR is larger than 1 MB");
}

static int put_number(double v, struct buf *out)
{
    bool whole = v >= -0x1p53 && v <= 0x1p53 && v == floor(v); // those that JSON writes without a point
    return whole ? cbor_put_int(out, (int64_t)v) : cbor_put_double(out, v);
}

static int put_list(lua_State *L, int idx, int n, struct buf *out, int depth, struct error *err)
{
    if (cbor_put_head(out, CBOR_ARRAY, (uint64_t)n))
        return full(err);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, i);
        int rc = put(L, lua_gettop(L), out, depth + 1, err);
        lua_pop(L, 1);
        if (rc)
            return -1;
    }
    return 0;
}

static int put_map(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    struct payload_keys keys;
    if (payload_keys_create(&keys, L, idx, true, err))
        return -1;
    int rc = cbor_put_head(out, CBOR_MAP, keys.n) ? full(err) : 0;
    for (unsigned i = 0; i < keys.n && !rc; i++) {
        rc = cbor_put_text(out, keys.list[i].s, keys.list[i].n) ? full(err) : 0;
        if (rc)
            break;
        lua_pushlstring(L, keys.list[i].s, keys.list[i].n);
        lua_rawget(L, idx);
        rc = put(L, lua_gettop(L), out, depth + 1, err);
        lua_pop(L, 1);
    }
    payload_keys_destroy(&keys);
    return rc;
}

static int put_table(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    if (depth >= PAYLOAD_DEPTH_MAX)
        return error_set(err, ERR_INVALID, "tables are nested deeper than %d, or one contains itself",
                         PAYLOAD_DEPTH_MAX);
    if (!lua_checkstack(L, 6))
        return error_set(err, ERR_LIMIT, "the Lua stack is full");
    int n = payload_list_length(L, idx, err);
    if (n < 0)
        return -1;
    return n ? put_list(L, idx, n, out, depth, err) : put_map(L, idx, out, depth, err);
}

static int put_scalar(const struct value *v, struct buf *out)
{
    switch (v->type) {
    case VALUE_NUMBER:
        return put_number(v->number, out);
    case VALUE_INTEGER:
        return cbor_put_int(out, v->integer);
    case VALUE_BOOLEAN:
        return cbor_put_head(out, CBOR_SIMPLE, v->boolean ? CBOR_TRUE : CBOR_FALSE);
    case VALUE_STRING:
        return cbor_put_text(out, v->str.s, v->str.n);
    case VALUE_BINARY:
        return cbor_put_bytes(out, v->str.s, v->str.n);
    default:
        return cbor_put_head(out, CBOR_SIMPLE, CBOR_NULL);
    }
}

static int put(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    struct value v;
    if (lua_type(L, idx) == LUA_TTABLE)
        return put_table(L, idx, out, depth, err);
    if (!payload_scalar(L, idx, &v))
        return error_set(err, ERR_INVALID, "a %s has no CBOR form", luaL_typename(L, idx));
    return put_scalar(&v, out) ? full(err) : 0;
}

// payload.cbor(value) → bytes | nil, message, code
int payload_cbor(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct error err = {0};
    if (lua_gettop(L) < 1)
        return luaL_error(L, "iotix.payload.cbor: expected a value");
    buf_clear(&s->scratch);
    return put(L, 1, &s->scratch, 0, &err) ? payload_fail(L, s, err.code, err.text) : payload_push(L, s);
}

// --- from CBOR ----------------------------------------------------------------------------------------------------
// cbor_check has accepted the bytes before: every length, break and depth is as it should be.

struct reader {
    const uint8_t *at, *end;
    struct error *err;
};

static int push_item(lua_State *L, struct reader *r);

static bool take_break(struct reader *r)
{
    if (*r->at != 0xff)
        return false;
    r->at++;
    return true;
}

static int push_pieces(lua_State *L, struct reader *r)
{
    luaL_Buffer b;
    struct cbor_item piece;
    luaL_buffinit(L, &b);
    while (!take_break(r)) {
        r->at += cbor_read(r->at, (size_t)(r->end - r->at), &piece);
        luaL_addlstring(&b, (const char *)piece.bytes, (size_t)piece.value);
    }
    luaL_pushresult(&b);
    return 0;
}

static int push_array(lua_State *L, struct reader *r, const struct cbor_item *item)
{
    lua_newtable(L);
    for (uint64_t i = 0; item->indefinite ? !take_break(r) : i < item->value; i++) {
        if (push_item(L, r))
            return -1;
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 0;
}

static int push_map(lua_State *L, struct reader *r, const struct cbor_item *item)
{
    lua_newtable(L);
    for (uint64_t i = 0; item->indefinite ? !take_break(r) : i < item->value; i++) {
        if (push_item(L, r))
            return -1;
        bool number = lua_type(L, -1) == LUA_TNUMBER && !isnan(lua_tonumber(L, -1));
        if (!number && lua_type(L, -1) != LUA_TSTRING)
            return error_set(r->err, ERR_UNSUPPORTED, "CBOR: a map with a key that is neither a text nor a number");
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        if (!lua_isnil(L, -1))
            return error_set(r->err, ERR_INVALID, "CBOR: a map with the same key twice");
        lua_pop(L, 1);
        if (push_item(L, r))
            return -1;
        lua_rawset(L, -3);
    }
    return 0;
}

// Tags 2 and 3 are whole numbers of any size; of all others only what they are about is kept.
static int push_tagged(lua_State *L, struct reader *r, uint64_t tag)
{
    if (push_item(L, r))
        return -1;
    if ((tag != 2 && tag != 3) || lua_type(L, -1) != LUA_TSTRING)
        return 0;
    size_t n;
    const uint8_t *bytes = (const uint8_t *)lua_tolstring(L, -1, &n);
    double v = 0;
    for (size_t i = 0; i < n && isfinite(v); i++)
        v = v * 256 + bytes[i];
    lua_pop(L, 1);
    lua_pushnumber(L, tag == 2 ? v : -1 - v);
    return 0;
}

static int push_simple(lua_State *L, struct reader *r, const struct cbor_item *item)
{
    if (item->real)
        lua_pushnumber(L, item->number);
    else if (item->value == CBOR_FALSE || item->value == CBOR_TRUE)
        lua_pushboolean(L, item->value == CBOR_TRUE);
    else if (item->value == CBOR_NULL || item->value == CBOR_UNDEFINED)
        lua_pushlightuserdata(L, NULL); // iotix.json.null
    else
        return error_set(r->err, ERR_UNSUPPORTED, "CBOR: the simple value %u stands for nothing here",
                         (unsigned)item->value);
    return 0;
}

static int push_item(lua_State *L, struct reader *r)
{
    struct cbor_item item;
    luaL_checkstack(L, 8, "CBOR nested too deep");
    r->at += cbor_read(r->at, (size_t)(r->end - r->at), &item);
    switch (item.major) {
    case CBOR_UINT:
        lua_pushnumber(L, (double)item.value);
        return 0;
    case CBOR_NINT:
        lua_pushnumber(L, -1 - (double)item.value);
        return 0;
    case CBOR_BYTES:
    case CBOR_TEXT:
        if (item.indefinite)
            return push_pieces(L, r);
        lua_pushlstring(L, (const char *)item.bytes, (size_t)item.value);
        return 0;
    case CBOR_ARRAY:
        return push_array(L, r, &item);
    case CBOR_MAP:
        return push_map(L, r, &item);
    case CBOR_TAG:
        return push_tagged(L, r, item.value);
    case CBOR_SIMPLE:
        break;
    }
    return push_simple(L, r, &item);
}

// payload.from_cbor(bytes) → value | nil, message, code
int payload_from_cbor(lua_State *L)
{
    struct error err = {0};
    size_t n;
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "iotix.payload.from_cbor: expected a string of bytes, got %s", luaL_typename(L, 1));
    const uint8_t *bytes = (const uint8_t *)lua_tolstring(L, 1, &n);
    lua_settop(L, 1);
    struct reader r = {.at = bytes, .end = bytes + n, .err = &err};
    if (n > FROM_MAX_BYTES)
        error_set(&err, ERR_LIMIT, "CBOR: larger than 1 MB");
    else if (cbor_check(bytes, n, FROM_MAX_ITEMS, &err) == 0 && push_item(L, &r) == 0)
        return 1;
    lua_settop(L, 1);
    return bind_fail(L, &err);
}
