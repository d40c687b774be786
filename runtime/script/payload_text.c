// payload.csv and payload.influx: lines of text, escaped as their formats want it.
#include <math.h>
#include <string.h>
#include "script/payload_bind.h"
#include "telemetry/encode.h"

// A number as JSON has it: 9 digits after the point, or as many as it takes.
static int put_number(lua_State *L, int idx, struct buf *out)
{
    return json_encode_value(L, idx, out, NULL);
}

// --- CSV ----------------------------------------------------------------------------------------------------------

static int put_field(lua_State *L, int idx, const struct value *v, char delimiter, struct buf *out)
{
    switch (v->type) {
    case VALUE_NUMBER:
        return isfinite(v->number) ? put_number(L, idx, out) : 0;
    case VALUE_INTEGER:
        return buf_append_int(out, v->integer);
    case VALUE_BOOLEAN:
        return buf_append_str(out, v->boolean ? "true" : "false");
    case VALUE_STRING:
        return csv_put_text(out, v->str.s, v->str.n, delimiter);
    case VALUE_BINARY:
        return buf_append_base64(out, v->str.s, v->str.n);
    default:
        return 0;
    }
}

static char csv_delimiter(lua_State *L)
{
    size_t n = 0;
    lua_getfield(L, 1, "delimiter");
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (!lua_isnil(L, -1) && (n != 1 || !csv_delimiter_valid(s[0])))
        luaL_error(L, "iotix.payload.csv: delimiter: expected one character such as \",\", \";\", \"|\" or a tab");
    char delimiter = s ? s[0] : ',';
    lua_pop(L, 1);
    return delimiter;
}

// payload.csv{ values..., delimiter = "," } → line | nil, message, code
int payload_csv(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct buf *out = &s->scratch;
    size_t numbers = 0;
    if (lua_type(L, 1) != LUA_TTABLE)
        return luaL_error(L, "iotix.payload.csv: expected a list of values, got %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    char delimiter = csv_delimiter(L);
    size_t n = lua_objlen(L, 1);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (lua_type(L, -2) == LUA_TNUMBER)
            numbers++;
        else if (strcmp(key, "delimiter") != 0)
            return luaL_error(L, "iotix.payload.csv: unknown key \"%s\"; valid: values in a list, delimiter", key);
    }
    if (numbers != n)
        return luaL_error(L, "iotix.payload.csv: a list with holes; an empty field is iotix.json.null");
    buf_clear(out);
    for (size_t i = 1; i <= n; i++) {
        struct value v;
        lua_rawgeti(L, 1, (int)i);
        if (!payload_scalar(L, 2, &v))
            return luaL_error(
                L, "iotix.payload.csv: value %d: expected a number, text, boolean or iotix.json.null, got %s", (int)i,
                luaL_typename(L, 2));
        if ((i > 1 && buf_append_char(out, delimiter)) || put_field(L, 2, &v, delimiter, out))
            return payload_fail(L, s, ERR_LIMIT, "the line is longer than 1 MB");
        lua_pop(L, 1);
    }
    return payload_push(L, s);
}

// --- InfluxDB -----------------------------------------------------------------------------------------------------

#define INFLUX "iotix.payload.influx"

// The table of tags or fields, pushed; raises for what cannot be in it. Nothing is allocated yet.
static int check_table(lua_State *L, const char *what)
{
    lua_getfield(L, 1, what);
    int idx = lua_gettop(L), n = 0;
    if (lua_isnil(L, idx))
        return idx;
    if (!lua_istable(L, idx))
        luaL_error(L, INFLUX ": %s: expected a table, got %s", what, luaL_typename(L, idx));
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        struct value v;
        size_t len;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, INFLUX ": %s: expected names as keys, there is a %s", what, luaL_typename(L, -2));
        const char *name = lua_tolstring(L, -2, &len);
        const char *problem = strlen(name) != len ? "a name holds no NUL" : influx_name_problem(name);
        if (problem)
            luaL_error(L, INFLUX ": %s: \"%s\": %s", what, name, problem);
        if (!payload_scalar(L, lua_gettop(L), &v))
            luaL_error(L, INFLUX ": %s: %s: expected a number, text, boolean or iotix.json.null, got %s", what, name,
                       luaL_typename(L, -1));
        if (++n > PAYLOAD_KEYS_MAX)
            luaL_error(L, INFLUX ": %s: more than %d", what, PAYLOAD_KEYS_MAX);
    }
    return idx;
}

static int put_tag(lua_State *L, int idx, const struct value *v, struct buf *out)
{
    uint32_t from = out->len;
    int rc = v->type == VALUE_STRING ? buf_append(out, v->str.s, v->str.n) : put_field(L, idx, v, ',', out);
    return rc || influx_escape(out, from, INFLUX_KEY) ? -1 : 0;
}

