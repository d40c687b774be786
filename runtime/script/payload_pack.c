// payload.pack and unpack: numbers and texts at fixed places, after the formats of Lua 5.3's string.pack:
//
//   < >        little and big endian from here on (at the start: little)
//   b B h H    whole numbers of 1 and 2 bytes, with and without a sign
//   i I l L    of 4 and of 8; i1 … i8 and I1 … I8 of as many bytes as it says
//   f d        floats of 4 and 8 bytes
//   s1 s2 s4   a text with its length in front, in as many bytes
//   z          a text that ends with a zero
//   x          one zero byte
//
// Where Lua 5.3 takes what the machine has (sizes, endianness) these are the same everywhere.
#include <float.h>
#include <math.h>
#include <string.h>
#include "script/payload_bind.h"
#include "telemetry/encode.h"

enum { FORMAT_MAX = 256 };

enum pack_kind { PACK_END, PACK_INT, PACK_UINT, PACK_FLOAT, PACK_TEXT, PACK_ZERO, PACK_PAD };

struct pack {
    const char *function; // for messages
    const char *format, *at;
    bool big_endian;
    // the item that was read last
    enum pack_kind kind;
    unsigned size; // bytes; PACK_TEXT: of the length
    char name[3];
};

static struct pack pack_begin(lua_State *L, const char *function)
{
    size_t n;
    if (lua_type(L, 1) != LUA_TSTRING)
        luaL_error(L, "%s: expected a format such as \"<Hs2f\", got %s", function, luaL_typename(L, 1));
    const char *format = lua_tolstring(L, 1, &n);
    if (n > FORMAT_MAX || strlen(format) != n)
        luaL_error(L, "%s: a format has at most %d characters and no NUL", function, FORMAT_MAX);
    return (struct pack){.function = function, .format = format, .at = format};
}

static void set_item(struct pack *p, enum pack_kind kind, unsigned size)
{
    p->kind = kind;
    p->size = size;
}

// The digit behind i, I and s, 0 when there is none.
static unsigned take_size(struct pack *p)
{
    if (*p->at < '1' || *p->at > '9')
        return 0;
    p->name[1] = *p->at;
    return (unsigned)(*p->at++ - '0');
}

static void bad_format(lua_State *L, const struct pack *p)
{
    luaL_error(L, "%s: \"%s\" at %d is no format; valid: < > b B h H i I l L f d z x, i and I with 1 to 8, s1 s2 s4",
               p->function, p->name, (int)(p->at - p->format));
}

// Reads the next item; PACK_END behind the last one.
static enum pack_kind pack_next(lua_State *L, struct pack *p)
{
    static const char integers[] = "bBhHlL";
    static const unsigned sizes[] = {1, 1, 2, 2, 8, 8};
    while (*p->at == '<' || *p->at == '>' || *p->at == ' ')
        p->big_endian = *p->at == ' ' ? p->big_endian : *p->at == '>', p->at++;
    char c = *p->at;
    if (!c)
        return p->kind = PACK_END;
    p->at++;
    memcpy(p->name, (char[3]){c, 0, 0}, 3);
    const char *integer = strchr(integers, c);
    unsigned size = c == 'i' || c == 'I' || c == 's' ? take_size(p) : 0;
    if (integer)
        set_item(p, (integer - integers) % 2 ? PACK_UINT : PACK_INT, sizes[integer - integers]);
    else if ((c == 'i' || c == 'I') && size <= 8)
        set_item(p, c == 'i' ? PACK_INT : PACK_UINT, size ? size : 4);
    else if (c == 'f' || c == 'd')
        set_item(p, PACK_FLOAT, c == 'f' ? 4 : 8);
    else if (c == 's' && (size == 1 || size == 2 || size == 4))
        set_item(p, PACK_TEXT, size);
    else if (c == 'z' || c == 'x')
        set_item(p, c == 'z' ? PACK_ZERO : PACK_PAD, 1);
    else
        bad_format(L, p);
    return p->kind;
}

