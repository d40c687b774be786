// The pattern functions against LuaJIT's own: the same results, or both an error, for 200,000 random cases; and their
// limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include "core/clock.h"
#include "script/pattern.h"

static const luaL_Reg ours[] = {
    {"find", pattern_find}, {"match", pattern_match}, {"gmatch", pattern_gmatch}, {"gsub", pattern_gsub}, {NULL, NULL}};

static int setup(void **state)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    for (const luaL_Reg *r = ours; r->name; r++) {
        lua_pushcfunction(L, r->func);
        lua_setfield(L, -2, r->name);
    }
    lua_setglobal(L, "ours");
    *state = L;
    return 0;
}

static int teardown(void **state)
{
    lua_close(*state);
    return 0;
}

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code)) {
        print_error("%s\n", lua_tostring(L, -1));
        fail();
    }
    lua_settop(L, 0);
}

static void test_same_as_luajit(void **state)
{
    run(*state,
        "math.randomseed(20260101)\n"
        "local random, char = math.random, string.char\n"
        "local letters = { 'a', 'b', 'c', 'A', '1', ' ', '.', '-', '(', ')', '%', '[', ']', '\\0', '\\200', 'ab', "
        "'aa', '_', '^', '$' }\n"
        "local pieces = { 'a', 'b', 'c', '.', '%a', '%d', '%s', '%w', '%W', '%p', '%x', '%z', '%g', '%u', '%l', '%c', "
        "'%A', '%Z', '%.',\n"
        "  '%%', '[abc]', '[^a]', '[a-c]', '[%d%s]', '[^%w]', '[]]', '[]-a]', '[a-]', '[%]]', '[%a-z]', '[', ']', '(', "
        "')', '()', '(a)',\n"
        "  '(.-)', '(%w*)', '*', '+', '-', '?', '%b()', '%bab', '%f[%w]', '%f[^a]', '%f[%z]', '%f[^%z]', '%f', '%b', "
        "'%1', '%2', '%0', '^', '$', '%', '\\200',\n"
        "  'A', '1', ' ', '\\0', '-', '_', '{', '~', '%{', '%@', '%_' }\n"
        "local templates = { 'x', '<%0>', '%1', '%1%1', '%2', '%', '%%', 'a%b', '', '%9', 'xx\\0y' }\n"
        "local function join(from, n) local t = {} for i = 1, random(0, n) do t[i] = from[random(#from)] end return "
        "table.concat(t) end\n"
        "local function pack(...) return { n = select('#', ...), ... } end\n"
        "local function all(lib, s, p) local t, k = {}, 0\n"
        "  for a, b, c in lib.gmatch(s, p) do k = k + 1 if k > 60 then break end t[#t+1] = "
        "tostring(a)..'|'..tostring(b)..'|'..tostring(c) end\n"
        "  return table.concat(t, ';') end\n"
        "local function replacement() local k = random(4)\n"
        "  if k == 1 then return templates[random(#templates)] end\n"
        "  if k == 2 then return { a = 'T', ab = false, [1] = 'one', b = 7, c = true } end\n"
        "  if k == 3 then return function(a, b) if a == 'a' then return nil end if b then return b end return a end "
        "end\n"
        "  return random(9) end\n"
        "local counts = { ok = 0, failed = 0, hits = 0 }\n"
        "for case = 1, 200000 do\n"
        "  local s, p = join(letters, 12), join(pieces, 6)\n"
        "  local kind, x, y = random(5)\n"
        "  if kind <= 2 then\n"
        "    local name, init = kind == 1 and 'find' or 'match', random(-8, 14)\n"
        "    local plain = random(6) == 1 or nil\n"
        "    if random(2) == 1 then init = nil end\n"
        "    x, y = pack(pcall(string[name], s, p, init, plain)), pack(pcall(ours[name], s, p, init, plain))\n"
        "  elseif kind == 3 then\n"
        "    x, y = pack(pcall(all, string, s, p)), pack(pcall(all, ours, s, p))\n"
        "  else\n"
        "    local r, max = replacement(), random(3) == 1 and random(-1, 4) or nil\n"
        "    x, y = pack(pcall(string.gsub, s, p, r, max)), pack(pcall(ours.gsub, s, p, r, max))\n"
        "  end\n"
        "  local same = x[1] == y[1]\n"
        "  if same and x[1] then same = x.n == y.n for i = 2, x.n do same = same and x[i] == y[i] end end\n"
        "  if not same then error(string.format('case %d kind %d: %q with %q: luajit %s %s %s, ours %s %s %s', case, "
        "kind, s, p,\n"
        "    tostring(x[1]), tostring(x[2]), tostring(x[3]), tostring(y[1]), tostring(y[2]), tostring(y[3]))) end\n"
        "  if x[1] then counts.ok = counts.ok + 1 if x[2] then counts.hits = counts.hits + 1 end else counts.failed = "
        "counts.failed + 1 end\n"
        "end\n"
        "assert(counts.ok > 80000 and counts.failed > 20000 and counts.hits > 40000)\n");
}

static void test_long_texts(void **state)
{
    run(*state, "local s = string.rep('the quick brown fox ', 3000)\n"
                "for _, p in ipairs { '%w+', '%s', '(%w+) (%w+)', 'fox', '[aeiou]', '%f[%w]%w' } do\n"
                "  local a, n = string.gsub(s, p, '<%0>') local b, m = ours.gsub(s, p, '<%0>')\n"
                "  assert(a == b and n == m, p)\n"
                "end\n"
                "local r = ours.gsub(s, '%w+', function(w) return w:upper() end) assert(r == s:upper())\n"
                "local big = string.rep('x', 900000) .. 'needle'\n"
                "assert(ours.find(big, 'needle') == 900001)\n"
                "assert(ours.find(big, 'e-d', 1, true) == nil)\n");
}

static void test_limits(void **state)
{
    run(*state, "local function fails(want, f, ...) local ok, e = pcall(f, ...) assert(not ok and e:find(want, 1, "
                "true), tostring(e)) end\n"
                "fails('1000000 steps', ours.find, string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 30))\n"
                "fails('1000000 steps', ours.find, string.rep('a', 3000), '.-.-.-b')\n"
                "fails('1000000 steps', ours.match, string.rep('a', 60000), '(.*)(.*)b')\n"
                "fails('1000000 steps', ours.gsub, string.rep('(', 60000), '%b()', '')\n"
                "fails('1000000 steps', ours.find, string.rep('a', 60000), string.rep('[bcdefghijklmnopqrstuvwxyz]', "
                "1) .. '*[bcdefghijklmnopqrstuvwxyz0123456789]c')\n"
                "fails('64 KB', ours.find, string.rep('a', 65537), 'a*')\n"
                "fails('1 MB', ours.find, string.rep('a', 1048577), 'b')\n"
                "fails('256 bytes', ours.find, 'a', string.rep('a?', 200))\n"
                "fails('longer than 1 MB', ours.gsub, string.rep('a', 60000), 'a', string.rep('b', 100))\n"
                "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_as_luajit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
