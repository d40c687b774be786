// payload.sparkplug: births, data and deaths of Sparkplug B as their author puts them together. The metrics are written
// one by one as they are read, so nothing is kept.
#include <math.h>
#include <string.h>
#include "script/payload_bind.h"
#include "telemetry/encode.h"

#define SPARKPLUG "iotix.payload.sparkplug"

static const char *const type_names[] = {"Int8",     "Int16",  "Int32", "Int64",  "UInt8",   "UInt16",
                                         "UInt32",   "UInt64", "Float", "Double", "Boolean", "String",
                                         "DateTime", "Text",   "UUID",  "Bytes",  NULL};

enum kind { KIND_DATA, KIND_BIRTH, KIND_DEATH };

struct message {
    enum kind kind;
    uint64_t ms;
    double bd_seq; // < 0: none
    int seq;
};

// A whole number of the table at idx, dflt without one.
static double whole_number(lua_State *L, int idx, const char *where, const char *key, double max, double dflt)
{
    struct value v;
    lua_getfield(L, idx, key);
    bool known = payload_scalar(L, lua_gettop(L), &v);
    double number = v.type == VALUE_INTEGER ? (double)v.integer : v.number;
    if (lua_isnil(L, -1))
        number = dflt;
    else if (!known || (v.type != VALUE_NUMBER && v.type != VALUE_INTEGER) || !(number >= 0 && number <= max) ||
             number != floor(number))
        luaL_error(L, "%s: %s: expected a whole number from 0 to %f", where, key, max);
    lua_pop(L, 1);
    return number;
}

static uint64_t timestamp(lua_State *L, int idx, const char *where, uint64_t dflt)
{
    lua_getfield(L, idx, "timestamp");
    double seconds = lua_tonumber(L, -1);
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TNUMBER || !(seconds >= 0 && seconds < 9e12))
            luaL_error(L, "%s: timestamp: expected seconds since 1970 such as iotix.now()", where);
        dflt = (uint64_t)(seconds * 1000 + 1e-3); // a time of microseconds is no exact double
    }
    lua_pop(L, 1);
    return dflt;
}

// --- metrics ------------------------------------------------------------------------------------------------------

static enum sparkplug_type default_type(const struct value *v)
{
    return v->type == VALUE_INTEGER   ? SPARKPLUG_INT64
           : v->type == VALUE_BOOLEAN ? SPARKPLUG_BOOLEAN
           : v->type == VALUE_STRING  ? SPARKPLUG_STRING
           : v->type == VALUE_BINARY  ? SPARKPLUG_BYTES
                                      : SPARKPLUG_DOUBLE;
}

static enum sparkplug_type type_of(int k)
{
    return k == 15 ? SPARKPLUG_BYTES : (enum sparkplug_type)(k + 1);
}

// Whether the type can say the value at all; null every type can.
static bool fits(enum sparkplug_type type, const struct value *v)
{
    bool text = type == SPARKPLUG_STRING || type == SPARKPLUG_TEXT || type == SPARKPLUG_UUID;
    if (v->type == VALUE_NULL)
        return true;
    if (text)
        return v->type == VALUE_STRING;
    if (type == SPARKPLUG_BYTES)
        return v->type == VALUE_BINARY || v->type == VALUE_STRING;
    if (type == SPARKPLUG_BOOLEAN)
        return v->type == VALUE_BOOLEAN;
    return v->type == VALUE_NUMBER || v->type == VALUE_INTEGER;
}

// The metric at idx. The fields it points to stay in the table.
static struct sparkplug_metric read_metric(lua_State *L, int idx, const char *where, const struct message *message)
{
    static const char *const valid[] = {"name", "alias", "type", "value", "timestamp", NULL};
    struct sparkplug_metric m = {.has_timestamp = true, .declared = message->kind == KIND_BIRTH, .precision = -1};
    bind_check_keys(L, idx, where, valid);
    m.timestamp = timestamp(L, idx, where, message->ms);
    double alias = whole_number(L, idx, where, "alias", 0x1p53, -1);
    m.has_alias = alias >= 0;
    m.alias = m.has_alias ? (uint64_t)alias : 0;
    lua_getfield(L, idx, "name");
    if (lua_type(L, -1) == LUA_TSTRING)
        m.name = lua_tolstring(L, -1, &m.name_len);
    else if (!lua_isnil(L, -1) || m.declared || !m.has_alias)
        luaL_error(L, "%s: name: expected a string, got %s", where, luaL_typename(L, -1));
    if (m.has_alias && !m.declared)
        m.name = NULL; // the birth has told it
    lua_getfield(L, idx, "value");
    if (!payload_scalar(L, lua_gettop(L), &m.value))
        luaL_error(L, "%s: value: expected a number, text, boolean, payload.bytes or payload.integer, got %s", where,
                   luaL_typename(L, -1));
    lua_getfield(L, idx, "type");
    bool typed = !lua_isnil(L, -1);
    m.type = typed ? type_of(bind_option(L, lua_gettop(L), where, type_names, -1)) : default_type(&m.value);
    if (!typed && m.declared && m.value.type == VALUE_NULL)
        luaL_error(L, "%s: type: a metric without a value needs one in a birth", where);
    if (!fits(m.type, &m.value))
        luaL_error(L, "%s: value: a %s is no %s", where, luaL_typename(L, -2), lua_tostring(L, -1));
    if (m.value.type == VALUE_NUMBER && !isfinite(m.value.number))
        m.value.type = VALUE_NULL;
    if (!sparkplug_fits(m.type, &m.value))
        luaL_error(L, "%s: value: %s does not fit into %s", where, lua_tostring(L, -2), lua_tostring(L, -1));
    lua_pop(L, 3);
    return m;
}

