// What authors can name, what they are told when they cannot, and what require finds.
#include "world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "script/embedded.h"

static char dir[64];

static void write_file(const char *name, const char *text, size_t n)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/iotix-sandbox-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static int setup(void **state)
{
    struct world *w = malloc(sizeof(*w));
    assert_non_null(w);
    world_open_with(w, &(struct guard_config){.load_us = 300000}, dir, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

// Runs author code outside a task; NULL, or the error's text (in w->text).
static const char *run(struct world *w, const char *code)
{
    if (sandbox_compile(w->L, code, strlen(code), "@scenario.lua", &w->err)) {
        snprintf(w->text, sizeof(w->text), "%s", w->err.text);
        return w->text;
    }
    const char *text = NULL;
    guard_enter_load(w->guard, w->L);
    if (lua_pcall(w->L, 0, 0, 0)) {
        snprintf(w->text, sizeof(w->text), "%s", lua_tostring(w->L, -1));
        text = w->text;
    }
    guard_leave(w->guard, NULL);
    lua_settop(w->L, 0);
    return text;
}

static void ok(struct world *w, const char *code)
{
    const char *text = run(w, code);
    if (text)
        fail_msg("%s\n%s", code, text);
}

static void bad(struct world *w, const char *code, const char *want)
{
    const char *text = run(w, code);
    if (!text || !strstr(text, want))
        fail_msg("%s\nwanted: %s\ngot: %s", code, want, text ? text : "no error");
}

static void test_strict_globals(void **state)
{
    struct world *w = *state;
    bad(w, "\nx = 1", "scenario.lua:2: assignment to global 'x'; write: local x");
    bad(w, "\n\nlocal function f() counter = 1 end\nf()", "scenario.lua:3: assignment to global 'counter'");
    bad(w, "\nprnt('x')", "scenario.lua:2: unknown global 'prnt' (did you mean 'print'?)");
    bad(w, "local t = tabel.concat", "scenario.lua:1: unknown global 'tabel' (did you mean 'table'?)");
    bad(w, "return qwertyuiop", "scenario.lua:1: unknown global 'qwertyuiop'");
    bad(w, "io.open('x')", "unknown global 'io' (it is not available to scenarios)");
    bad(w, "return _G.undefined", "unknown global 'undefined'");
    bad(w, "string.x = 1", "scenario.lua:1: attempt to change 'x' of a read-only table");
    bad(w, "math[1] = 1", "attempt to change a read-only table");
    ok(w, "local x = 1 x = 2 assert(rawget(_G, 'x') == nil)");
}

static void test_libraries_work(void **state)
{
    struct world *w = *state;
    ok(w, "assert(('abc'):upper() == 'ABC' and ('x'):rep(3, ',') == 'x,x,x' and #('y'):rep(1048576) == 1048576)");
    ok(w, "assert(string.format('%5.2f|%d|%s|%q|%s', 1.5, 3, 'x', 'y', true) == ' 1.50|3|x|\"y\"|true')");
    ok(w, "local o = setmetatable({}, { __tostring = function() return 'O!' end }) assert(('%s'):format(o) == 'O!' and "
          "tostring(o) == 'O!')");
    ok(w, "assert(('a,b,,c'):gsub(',', ';') == 'a;b;;c' and ('key=val'):match('(%w+)=(%w+)') == 'key')");
    ok(w, "local t = {3, 1, 2} table.sort(t) table.insert(t, 4) table.insert(t, 1, 0)\n"
          "assert(table.concat(t, ',') == '0,1,2,3,4') assert(table.remove(t, 1) == 0 and table.remove(t) == 4 and #t "
          "== 3)\n"
          "assert(table.concat(t, '-', 2, 3) == '2-3' and table.concat({}) == '' and table.remove({}) == nil)");
    ok(w, "table.sort({3, 2, 1}, function(a, b) return a > b end) assert(table.maxn({1, 2, [10] = 1}) == 10)");
    ok(w, "assert(bit.band(255, 15) == 15 and bit.tohex(255) == '000000ff' and bit.tohex(255, 4) == '00ff')");
    bad(w, "bit.tohex(1, -2147483648)", "out of range");
    ok(w, "assert(math.floor(1.5) == 1 and math.max(1, 5, 3) == 5 and math.pi > 3.14 and math.huge > 1e300)");
    ok(w, "assert(os.time() == 1700000000 and os.date('!%Y-%m-%d', 0) == '1970-01-01')\n"
          "assert(os.date('!%Y') == '2023' and os.date('!*t').year == 2023 and os.difftime(5, 3) == 2 and os.clock() "
          ">= 0)\n"
          "assert(os.time { year = 2023, month = 11, day = 14, hour = 12 } > 1.69e9)");
    bad(w, "os.date('%c', 0/0)", "time out of range");
    ok(w, "local t = setmetatable({}, { __index = function(_, k) return k * 2 end }) assert(t[4] == 8)\n"
          "assert(rawset({}, 'a', 1).a == 1 and select('#', unpack({1, 2, 3})) == 3 and next({}) == nil)");
    ok(w, "local f = load('local a = ... return a + 1') assert(f(1) == 2) assert(loadstring('return 7', 'x')() == 7)\n"
          "local nothing, why = load('x x') assert(nothing == nil and why:find('x'))\n"
          "nothing, why = load('\\27LJ') assert(not nothing and why:find('bytecode'))");
    bad(w, "load('y = 1')()", "assignment to global 'y'");
    ok(w, "local co = coroutine.create(function(a) return coroutine.yield(a) end)\n"
          "assert(select(2, coroutine.resume(co, 5)) == 5 and coroutine.status(co) == 'suspended')\n"
          "assert(coroutine.resume(co, 1) and coroutine.status(co) == 'dead' and coroutine.running() == nil)");
}

static void test_random_is_the_devices(void **state)
{
    struct world *w = *state;
    ok(w, "math.randomseed(5) local a, b = math.random(), math.random(10) math.randomseed(5)\n"
          "assert(a == math.random() and b == math.random(10))\n"
          "for _ = 1, 2000 do local r = math.random(3, 5) assert(r >= 3 and r <= 5 and r % 1 == 0)\n"
          "  r = math.random() assert(r >= 0 and r < 1) end");
    bad(w, "math.random(0)", "interval is empty");
    bad(w, "math.random(5, 3)", "interval is empty");
    bad(w, "math.random(-1e300, 1e300)", "interval is too large");
    bad(w, "math.random(0/0)", "interval is empty");
}

static void test_print(void **state)
{
    struct world *w = *state;
    ok(w, "print('a', 1, nil, true) print() print(('x'):rep(5000))");
    assert_memory_equal(w->printed, "a\t1\tnil\ttrue\n\nxxx", 17);
    assert_int_equal(strlen(w->printed), 14 + 4096 + 1);
    bad(w, "print(setmetatable({}, { __tostring = function() error('no') end }))", "no");
}

static void test_compile(void **state)
{
    struct world *w = *state;
    bad(w, "local x =\n= 3", "scenario.lua:2:");
    bad(w, "\x1bLJ", "scenario.lua: is bytecode; a scenario is Lua text");
    ok(w, "\xef\xbb\xbfreturn 1");
    ok(w, "");
    static char big[(4 << 20) + 1];
    memset(big, ' ', sizeof(big));
    assert_int_equal(sandbox_compile(w->L, big, sizeof(big), "@big.lua", &w->err), -1);
    assert_int_equal(w->err.code, ERR_INVALID);
    assert_string_equal(w->err.text, "big.lua: longer than 4 MB");
    error_clear(&w->err);
    bad(w, "while true do end", "loading took more than 0.3 s"); // and comes back
}

static void test_author_modules(void **state)
{
    struct world *w = *state;
    write_text("helper.lua", "local M = { n = 0 } function M.add(a, b) return a + b end return M");
    write_text("nothing.lua", "");
    write_text("fails.lua", "\nerror('broken module')");
    write_text("syntax.lua", "\n\nlocal = 1");
    write_text("global.lua", "leaked = 1");
    write_file("binary.lua", "\x1bLJ\x02", 4);
    write_text("a.lua", "return { b = require 'b' }");
    write_text("b.lua", "return { c = require 'c' }");
    write_text("c.lua", "return { a = require 'a' }");
    write_text("self.lua", "return require 'self'");
    char path[200];
    snprintf(path, sizeof(path), "%s/lib", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_text("lib/deep.lua", "return 'deep ' .. ...");
    snprintf(path, sizeof(path), "%s/out.lua", dir);
    assert_int_equal(symlink("/etc/hostname", path), 0);
    snprintf(path, sizeof(path), "%s/up.lua", dir);
    assert_int_equal(symlink("../../etc/hostname", path), 0);
    snprintf(path, sizeof(path), "%s/alias.lua", dir);
    assert_int_equal(symlink("helper.lua", path), 0);
    snprintf(path, sizeof(path), "%s/folder.lua", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/pipe.lua", dir);
    assert_int_equal(mkfifo(path, 0600), 0);

    ok(w, "local h = require 'helper' assert(h.add(1, 2) == 3) assert(require 'helper' == h) assert(require 'nothing' "
          "== true)");
    ok(w, "assert(require 'lib.deep' == 'deep lib.deep') assert(require('alias').add(2, 2) == 4)");
    bad(w, "require 'missing'", "module 'missing' not found: ");
    bad(w, "require 'missing'", "/missing.lua: No such file or directory");
    bad(w, "require 'fails'", "fails.lua:2: broken module");
    bad(w, "require 'fails'", "fails.lua:2: broken module"); // again: not taken for a cycle
    bad(w, "require 'syntax'", "syntax.lua:3:");
    bad(w, "require 'global'", "global.lua:1: assignment to global 'leaked'");
    bad(w, "require 'binary'", "is bytecode");
    bad(w, "require 'a'", "modules require each other in a circle: a -> b -> c -> a");
    bad(w, "require 'self'", "self -> self");
    bad(w, "require 'out'", "it leads out of the scenario's directory");
    bad(w, "require 'up'", "it leads out of the scenario's directory");
    bad(w, "require 'folder'", "cannot be read");
    bad(w, "require 'pipe'", "cannot be read");
    bad(w, "require '../helper'", "a module name is made of");
    bad(w, "require 'helper\\0x'", "a module name is made of");
    bad(w, "require(nil)", "string expected");
    bad(w, "require 'iotix.nothing_such'", "module 'iotix.nothing_such' not found among the modules of iotix");
    bad(w, "require 'iotix._core.native'", "private");
    bad(w, "require 'cjson.safe'", "not found");
}

static void test_no_directory(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    bad(&w, "require 'helper'", "this scenario has no directory");
    world_close(&w);
}

static unsigned opened;

static int open_native(lua_State *L)
{
    opened++;
    lua_newtable(L);
    lua_pushinteger(L, 42);
    lua_setfield(L, -2, "answer");
    lua_newtable(L);
    lua_pushinteger(L, 1);
    lua_setfield(L, -2, "one");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "back"); // a circle
    lua_setfield(L, -2, "inner");
    return 1;
}

static void test_product_modules(void **state)
{
    struct world *w = *state;
    opened = 0;
    assert_int_equal(sandbox_preload(w->L, "iotix._core.test", open_native, &w->err), 0);
    assert_int_equal(sandbox_preload(w->L, "iotix.test", open_native, &w->err), 0);
    assert_int_equal(sandbox_require(w->L, "iotix._core.test", &w->err), 0);
    assert_int_equal(sandbox_require(w->L, "iotix._core.test", &w->err), 0);
    assert_true(lua_rawequal(w->L, -1, -2));
    assert_int_equal(opened, 1);
    lua_settop(w->L, 0);
    assert_int_equal(sandbox_require(w->L, "cjson.safe", &w->err), 0);
    lua_getfield(w->L, -1, "encode");
    lua_newtable(w->L);
    lua_pushinteger(w->L, 1);
    lua_rawseti(w->L, -2, 1000000000);
    lua_call(w->L, 1, 1);
    assert_string_equal(lua_tostring(w->L, -1), "{\"1000000000\":1}");
    lua_settop(w->L, 0);
    assert_int_equal(sandbox_require(w->L, "iotix.none", &w->err), -1);
    assert_string_equal(w->err.text, "module 'iotix.none' not found among the modules of iotix");
    // authors see a view they cannot change, at any depth
    ok(w, "local m = require 'iotix.test' assert(m.answer == 42 and m.inner.one == 1 and m.inner.back == m)\n"
          "assert(require 'iotix.test' == m)\n"
          "assert(not pcall(function() m.answer = 1 end) and not pcall(function() m.inner.one = 2 end))\n"
          "assert(not pcall(rawset, m.inner, 'one', 2) and m.inner.one == 1)");
    assert_int_equal(opened, 2);
}

// Every module that is compiled in compiles, and no author reaches the private ones.
static void test_embedded(void **state)
{
    struct world *w = *state;
    for (const struct embedded_file *f = embedded_files; f->path; f++) {
        assert_ptr_equal(embedded_find(f->path), f);
        assert_int_equal(f->bytes[f->size], 0);
        if (strncmp(f->path, "lua/", 4) == 0 && luaL_loadbufferx(w->L, f->bytes, f->size, f->path, "t"))
            fail_msg("%s", lua_tostring(w->L, -1));
        lua_settop(w->L, 0);
    }
    assert_null(embedded_find("lua/iotix/none.lua"));
    assert_null(embedded_find(""));
}

static void test_readonly(void **state)
{
    struct world *w = *state;
    lua_newtable(w->L);
    lua_pushinteger(w->L, 5);
    lua_setfield(w->L, -2, "five");
    sandbox_readonly(w->L);
    assert_int_equal(lua_gettop(w->L), 1);
    lua_getfield(w->L, -1, "five");
    assert_int_equal(lua_tointeger(w->L, -1), 5);
    lua_settop(w->L, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strict_globals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_libraries_work, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_is_the_devices, setup, teardown),
        cmocka_unit_test_setup_teardown(test_print, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_author_modules, setup, teardown),
        cmocka_unit_test(test_no_directory),
        cmocka_unit_test_setup_teardown(test_product_modules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_embedded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readonly, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