static int put_influx_value(lua_State *L, int idx, const struct value *v, struct buf *out)
{
    switch (v->type) {
    case VALUE_INTEGER:
        return buf_append_int(out, v->integer) || buf_append_char(out, 'i') ? -1 : 0;
    case VALUE_STRING:
        return influx_put_string(out, v->str.s, v->str.n);
    case VALUE_BINARY:
        return buf_append_char(out, '"') || buf_append_base64(out, v->str.s, v->str.n) || buf_append_char(out, '"') ? -1
                                                                                                                    : 0;
    default:
        return put_field(L, idx, v, ',', out);
    }
}

// Name and value of one tag or field; nothing when it is null or empty, which the protocol cannot say.
static int put_pair(lua_State *L, const struct payload_key *key, bool tag, bool first, struct buf *out)
{
    struct value v;
    uint32_t before = out->len;
    payload_scalar(L, lua_gettop(L), &v);
    if (v.type == VALUE_NULL || (v.type == VALUE_NUMBER && !isfinite(v.number)))
        return 0;
    if (buf_append_char(out, tag || !first ? ',' : ' ') || influx_put_text(out, key->s, key->n, INFLUX_KEY) ||
        buf_append_char(out, '='))
        return -1;
    uint32_t from = out->len;
    if (tag ? put_tag(L, lua_gettop(L), &v, out) : put_influx_value(L, lua_gettop(L), &v, out))
        return -1;
    if (out->len == from)
        out->len = before;
    return 0;
}

// The checked table at idx, sorted by name.
static int put_pairs(lua_State *L, int idx, bool tags, struct buf *out)
{
    struct payload_keys keys;
    uint32_t start = out->len;
    int rc = 0;
    if (lua_isnil(L, idx))
        return 0;
    if (payload_keys_create(&keys, L, idx, false, NULL))
        return -1;
    for (unsigned i = 0; i < keys.n && !rc; i++) {
        lua_pushlstring(L, keys.list[i].s, keys.list[i].n);
        lua_rawget(L, idx);
        rc = put_pair(L, &keys.list[i], tags, out->len == start, out);
        lua_pop(L, 1);
    }
    payload_keys_destroy(&keys);
    return rc;
}

struct influx_time {
    bool given; // false: the line has none, the server's time counts
    int64_t wall_us;
    unsigned precision;
};

static struct influx_time influx_time(lua_State *L, struct scenario *s)
{
    struct influx_time t = {.given = true, .wall_us = scenario_wall_us(s)};
    lua_getfield(L, 1, "time");
    double seconds = lua_tonumber(L, -1);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        t.given = false;
    else if (lua_type(L, -1) == LUA_TNUMBER && fabs(seconds) < 9e12)
        t.wall_us = (int64_t)rint(seconds * 1e6);
    else if (!lua_isnil(L, -1))
        luaL_error(L, INFLUX ": time: expected seconds since 1970 such as iotix.now(), or false");
    lua_getfield(L, 1, "precision");
    t.precision = (unsigned)bind_option(L, lua_gettop(L), INFLUX ": precision", influx_precisions(), 0);
    lua_pop(L, 2);
    return t;
}

// payload.influx{ measurement =, tags =, fields =, time =, precision = } → line | nil, message, code
int payload_influx(lua_State *L)
{
    static const char *const valid[] = {"measurement", "tags", "fields", "time", "precision", NULL};
    struct scenario *s = scenario_of(L);
    struct buf *out = &s->scratch;
    size_t n;
    if (lua_type(L, 1) != LUA_TTABLE)
        return luaL_error(L, INFLUX ": expected a table { measurement =, fields = }, got %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    bind_check_keys(L, 1, INFLUX, valid);
    struct influx_time t = influx_time(L, s);
    lua_getfield(L, 1, "measurement");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &n) : "";
    if (!*name || *name == '_' || strlen(name) != n)
        return luaL_error(L, INFLUX ": measurement: expected a name that does not begin with _");
    int tags = check_table(L, "tags"), fields = check_table(L, "fields");
    if (lua_isnil(L, fields))
        return luaL_error(L, INFLUX ": fields: at least one is needed");
    buf_clear(out);
    int rc = influx_put_text(out, name, n, INFLUX_MEASUREMENT) || put_pairs(L, tags, true, out);
    uint32_t series = out->len;
    rc = rc || put_pairs(L, fields, false, out);
    if (!rc && out->len == series)
        return payload_fail(L, s, ERR_INVALID, "there is no field with a value: InfluxDB takes no such line");
    if (rc || (t.given && (buf_append_char(out, ' ') || influx_put_time(out, t.wall_us, t.precision))))
        return payload_fail(L, s, ERR_LIMIT, "the line is longer than 1 MB");
    return payload_push(L, s);
}
