// JSON between Lua, payload buffers and jansson.
//
// The encoder is on the hot path of every payload that a behaviour makes: one pass over the table, keys sorted on the
// Lua stack by pointer to their bytes, no interning and no allocation beyond the buffer.
#include "script/internal.h"
#include <math.h>
#include <string.h>
#include "core/jsonx.h"

enum { DEPTH_MAX = 32, KEYS_FEW = 24, KEYS_MAX = 1024 };

// A member of an object while its keys are sorted. Strings are the table's own; a table as a value is looked up again.
struct pair {
    const char *key;
    size_t len;
    int type; // of the value, LUA_T…
    union {
        double number;
        bool boolean;
        struct {
            const char *s;
            size_t n;
        } str;
    };
};

static int encode(lua_State *L, int idx, struct buf *out, int depth, struct error *err);

static int full(struct error *err)
{
    return error_set(err, ERR_LIMIT, "the JSON text is larger than its buffer may grow");
}

static int mixed_keys(struct error *err)
{
    return error_set(err, ERR_INVALID,
                     "a list with holes, or a table with both list items and named keys, has no JSON form");
}

static int encode_number(double v, struct buf *out, struct error *err)
{
    double a = fabs(v);
    // 9 digits after the point where they are enough for what a sensor says; very small and very large with as many
    // digits as it takes to read the same number back: a time in seconds has its microseconds behind ten digits, an id
    // may be over 2^53.
    if (!isfinite(v) || (a <= 0x1p53 && v == floor(v)) || (a >= 1e-3 && a < 1e6))
        return buf_append_number(out, v, 9) ? full(err) : 0;
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) // equal bit by bit is what is meant
            break;
    }
    return buf_append_str(out, text) ? full(err) : 0;
}

static int encode_array(lua_State *L, int idx, size_t n, struct buf *out, int depth, struct error *err)
{
    if (buf_append_char(out, '['))
        return full(err);
    for (size_t i = 1; i <= n; i++) {
        if (i > 1 && buf_append_char(out, ','))
            return full(err);
        lua_rawgeti(L, idx, (int)i);
        int rc = encode(L, lua_gettop(L), out, depth + 1, err);
        lua_pop(L, 1);
        if (rc)
            return -1;
    }
    return buf_append_char(out, ']') ? full(err) : 0;
}

static int pair_compare(const struct pair *a, const struct pair *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = memcmp(a->key, b->key, n);
    return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int pair_compare_qsort(const void *a, const void *b)
{
    return pair_compare(a, b);
}

static void sort_pairs(struct pair *pairs, unsigned n)
{
    if (n > 16) {
        qsort(pairs, n, sizeof *pairs, pair_compare_qsort);
        return;
    }
    for (unsigned i = 1; i < n; i++) {
        struct pair p = pairs[i];
        unsigned j = i;
        for (; j > 0 && pair_compare(&p, &pairs[j - 1]) < 0; j--)
            pairs[j] = pairs[j - 1];
        pairs[j] = p;
    }
}

static int encode_member(lua_State *L, int idx, const struct pair *p, struct buf *out, int depth, struct error *err)
{
    switch (p->type) {
    case LUA_TNUMBER:
        return encode_number(p->number, out, err);
    case LUA_TBOOLEAN:
        return buf_append_str(out, p->boolean ? "true" : "false") ? full(err) : 0;
    case LUA_TSTRING:
        return buf_append_json_string(out, p->str.s, p->str.n) ? full(err) : 0;
    default:
        lua_pushlstring(L, p->key, p->len);
        lua_rawget(L, idx);
        int rc = encode(L, lua_gettop(L), out, depth + 1, err);
        lua_pop(L, 1);
        return rc;
    }
}

static int encode_pairs(lua_State *L, int idx, struct pair *pairs, unsigned n, struct buf *out, int depth,
                        struct error *err)
{
    sort_pairs(pairs, n);
    if (buf_append_char(out, '{'))
        return full(err);
    for (unsigned i = 0; i < n; i++) {
        if ((i && buf_append_char(out, ',')) || buf_append_json_string(out, pairs[i].key, pairs[i].len) ||
            buf_append_char(out, ':'))
            return full(err);
        if (encode_member(L, idx, &pairs[i], out, depth, err))
            return -1;
    }
    return buf_append_char(out, '}') ? full(err) : 0;
}

static void take_pair(lua_State *L, struct pair *p)
{
    p->key = lua_tolstring(L, -2, &p->len);
    p->type = lua_type(L, -1);
    if (p->type == LUA_TNUMBER)
        p->number = lua_tonumber(L, -1);
    else if (p->type == LUA_TBOOLEAN)
        p->boolean = lua_toboolean(L, -1);
    else if (p->type == LUA_TSTRING)
        p->str.s = lua_tolstring(L, -1, &p->str.n);
}

// Room for KEYS_MAX pairs, taken when an object has more than fit on the C stack.
static struct pair *more_pairs(const struct pair *few, unsigned n, struct error *err)
{
    struct pair *more = malloc(KEYS_MAX * sizeof *more);
    if (more)
        memcpy(more, few, n * sizeof *more);
    else
        error_set(err, ERR_NO_MEMORY, "no memory for the keys of a table");
    return more;
}

// The Lua stack stays as it was but for two slots: to grow it would cost every device that publishes a kilobyte.
static int encode_object(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    struct pair few[KEYS_FEW], *pairs = few;
    unsigned n = 0;
    int top = lua_gettop(L), rc = -1;
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            mixed_keys(err);
            goto done;
        }
        if (n == KEYS_MAX) {
            error_set(err, ERR_LIMIT, "an object with more than %d keys", KEYS_MAX);
            goto done;
        }
        if (n == KEYS_FEW && pairs == few && !(pairs = more_pairs(few, n, err)))
            return lua_settop(L, top), -1;
        take_pair(L, &pairs[n++]);
    }
    rc = encode_pairs(L, idx, pairs, n, out, depth, err);
