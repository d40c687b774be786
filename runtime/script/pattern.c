// A backtracking matcher over the pattern's text: walk() goes along the pattern, and calls itself only where there is a
// choice (a repetition, an optional item) or something to undo (a capture). Everything that takes time is paid for in
// steps: a move along the pattern, a character tried, a member of a set looked at, a byte compared.
#include "script/pattern.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MAX_DEPTH 200 // as LuaJIT
#define OPEN (-1)     // capture that has not ended
#define PLACE (-2)    // position capture

struct capture {
    const char *at;
    ptrdiff_t len; // or OPEN, PLACE
};

struct matcher {
    lua_State *L;
    const char *subject, *end;
    const char *pattern; // as given; NUL-terminated
    size_t pattern_len;
    bool literal;  // no magic characters: a plain search
    int64_t steps; // left
    int depth;
    int n_captures;
    struct capture captures[LUA_MAXCAPTURES];
};

static const char *walk(struct matcher *m, const char *s, const char *p);

static void pay(struct matcher *m, size_t steps)
{
    m->steps -= (int64_t)steps;
    if (__builtin_expect(m->steps < 0, 0))
        luaL_error(m->L, "the pattern took more than %d steps; make it simpler or the text shorter", PATTERN_STEPS);
}

// --- single characters
// --------------------------------------------------------------------------------------------------

static inline bool between(int c, int low, int high)
{
    return c >= low && c <= high;
}

// ASCII, whatever the locale.
static bool in_class(int c, int letter)
{
    bool lower = between(c, 'a', 'z'), upper = between(c, 'A', 'Z'), digit = between(c, '0', '9');
    bool yes;
    switch (letter | 0x20) {
    case 'a':
        yes = lower || upper;
        break;
    case 'c':
        yes = between(c, 0, 31) || c == 127;
        break;
    case 'd':
        yes = digit;
        break;
    case 'g':
        yes = between(c, 33, 126);
        break;
    case 'l':
        yes = lower;
        break;
    case 'p':
        yes = between(c, 33, 126) && !lower && !upper && !digit;
        break;
    case 's':
        yes = between(c, 9, 13) || c == ' ';
        break;
    case 'u':
        yes = upper;
        break;
    case 'w':
        yes = lower || upper || digit;
        break;
    case 'x':
        yes = digit || between(c | 0x20, 'a', 'f');
        break;
    case 'z':
        yes = c == 0;
        break;
    default:
        return letter == c;
    }
    return between(letter, 'a', 'z') ? yes : !yes;
}

// Is what stands behind '%' a class? Other bytes stand for themselves ("%." and, outside the letters, also "\1").
static bool escaped_matches(int c, int e)
{
    if (between(e, 'a', 'z') || between(e, 'A', 'Z'))
        return in_class(c, e);
    return c == e;
}

// set: its '['; last: its ']'.
static bool in_set(struct matcher *m, int c, const char *set, const char *last)
{
    bool yes = true;
    pay(m, (size_t)(last - set) / 2);
    if (set[1] == '^') {
        yes = false;
        set++;
    }
    while (++set < last) {
        if (*set == '%') {
            set++;
            if (escaped_matches(c, (unsigned char)*set))
                return yes;
        } else if (set[1] == '-' && set + 2 < last) {
            if (between(c, (unsigned char)set[0], (unsigned char)set[2]))
                return yes;
            set += 2;
        } else if ((unsigned char)*set == c) {
            return yes;
        }
    }
    return !yes;
}

