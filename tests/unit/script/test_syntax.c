// The column of a syntax error, and taking messages with a position apart.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include "script/syntax.h"

static int column_of(lua_State *L, const char *text, size_t n)
{
    if (luaL_loadbufferx(L, text, n, "@x.lua", "t") == 0) {
        lua_pop(L, 1);
        return -1;
    }
    int top = lua_gettop(L);
    int column = syntax_column(L, text, n, "@x.lua", lua_tostring(L, -1));
    assert_int_equal(lua_gettop(L), top);
    lua_pop(L, 1);
    return column;
}

static void test_columns(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int column;
    } cases[] = {
        {"x = 1", -1},
        {"x = = 1", 5},
        {"local a, b = 1,, 2", 16},
        {"a = { b = 1 b = 2 }", 13},
        {"local ends = 1 end", 16},
        {"f(", 3},
        {"return 'a", 10}, // the end of the text is what it complains of
        {"return 'a\n", 8},
        {"x = 0x", 5},
        {"return [[a\nb", 2},
        {"goto", 5},
        {"\x01", 0}, // named char(1)
    };
    lua_State *L = luaL_newstate();
    luaL_openlibs(L); // LuaJIT does not survive a literal such as 1i in a state without them
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int column = column_of(L, cases[i].text, strlen(cases[i].text));
        if (column != cases[i].column)
            fail_msg("%s: column %d, expected %d", cases[i].text, column, cases[i].column);
    }
    lua_close(L);
}

// Whatever the text, the column lies in its line; a token longer than any, and more candidates than are tried.
static void test_any_text(void **state)
{
    (void)state;
    static const char alphabet[] = "ab =,'\"[]{}()\n\r\\-1.x~#end if then \xc3\xa4\x00";
    lua_State *L = luaL_newstate();
    luaL_openlibs(L); // LuaJIT does not survive a literal such as 1i in a state without them
    uint64_t seed = 88172645463325252u;
    for (unsigned i = 0; i < 20000; i++) {
        size_t n = i % 60;
        char *exact = malloc(n + 1); // so that a sanitizer sees reads behind it
        assert_non_null(exact);
        for (size_t k = 0; k < n; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            exact[k] = alphabet[seed % (sizeof alphabet - 1)];
        }
        int column = column_of(L, exact, n);
        assert_in_range(column + 1, 0, n + 2);
        free(exact);
    }
    struct {
        char name[3000];
    } *big = calloc(1, sizeof *big);
    assert_non_null(big);
    memset(big->name, 'a', sizeof big->name - 1);
    memcpy(big->name, "x y", 3); // one offending name of 2,997 letters
    assert_in_range(column_of(L, big->name, strlen(big->name)), 0, 3);
    for (unsigned i = 0; i + 2 < sizeof big->name; i += 2)
        memcpy(big->name + i, ",b", 2);
    memcpy(big->name, "a=", 2);
    column_of(L, big->name, strlen(big->name));
    free(big);
    lua_close(L);
}

static void test_positions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        size_t path_len;
        int line, column;
    } cases[] = {
        {"a.lua:12: no", "no", 5, 12, 0},
        {"a.lua:12:5: no", "no", 5, 12, 5},
        {"a.lua:12:05x", "05x", 5, 12, 0},
        {"c:/a.lua:3: x", "x", 8, 3, 0},
        {"no place", "no place", 0, 0, 0},
        {"at 12:30 it ended", "at 12:30 it ended", 0, 0, 0},
        {"one\na.lua:1: two", "one\na.lua:1: two", 0, 0, 0},
        {"a.lua:99999999999999999999: x", "a.lua:99999999999999999999: x", 0, 0, 0},
        {"a.lua:0: x", "a.lua:0: x", 0, 0, 0},
        {"", "", 0, 0, 0},
        {":", ":", 0, 0, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t path_len;
        int line, column;
        assert_string_equal(syntax_position(cases[i].text, &path_len, &line, &column), cases[i].message);
        assert_int_equal(path_len, cases[i].path_len);
        assert_int_equal(line, cases[i].line);
        assert_int_equal(column, cases[i].column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_any_text),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