// --- pack ---------------------------------------------------------------------------------------------------------

static uint64_t check_integer(lua_State *L, const struct pack *p, int arg)
{
    struct value v;
    bool known = payload_scalar(L, arg, &v), is_signed = p->kind == PACK_INT;
    double low = is_signed ? -ldexp(1, (int)p->size * 8 - 1) : 0;
    double end = ldexp(1, (int)p->size * 8 - (is_signed ? 1 : 0)); // the first that is too large
    if (!known || (v.type != VALUE_NUMBER && v.type != VALUE_INTEGER))
        luaL_error(L, "%s: value %d (\"%s\"): expected a whole number, got %s", p->function, arg - 1, p->name,
                   lua_isnone(L, arg) ? "nothing" : luaL_typename(L, arg));
    if (v.type == VALUE_INTEGER && p->size == 8 && (is_signed || v.integer >= 0))
        return (uint64_t)v.integer; // all 64 bits count
    double number = v.type == VALUE_INTEGER ? (double)v.integer : v.number;
    if (!(number >= low && number < end) || number != floor(number))
        luaL_error(L, "%s: value %d (\"%s\"): expected a whole number from %f to %f, got %f", p->function, arg - 1,
                   p->name, low, end - 1, number);
    return number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
}

static uint64_t check_float(lua_State *L, const struct pack *p, int arg)
{
    if (lua_type(L, arg) != LUA_TNUMBER)
        luaL_error(L, "%s: value %d (\"%s\"): expected a number, got %s", p->function, arg - 1, p->name,
                   lua_isnone(L, arg) ? "nothing" : luaL_typename(L, arg));
    double v = lua_tonumber(L, arg);
    uint64_t bits;
    uint32_t single;
    if (p->size == 8) {
        memcpy(&bits, &v, sizeof bits);
        return bits;
    }
    if (isfinite(v) && fabs(v) > FLT_MAX)
        luaL_error(L, "%s: value %d (\"f\"): %f does not fit into 4 bytes; use d", p->function, arg - 1, v);
    float f = (float)v;
    memcpy(&single, &f, sizeof single);
    return single;
}

static const char *check_text(lua_State *L, const struct pack *p, int arg, size_t *n)
{
    struct value v;
    if (!payload_scalar(L, arg, &v) || (v.type != VALUE_STRING && v.type != VALUE_BINARY))
        luaL_error(L, "%s: value %d (\"%s\"): expected a string, got %s", p->function, arg - 1, p->name,
                   lua_isnone(L, arg) ? "nothing" : luaL_typename(L, arg));
    *n = v.str.n;
    if (p->kind == PACK_ZERO && memchr(v.str.s, 0, *n))
        luaL_error(L, "%s: value %d (\"z\"): the string has a zero inside; use s1, s2 or s4", p->function, arg - 1);
    if (p->kind == PACK_TEXT && *n >> p->size * 8)
        luaL_error(L, "%s: value %d (\"%s\"): the string is longer than its length can say", p->function, arg - 1,
                   p->name);
    return v.str.s;
}

// Takes the value at arg where the item has one. -1: the result is too large.
static int pack_item(lua_State *L, const struct pack *p, int arg, struct buf *out)
{
    size_t n;
    const char *s;
    switch (p->kind) {
    case PACK_PAD:
        return buf_append_char(out, 0);
    case PACK_INT:
    case PACK_UINT:
        return binary_put_uint(out, check_integer(L, p, arg), p->size, p->big_endian);
    case PACK_FLOAT:
        return binary_put_uint(out, check_float(L, p, arg), p->size, p->big_endian);
    default:
        s = check_text(L, p, arg, &n);
        if (p->kind == PACK_TEXT && binary_put_uint(out, n, p->size, p->big_endian))
            return -1;
        if (buf_append(out, s, n))
            return -1;
        return p->kind == PACK_ZERO ? buf_append_char(out, 0) : 0;
    }
}