// Where the item that starts at p ends.
static const char *item_end(struct matcher *m, const char *p)
{
    int c = *p++;
    if (c == '%') {
        if (!*p)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (c != '[')
        return p;
    if (*p == '^')
        p++;
    do {
        if (!*p)
            luaL_error(m->L, "malformed pattern (missing ']')");
        c = *p++;
        if (c == '%' && *p)
            p++;
    } while (*p != ']');
    return p + 1;
}

static inline bool item_matches(struct matcher *m, const char *s, const char *p, const char *end)
{
    if (s >= m->end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return escaped_matches(c, (unsigned char)p[1]);
    case '[':
        return in_set(m, c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

// --- what has a choice
// --------------------------------------------------------------------------------------------------

static const char *longest_first(struct matcher *m, const char *s, const char *p, const char *end)
{
    const char *low = s;
    while (item_matches(m, s, p, end)) {
        s++;
        pay(m, 1);
    }
    for (; s >= low; s--) {
        const char *e = walk(m, s, end + 1);
        if (e)
            return e;
    }
    return NULL;
}

static const char *shortest_first(struct matcher *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        const char *e = walk(m, s, end + 1);
        if (e)
            return e;
        if (!item_matches(m, s, p, end))
            return NULL;
        s++;
    }
}

static const char *open_capture(struct matcher *m, const char *s, const char *p, ptrdiff_t len)
{
    if (m->n_captures >= LUA_MAXCAPTURES)
        luaL_error(m->L, "too many captures");
    m->captures[m->n_captures++] = (struct capture){s, len};
    const char *e = walk(m, s, p);
    if (!e)
        m->n_captures--;
    return e;
}

static const char *close_capture(struct matcher *m, const char *s, const char *p)
{
    int i = m->n_captures - 1;
    while (i >= 0 && m->captures[i].len != OPEN)
        i--;
    if (i < 0) {
        luaL_error(m->L, "invalid pattern capture");
        return NULL;
    }
    m->captures[i].len = s - m->captures[i].at;
    const char *e = walk(m, s, p);
    if (!e)
        m->captures[i].len = OPEN;
    return e;
}

// %bxy: p is at x.
static const char *balanced(struct matcher *m, const char *s, const char *p)
{
    if (!p[0] || !p[1])
        luaL_error(m->L, "unbalanced pattern");
    if (*s != p[0]) // at the end of the subject there is a NUL, which p[0] is not
        return NULL;
    const char *from = s;
    int open = 1;
    while (++s < m->end) {
        if (*s == p[1]) {
            if (--open == 0)
                break;
        } else if (*s == p[0]) {
            open++;
        }
    }
    pay(m, (size_t)(s - from));
    return s < m->end ? s + 1 : NULL;
}

// %f: p is at the set. NULL, or where the pattern goes on.
static const char *frontier(struct matcher *m, const char *s, const char *p)
{
    if (*p != '[')
        luaL_error(m->L, "missing '[' after '%%f' in pattern");
    const char *end = item_end(m, p);
    int before = s == m->subject ? 0 : (unsigned char)s[-1];
    if (in_set(m, before, p, end - 1) || !in_set(m, (unsigned char)*s, p, end - 1))
        return NULL;
    return end;
}

// %1 to %9.
static const char *back_reference(struct matcher *m, const char *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->n_captures || m->captures[i].len == OPEN)
        luaL_error(m->L, "invalid capture index");
    ptrdiff_t n = m->captures[i].len;
    if (n < 0 || m->end - s < n)
        return NULL;
    pay(m, (size_t)n / 16);
    return memcmp(m->captures[i].at, s, (size_t)n) == 0 ? s + n : NULL;
}

// One item with what follows it. Sets *s and *p and returns true to go on there, or returns false with *s the result.
static bool item(struct matcher *m, const char **s, const char **p)
{
    const char *end = item_end(m, *p);
    switch (*end) {
    case '?':
        if (item_matches(m, *s, *p, end)) {
            const char *e = walk(m, *s + 1, end + 1);
            if (e) {
                *s = e;
                return false;
            }
        }
        *p = end + 1;
        return true;
    case '*':
        *s = longest_first(m, *s, *p, end);
        return false;
    case '+':
        *s = item_matches(m, *s, *p, end) ? longest_first(m, *s + 1, *p, end) : NULL;
        return false;
    case '-':
        *s = shortest_first(m, *s, *p, end);
        return false;
    default:
        if (!item_matches(m, *s, *p, end)) {
            *s = NULL;
            return false;
        }
        ++*s;
        *p = end;
        return true;
    }
}

// An item that starts with '%'. Like item().
static bool escape(struct matcher *m, const char **s, const char **p)
{
    int c = (unsigned char)(*p)[1];
    if (c == 'b') {
        *s = balanced(m, *s, *p + 2);
        *p += 4;
        return *s != NULL;
    }
    if (c == 'f') {
        *p = frontier(m, *s, *p + 2);
        if (!*p)
            *s = NULL;
        return *p != NULL;
    }
    if (between(c, '0', '9')) {
        *s = back_reference(m, *s, c);
        *p += 2;
        return *s != NULL;
    }
    return item(m, s, p);
}

// Where the match of the pattern from p on, at s, ends; or NULL.
static const char *walk(struct matcher *m, const char *s, const char *p)
{
    if (++m->depth > MAX_DEPTH)
        luaL_error(m->L, "pattern too complex");
    bool on = true;
    while (on) {
        pay(m, 1);
        if (*p == '\0') {
            on = false;
        } else if (*p == '$' && p[1] == '\0') {
            if (s != m->end)
                s = NULL;
            on = false;
        } else if (*p == '(') {
            s = p[1] == ')' ? open_capture(m, s, p + 2, PLACE) : open_capture(m, s, p + 1, OPEN);
            on = false;
        } else if (*p == ')') {
            s = close_capture(m, s, p + 1);
            on = false;
        } else {
            on = *p == '%' ? escape(m, &s, &p) : item(m, &s, &p);
        }
    }
    m->depth--;
    return s;
}

// --- searching
// ----------------------------------------------------------------------------------------------------------

// A NUL ends a pattern, but not a plain text: LuaJIT's find looks for it as it is when nothing else is magic.
static bool has_magic(const char *p, size_t n, bool find)
{
    const char *magic = find ? "^$*+?.([%-" : "^$*+?.([%-)";
    for (size_t i = 0; i < n; i++) {
        if (p[i] ? strchr(magic, p[i]) != NULL : !find)
            return true;
    }
    return false;
}

static void matcher_init(struct matcher *m, lua_State *L, int subject, int pattern, bool find)
{
    size_t n;
    m->L = L;
    m->subject = luaL_checklstring(L, subject, &n);
    m->end = m->subject + n;
    m->pattern = luaL_checklstring(L, pattern, &m->pattern_len);
    m->literal = !has_magic(m->pattern, m->pattern_len, find);
    m->steps = PATTERN_STEPS;
}

static void check_sizes(const struct matcher *m, int subject, int pattern)
{
    size_t n = (size_t)(m->end - m->subject);
    if (!m->literal && m->pattern_len > PATTERN_MAX)
        luaL_argerror(m->L, pattern, "pattern longer than 256 bytes");
    if (m->literal && n > PATTERN_PLAIN_MAX)
        luaL_argerror(m->L, subject, "text longer than 1 MB");
    if (!m->literal && n > PATTERN_SUBJECT_MAX)
        luaL_argerror(m->L, subject, "text longer than 64 KB for a pattern (a plain find takes 1 MB)");
}

// Pattern p at exactly s.
static const char *match_at(struct matcher *m, const char *s, const char *p)
{
    m->n_captures = 0;
    m->depth = 0;
    if (!m->literal)
        return walk(m, s, p);
    size_t n = m->pattern_len;
    return (size_t)(m->end - s) >= n && memcmp(s, m->pattern, n) == 0 ? s + n : NULL;
}

// First match at or behind *s: sets *s, returns its end.
static const char *search(struct matcher *m, const char **s, const char *p, bool anchored)
{
    if (m->literal && !anchored) {
        m->n_captures = 0;
        const char *at = memmem(*s, (size_t)(m->end - *s), m->pattern, m->pattern_len);
        if (!at)
            return NULL;
        *s = at;
        return at + m->pattern_len;
    }
    do {
        const char *e = match_at(m, *s, p);
        if (e)
            return e;
    } while ((*s)++ < m->end && !anchored);
    return NULL;
}

static void push_capture(struct matcher *m, int i, const char *s, const char *e)
{
    if (i >= m->n_captures) {
        if (i != 0)
            luaL_error(m->L, "invalid capture index");
        lua_pushlstring(m->L, s, (size_t)(e - s));
        return;
    }
    const struct capture *c = &m->captures[i];
    if (c->len == OPEN)
        luaL_error(m->L, "unfinished capture");
    if (c->len == PLACE)
        lua_pushinteger(m->L, c->at - m->subject + 1);
    else
        lua_pushlstring(m->L, c->at, (size_t)c->len);
}

// All captures; the whole match when there are none and it is asked for.
static int push_captures(struct matcher *m, const char *s, const char *e, bool whole)
{
    int n = m->n_captures == 0 && whole ? 1 : m->n_captures;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, s, e);
    return n;
}

static int find_or_match(lua_State *L, bool find)
{
    struct matcher m;
    matcher_init(&m, L, 1, 2, find);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer n = m.end - m.subject;
    if (find && lua_toboolean(L, 4))
        m.literal = true;
    check_sizes(&m, 1, 2);
    from = from < 0 ? from + n : from - 1;
    from = from < 0 ? 0 : from > n ? n : from;
    const char *s = m.subject + from, *p = m.pattern;
    bool anchored = !m.literal && *p == '^';
    const char *e = search(&m, &s, p + anchored, anchored);
    if (!e) {
        lua_pushnil(L);
        return 1;
    }
    if (!find)
        return push_captures(&m, s, e, true);
    lua_pushinteger(L, s - m.subject + 1);
    lua_pushinteger(L, e - m.subject);
    return push_captures(&m, NULL, NULL, false) + 2;
}

int pattern_find(lua_State *L)
{
    return find_or_match(L, true);
}

int pattern_match(lua_State *L)
{
    return find_or_match(L, false);
}

static int gmatch_next(lua_State *L)
{
    struct matcher m;
    matcher_init(&m, L, lua_upvalueindex(1), lua_upvalueindex(2), false);
    const char *s = m.subject + lua_tointeger(L, lua_upvalueindex(3));
    if (s > m.end)
        return 0;
    const char *e = search(&m, &s, m.pattern, false);
    if (!e)
        return 0;
    lua_pushinteger(L, e - m.subject + (e == s)); // an empty match must not come again
    lua_replace(L, lua_upvalueindex(3));
    return push_captures(&m, s, e, true);
}

int pattern_gmatch(lua_State *L)
{
    struct matcher m;
    matcher_init(&m, L, 1, 2, false);
    check_sizes(&m, 1, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

// --- gsub
// ---------------------------------------------------------------------------------------------------------------

// The result under construction: on the C stack while it is small, then in a userdata, so that a callback may raise.
struct out {
    lua_State *L;
    int slot; // stack index of the userdata
    char *at;
    size_t n, size;
    char small[512];
};

static void out_add(struct out *o, const char *s, size_t n)
{
    if (o->size - o->n < n) {
        size_t need = o->n + n;
        if (need > PATTERN_PLAIN_MAX)
            luaL_error(o->L, "result of gsub longer than 1 MB");
        size_t size = o->size * 2 > need ? o->size * 2 : need;
        char *grown = lua_newuserdata(o->L, size);
        memcpy(grown, o->at, o->n);
        lua_replace(o->L, o->slot);
        o->at = grown;
        o->size = size;
    }
    memcpy(o->at + o->n, s, n);
    o->n += n;
}

static void out_add_value(struct out *o)
{
    size_t n;
    const char *s = lua_tolstring(o->L, -1, &n);
    out_add(o, s, n);
    lua_pop(o->L, 1);
}

static void add_template(struct matcher *m, struct out *o, const char *s, const char *e)
{
    size_t n;
    const char *text = lua_tolstring(m->L, 3, &n);
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '%') {
            size_t run = 1;
            while (i + run < n && text[i + run] != '%')
                run++;
            out_add(o, text + i, run);
            i += run - 1;
            continue;
        }
        i++; // at the end: the string's own NUL, as LuaJIT
        if (text[i] == '0') {
            out_add(o, s, (size_t)(e - s));
        } else if (between(text[i], '1', '9')) {
            push_capture(m, text[i] - '1', s, e);
            out_add_value(o);
        } else {
            out_add(o, text + i, 1);
        }
    }
}

static void add_replacement(struct matcher *m, struct out *o, int type, const char *s, const char *e)
{
    lua_State *L = m->L;
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, e, true), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, s, e);
        lua_gettable(L, 3);
    } else {
        add_template(m, o, s, e);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        out_add(o, s, (size_t)(e - s));
        return;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    out_add_value(o);
}

