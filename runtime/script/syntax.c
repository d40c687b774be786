#include "script/syntax.h"
#include <ctype.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TRIES = 64, MAX_TOKEN = 60, MAX_TEXT = 1 << 20 };

const char *syntax_position(const char *text, size_t *path_len, int *line, int *column)
{
    *path_len = 0;
    *line = *column = 0;
    const char *end_of_first = strchr(text, '\n');
    for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
        char *end;
        if (end_of_first && colon > end_of_first)
            break;
        long number = isdigit((unsigned char)colon[1]) ? strtol(colon + 1, &end, 10) : 0;
        if (number <= 0 || number > 100000000 || *end != ':')
            continue;
        *path_len = (size_t)(colon - text);
        *line = (int)number;
        if (isdigit((unsigned char)end[1])) {
            char *behind;
            long second = strtol(end + 1, &behind, 10);
            if (*behind == ':' && second > 0 && second <= 100000000) {
                *column = (int)second;
                end = behind;
            }
        }
        return end[1] == ' ' ? end + 2 : end + 1;
    }
    return text;
}

// The token of "… near 'x'": its length; 0: the message names none.
static size_t token_of(const char *message, const char **token)
{
    const char *near = NULL;
    for (const char *at = message; (at = strstr(at, " near '")); at++)
        near = at;
    size_t n = near ? strlen(near) : 0;
    if (n < 9 || near[n - 1] != '\'')
        return 0;
    *token = near + 7;
    return n - 8;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

// Whether what stands at [at, at + n) of the text is a token of its own, as far as letters tell.
static bool stands_alone(const char *text, size_t len, size_t at, size_t n)
{
    if (!is_word(text[at]))
        return true;
    return !(at > 0 && is_word(text[at - 1])) && !(at + n < len && is_word(text[at + n]) && is_word(text[at + n - 1]));
}

// Whether the text up to there is refused with the same words.
static bool refused_alike(lua_State *L, const char *text, size_t n, const char *chunk, const char *message)
{
    bool alike = luaL_loadbufferx(L, text, n, chunk, "t") != 0 && strcmp(lua_tostring(L, -1), message) == 0;
    lua_pop(L, 1);
    return alike;
}

int syntax_column(lua_State *L, const char *text, size_t n, const char *chunk, const char *message)
{
    size_t path_len, from = 0, to;
    int line, column;
    const char *token, *rest = syntax_position(message, &path_len, &line, &column);
    size_t len = token_of(rest, &token);
    if (!line || !len || n > MAX_TEXT)
        return 0;
    for (int i = 1; i < line; i++) {
        const char *lf = memchr(text + from, '\n', n - from);
        if (!lf)
            return 0;
        from = (size_t)(lf - text) + 1;
    }
    const char *lf = memchr(text + from, '\n', n - from);
    to = lf ? (size_t)(lf - text) : n;
    if (len == 5 && memcmp(token, "<eof>", 5) == 0)
        return (int)(to - from) + 1;
    int tries = 0;
    bool whole = len <= MAX_TOKEN;
    len = whole ? len : MAX_TOKEN;
    for (size_t at = from; at + len <= to && tries < MAX_TRIES; at++) {
        if (memcmp(text + at, token, len) != 0 || !stands_alone(text, n, at, whole ? len : 1))
            continue;
        tries++;
        // An unfinished string is one only with the end of its line.
        if (!whole || refused_alike(L, text, at + len, chunk, message) ||
            (at + len == to && to < n && refused_alike(L, text, to + 1, chunk, message)))
            return (int)(at - from) + 1;
    }
    return 0;
}