// payload.pack(format, ...) → bytes | nil, message, code
int payload_pack(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct pack p = pack_begin(L, "iotix.payload.pack");
    int arg = 2;
    buf_clear(&s->scratch);
    while (pack_next(L, &p) != PACK_END) {
        if (pack_item(L, &p, arg, &s->scratch))
            return payload_fail(L, s, ERR_LIMIT, "the packed bytes are more than 1 MB");
        arg += p.kind != PACK_PAD;
    }
    if (arg <= lua_gettop(L))
        return luaL_error(L, "%s: the format \"%s\" takes %d values, there are %d", p.function, p.format, arg - 2,
                          lua_gettop(L) - 1);
    return payload_push(L, s);
}

// --- unpack -------------------------------------------------------------------------------------------------------

struct input {
    const uint8_t *start, *at, *end;
};

static uint64_t take_uint(struct input *in, unsigned n, bool big_endian)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | in->at[big_endian ? i : n - 1 - i];
    in->at += n;
    return v;
}

static double float_of(uint64_t bits, unsigned size)
{
    double d;
    float f;
    uint32_t single = (uint32_t)bits;
    memcpy(&d, &bits, sizeof d);
    memcpy(&f, &single, sizeof f);
    return size == 4 ? (double)f : d;
}

// Pushes what the item says (nothing for padding). -1: the data ends before.
static int unpack_item(lua_State *L, const struct pack *p, struct input *in)
{
    size_t left = (size_t)(in->end - in->at), n;
    if (left < p->size)
        return -1;
    if (p->kind == PACK_ZERO) {
        const uint8_t *zero = memchr(in->at, 0, left);
        if (!zero)
            return -1;
        lua_pushlstring(L, (const char *)in->at, (size_t)(zero - in->at));
        in->at = zero + 1;
        return 0;
    }
    uint64_t v = take_uint(in, p->size, p->big_endian);
    switch (p->kind) {
    case PACK_PAD:
        return 0;
    case PACK_FLOAT:
        lua_pushnumber(L, float_of(v, p->size));
        return 0;
    case PACK_UINT:
        lua_pushnumber(L, (double)v);
        return 0;
    case PACK_INT:
        n = 64 - p->size * 8; // the sign's bit to the top and back
        lua_pushnumber(L, (double)((int64_t)(v << n) >> n));
        return 0;
    default:
        if (v > left - p->size)
            return -1;
        lua_pushlstring(L, (const char *)in->at, (size_t)v);
        in->at += v;
        return 0;
    }
}

// payload.unpack(format, bytes, position?) → values..., position behind them | nil, message, code
int payload_unpack(lua_State *L)
{
    size_t n;
    struct pack p = pack_begin(L, "iotix.payload.unpack");
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "%s: expected a string of bytes, got %s", p.function, luaL_typename(L, 2));
    const uint8_t *bytes = (const uint8_t *)lua_tolstring(L, 2, &n);
    double position = lua_isnoneornil(L, 3) ? 1 : lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) : 0;
    if (!(position >= 1 && position <= (double)n + 1) || position != floor(position))
        return luaL_error(L, "%s: position: expected a whole number from 1 to %d", p.function, (int)n + 1);
    luaL_checkstack(L, FORMAT_MAX + 8, "too many values");
    struct input in = {.start = bytes, .at = bytes + (size_t)position - 1, .end = bytes + n};
    int top = lua_gettop(L);
    while (pack_next(L, &p) != PACK_END) {
        if (unpack_item(L, &p, &in)) {
            struct error err = {0};
            error_set(&err, ERR_INVALID, "the data of %zu bytes ends within item %d (\"%s\")", n,
                      lua_gettop(L) - top + 1, p.name);
            lua_settop(L, top);
            return bind_fail(L, &err);
        }
    }
    lua_pushnumber(L, (double)(in.at - in.start) + 1);
    return lua_gettop(L) - top;
}