int pattern_gsub(lua_State *L)
{
    struct matcher m;
    struct out o;
    matcher_init(&m, L, 1, 2, false);
    check_sizes(&m, 1, 2);
    int type = lua_type(L, 3);
    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE)
        luaL_argerror(L, 3, "string/function/table expected");
    lua_Integer most = luaL_optinteger(L, 4, m.end - m.subject + 1);
    lua_settop(L, 3);
    lua_pushnil(L);
    o.L = L;
    o.slot = 4;
    o.at = o.small;
    o.n = 0;
    o.size = sizeof(o.small);
    bool anchored = *m.pattern == '^';
    const char *p = m.pattern + anchored, *from = m.subject;
    lua_Integer n = 0;
    while (n < most) {
        const char *s = from;
        const char *e = search(&m, &s, p, anchored);
        if (!e)
            break;
        n++;
        out_add(&o, from, (size_t)(s - from));
        add_replacement(&m, &o, type, s, e);
        from = e;
        if (e == s) {
            if (s >= m.end)
                break;
            out_add(&o, s, 1);
            from = s + 1;
        }
        if (anchored)
            break;
    }
    out_add(&o, from, (size_t)(m.end - from));
    lua_pushlstring(L, o.at, o.n);
    lua_pushinteger(L, n);
    return 2;
}
