// Names and texts: user properties of MQTT 5, header fields of HTTP, options of CoAP.
#include <ctype.h>
#include <string.h>
#include "script/conn.h"

struct list {
    lua_State *L;
    const char *what;
    struct adapter_property *at;
    unsigned n;
    size_t bytes;
};

// The text at the top of the stack; numbers and booleans are written. Stays on the stack.
static const char *text_at_top(lua_State *L, const char *what, const char *name, size_t *n)
{
    if (lua_type(L, -1) == LUA_TBOOLEAN) {
        lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false");
        lua_replace(L, -2);
    }
    if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "%s: %s: expected a text or a list of texts, got %s", what, name, luaL_typename(L, -1));
    return lua_tolstring(L, -1, n);
}

static void add(struct list *l, const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (l->n >= PROPERTIES_MAX)
        luaL_error(l->L, "%s: at most %d of them", l->what, PROPERTIES_MAX);
    if (!name_len)
        luaL_error(l->L, "%s: a name is empty", l->what);
    l->bytes += name_len + value_len;
    if (l->bytes > PROPERTIES_BYTES)
        luaL_error(l->L, "%s: together at most %d bytes", l->what, PROPERTIES_BYTES);
    l->at[l->n++] =
        (struct adapter_property){.name = name, .name_len = name_len, .value = value, .value_len = value_len};
}

// { { name, text }, … }
static void take_pairs(struct list *l, int idx)
{
    lua_State *L = l->L;
    size_t n = lua_objlen(L, idx), name_len, value_len;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, idx, (int)i);
        if (!lua_istable(L, -1))
            luaL_error(L, "%s[%d]: expected { name, text }, got %s", l->what, (int)i, luaL_typename(L, -1));
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s[%d]: expected { name, text }", l->what, (int)i);
        const char *name = lua_tolstring(L, -2, &name_len);
        const char *value = text_at_top(L, l->what, name, &value_len);
        lua_remove(L, -3); // name and text stay
        add(l, name, name_len, value, value_len);
    }
}

// The texts of one name; the table or text is at the top of the stack, the key below it. Leaves what must live below
// the key.
static void take_value(struct list *l, const char *name, size_t name_len)
{
    lua_State *L = l->L;
    size_t n;
    if (!lua_istable(L, -1)) {
        const char *value = text_at_top(L, l->what, name, &n);
        add(l, name, name_len, value, n);
        lua_insert(L, -2);
        return;
    }
    int table = lua_gettop(L);
    size_t items = lua_objlen(L, table);
    if (!items)
        luaL_error(L, "%s: %s: expected a text or a list of texts, got a table without list items", l->what, name);
    for (size_t i = 1; i <= items; i++) {
        lua_rawgeti(L, table, (int)i);
        const char *value = text_at_top(L, l->what, name, &n);
        add(l, name, name_len, value, n);
    }
    // key, table, texts … → table, texts …, key
    lua_pushvalue(L, table - 1);
    lua_remove(L, table - 1);
}

static void take_named(struct list *l, int idx)
{
    lua_State *L = l->L;
    for (lua_pushnil(L); lua_next(L, idx);) {
        size_t n;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s: expected { name = text }, got a key that is a %s", l->what, luaL_typename(L, -2));
        const char *name = lua_tolstring(L, -2, &n);
        take_value(l, name, n);
    }
}

static int before(const struct adapter_property *a, const struct adapter_property *b)
{
    size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, n);
    return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

// What goes out must not depend on the table's inner order. Stable: the texts of one name stay in theirs.
static void sort(struct adapter_property *list, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        struct adapter_property p = list[i];
        unsigned k = i;
        for (; k && before(&p, &list[k - 1]) < 0; k--)
            list[k] = list[k - 1];
        list[k] = p;
    }
}

unsigned bind_properties(lua_State *L, int idx, const char *what, struct adapter_property *list)
{
    struct list l = {.L = L, .what = what, .at = list};
    if (!lua_istable(L, idx))
        luaL_error(L, "%s: expected a table { name = text }, got %s", what, luaL_typename(L, idx));
    luaL_checkstack(L, 3 * PROPERTIES_MAX + 16, what);
    lua_rawgeti(L, idx, 1);
    bool pairs = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (pairs) {
        take_pairs(&l, idx);
    } else {
        take_named(&l, idx);
        sort(list, l.n);
    }
    return l.n;
}

static void push_name(lua_State *L, const struct adapter_property *p, bool lower)
{
    char name[256];
    if (!lower || p->name_len > sizeof name) {
        lua_pushlstring(L, p->name, p->name_len);
        return;
    }
    for (size_t i = 0; i < p->name_len; i++)
        name[i] = (char)tolower((unsigned char)p->name[i]);
    lua_pushlstring(L, name, p->name_len);
}

void properties_push(lua_State *L, const struct adapter_property *list, unsigned n, bool lower)
{
    lua_createtable(L, 0, (int)n);
    int table = lua_gettop(L);
    for (unsigned i = 0; i < n; i++) {
        push_name(L, &list[i], lower);
        lua_pushvalue(L, -1);
        lua_rawget(L, table);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushlstring(L, list[i].value, list[i].value_len);
            lua_rawset(L, table);
            continue;
        }
        if (!lua_istable(L, -1)) { // the second one makes it a list
            lua_createtable(L, 2, 0);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, table);
        }
        lua_pushlstring(L, list[i].value, list[i].value_len);
        lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
        lua_settop(L, table);
    }
}