done:
    if (pairs != few)
        free(pairs);
    lua_settop(L, top);
    return rc;
}

static int encode_table(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    if (depth >= DEPTH_MAX)
        return error_set(err, ERR_INVALID, "tables are nested deeper than %d, or one contains itself", DEPTH_MAX);
    if (!lua_checkstack(L, 6))
        return error_set(err, ERR_LIMIT, "the Lua stack is full");
    size_t n = lua_objlen(L, idx);
    if (n == 0)
        return encode_object(L, idx, out, depth, err);
    size_t keys = 0;
    bool mixed = false;
    for (lua_pushnil(L); !mixed && lua_next(L, idx); lua_pop(L, 1))
        mixed = lua_type(L, -2) != LUA_TNUMBER || ++keys > n;
    if (mixed) {
        lua_pop(L, 1);
        return mixed_keys(err);
    }
    return encode_array(L, idx, n, out, depth, err);
}

static int encode(lua_State *L, int idx, struct buf *out, int depth, struct error *err)
{
    size_t n;
    const char *s;
    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        return buf_append_str(out, "null") ? full(err) : 0;
    case LUA_TBOOLEAN:
        return buf_append_str(out, lua_toboolean(L, idx) ? "true" : "false") ? full(err) : 0;
    case LUA_TNUMBER:
        return encode_number(lua_tonumber(L, idx), out, err);
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &n);
        return buf_append_json_string(out, s, n) ? full(err) : 0;
    case LUA_TLIGHTUSERDATA: // cjson.null
        return buf_append_str(out, "null") ? full(err) : 0;
    case LUA_TTABLE:
        return encode_table(L, idx, out, depth, err);
    default:
        return error_set(err, ERR_INVALID, "a %s has no JSON form", luaL_typename(L, idx));
    }
}

int json_encode_value(lua_State *L, int idx, struct buf *out, struct error *err)
{
    if (idx < 0)
        idx = lua_gettop(L) + 1 + idx;
    uint32_t start = out->len;
    if (encode(L, idx, out, 0, err) == 0)
        return 0;
    out->len = start;
    return -1;
}

json_t *json_from_lua(lua_State *L, int idx, struct error *err)
{
    struct buf text;
    buf_create(&text, 16u << 20);
    json_t *v = NULL;
    if (json_encode_value(L, idx, &text, err) == 0)
        v = json_parse((const char *)text.data, text.len, "value", err);
    buf_destroy(&text);
    return v;
}

void json_to_lua(lua_State *L, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    luaL_checkstack(L, 8, "JSON nested too deep");
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        lua_newtable(L);
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            lua_pushstring(L, key);
            json_to_lua(L, item);
            lua_rawset(L, -3);
        }
        break;
    case JSON_ARRAY:
        lua_newtable(L);
        json_array_foreach(v, i, item)
        {
            json_to_lua(L, item);
            lua_rawseti(L, -2, (int)i + 1);
        }
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        lua_pushnumber(L, (double)json_integer_value(v));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(v));
        break;
    case JSON_TRUE:
        lua_pushboolean(L, 1);
        break;
    case JSON_FALSE:
        lua_pushboolean(L, 0);
        break;
    case JSON_NULL:
        lua_pushnil(L);
        break;
    }
}

// --- values of telemetry ------------------------------------------------------------------------------------------

static void push_number_text(lua_State *L, double number)
{
    struct buf text;
    buf_create(&text, 64);
    if (buf_append_number(&text, number, -1))
        lua_pushnumber(L, number);
    else
        lua_pushlstring(L, (const char *)text.data, text.len);
    buf_destroy(&text);
}

static void push_json(lua_State *L, const struct value *v)
{
    json_t *json = json_parse(v->str.s, v->str.n, "value", NULL);
    if (json)
        json_to_lua(L, json);
    else
        lua_pushnil(L);
    json_decref(json);
}

void value_to_lua(lua_State *L, const struct value *v)
{
    switch (v->type) {
    case VALUE_NUMBER:
        lua_pushnumber(L, v->number);
        break;
    case VALUE_INTEGER:
        lua_pushnumber(L, (double)v->integer);
        break;
    case VALUE_BOOLEAN:
        lua_pushboolean(L, v->boolean);
        break;
    case VALUE_STRING:
    case VALUE_BINARY:
        lua_pushlstring(L, v->str.s, v->str.n);
        break;
    case VALUE_NUMERAL:
        push_number_text(L, v->number);
        break;
    case VALUE_JSON:
        push_json(L, v);
        break;
    default:
        lua_pushnil(L);
        break;
    }
}