static int put_metrics(lua_State *L, const struct message *message, struct buf *out)
{
    lua_getfield(L, 1, "metrics");
    int list = lua_gettop(L), n = lua_istable(L, list) ? (int)lua_objlen(L, list) : 0;
    if (!lua_istable(L, list))
        luaL_error(L, SPARKPLUG ": metrics: expected a list of tables, got %s", luaL_typename(L, list));
    for (int i = 1; i <= n; i++) {
        char where[64];
        snprintf(where, sizeof where, SPARKPLUG ": metrics[%d]", i);
        lua_rawgeti(L, list, i);
        if (!lua_istable(L, -1))
            luaL_error(L, "%s: expected a table such as { name =, value = }, got %s", where, luaL_typename(L, -1));
        struct sparkplug_metric m = read_metric(L, lua_gettop(L), where, message);
        if (sparkplug_put_metric(out, &m))
            return -1;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return 0;
}

// --- messages -----------------------------------------------------------------------------------------------------

static struct message read_message(lua_State *L, struct scenario *s)
{
    static const char *const valid[] = {"metrics", "seq", "birth", "death", "bd_seq", "timestamp", NULL};
    bind_check_keys(L, 1, SPARKPLUG, valid);
    struct message m = {.ms = timestamp(L, 1, SPARKPLUG, (uint64_t)(scenario_wall_us(s) / 1000))};
    bool birth = bind_opt_bool(L, 1, "birth", false), death = bind_opt_bool(L, 1, "death", false);
    m.kind = birth ? KIND_BIRTH : death ? KIND_DEATH : KIND_DATA;
    m.bd_seq = whole_number(L, 1, SPARKPLUG, "bd_seq", 0x1p53, -1);
    m.seq = bind_opt_int(L, 1, "seq", 0, 255, -1);
    if (birth && death)
        luaL_error(L, SPARKPLUG ": birth and death: one of them");
    if (m.kind == KIND_DATA && m.seq < 0)
        luaL_error(L, SPARKPLUG ": seq: data needs one, 0 to 255: one more than in the message before");
    if (m.kind == KIND_BIRTH && m.seq < 0)
        m.seq = 0;
    if (m.kind == KIND_DEATH && m.bd_seq < 0)
        luaL_error(L, SPARKPLUG ": bd_seq: a death needs that of its birth");
    if (m.kind == KIND_DEATH && m.seq >= 0)
        luaL_error(L, SPARKPLUG ": seq: a death has none");
    return m;
}

// payload.sparkplug{ metrics =, seq =, birth =, death =, bd_seq =, timestamp = } → bytes | nil, message, code
int payload_sparkplug(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct buf *out = &s->scratch;
    if (lua_type(L, 1) != LUA_TTABLE)
        return luaL_error(L, SPARKPLUG ": expected a table { metrics =, seq = }, got %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    struct message m = read_message(L, s);
    buf_clear(out);
    int rc = sparkplug_put_timestamp(out, m.ms);
    if (!rc && m.bd_seq >= 0)
        rc = sparkplug_put_bd_seq(out, (uint64_t)m.bd_seq, m.ms);
    if (!rc && m.kind == KIND_BIRTH && m.bd_seq >= 0) // of a node; a device's birth has neither
        rc = sparkplug_put_rebirth(out, m.ms);
    if (!rc && m.kind != KIND_DEATH)
        rc = put_metrics(L, &m, out);
    if (!rc && m.seq >= 0)
        rc = sparkplug_put_seq(out, (unsigned)m.seq);
    return rc ? payload_fail(L, s, ERR_LIMIT, "the payload is larger than 1 MB") : payload_push(L, s);
}
