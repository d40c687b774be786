// The guard without a scheduler: slices, hook, accounts, loads, the heartbeat; and 20,000 kills at random instructions.
#include "world.h"

#include <luajit.h>
#include <lualib.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
    struct guard *guard;
    lua_State *L;
    struct error err;
};

static void open_guard(struct bench *b, const struct guard_config *config)
{
    memset(b, 0, sizeof(*b));
    b->guard = guard_new(config, false, &b->err);
    if (!b->guard)
        fail_msg("%s", b->err.text);
    b->L = guard_state(b->guard);
    luaL_openlibs(b->L);
    luaJIT_setmode(b->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); // luaL_openlibs starts it
    assert_ptr_equal(guard_of(b->L), b->guard);
}

// A coroutine with the chunk in it, anchored on the main stack.
static lua_State *load(struct bench *b, const char *code)
{
    lua_State *co = lua_newthread(b->L);
    if (luaL_loadbuffer(co, code, strlen(code), "@chunk.lua"))
        fail_msg("%s", lua_tostring(co, -1));
    return co;
}

static int resume(struct bench *b, lua_State *co, uint32_t account, enum guard_verdict *verdict)
{
    guard_enter(b->guard, co, account, 0, 0);
    int status = lua_resume(co, 0);
    *verdict = guard_leave(b->guard, NULL);
    return status;
}

static void test_preempts_and_goes_on(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t account = guard_account_new(b.guard, 0);
    lua_State *co = load(&b, "local n = 0 for i = 1, 2e7 do n = n + i % 7 end return n");
    enum guard_verdict v;
    unsigned slices = 0;
    int status;
    while ((status = resume(&b, co, account, &v)) == LUA_YIELD) {
        assert_int_equal(v, GUARD_PREEMPTED);
        slices++;
    }
    assert_int_equal(status, 0);
    assert_int_equal(v, GUARD_OK);
    assert_true(slices > 1);
    double want = 0;
    for (int i = 1; i <= 20000000; i++)
        want += i % 7;
    assert_true(lua_tonumber(co, -1) == want); // not a digit was lost on the way
    guard_delete(b.guard);
}

static void test_short_slices_have_no_hook(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t account = guard_account_new(b.guard, 0);
    lua_State *co = load(&b, "while true do coroutine.yield() end");
    enum guard_verdict v;
    int64_t end = clock_thread_cpu_us() + 50000;
    while (clock_thread_cpu_us() < end) {
        assert_int_equal(resume(&b, co, account, &v), LUA_YIELD);
        assert_int_equal(v, GUARD_OK);
        assert_null(lua_gethook(b.L));
    }
    guard_delete(b.guard);
}

static void test_cpu_is_measured(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){.slice_us = 1000000});
    lua_pushcfunction(b.L, world_cpu);
    lua_setglobal(b.L, "cpu");
    uint32_t account = guard_account_new(b.guard, 0);
    lua_State *co = load(&b, "local began = cpu() repeat until cpu() - began > 3000");
    guard_enter(b.guard, co, account, 0, 0);
    assert_int_equal(lua_resume(co, 0), 0);
    int64_t cpu;
    assert_int_equal(guard_leave(b.guard, &cpu), GUARD_OK);
    assert_true(cpu >= 3000);
    guard_delete(b.guard);
}

static void test_raises_where_it_cannot_yield(void **state)
{
    (void)state;
    static const char *const codes[] = {
        "table.sort({3, 2, 1}, function() while true do pcall(function() while true do end end) end end)",
        "string.gsub('x', 'x', function() while true do end end)",
        "while true do pcall(coroutine.wrap(function() while true do pcall(load 'repeat until nil') end end)) end",
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct bench b;
        open_guard(&b, &(struct guard_config){0});
        uint32_t account = guard_account_new(b.guard, 0);
        lua_State *co = load(&b, codes[i]);
        enum guard_verdict v;
        int64_t began = clock_thread_cpu_us();
        int status = resume(&b, co, account, &v);
        int64_t took = clock_thread_cpu_us() - began;
        assert_int_not_equal(status, 0);
        assert_int_equal(v, GUARD_KILL_CPU);
        assert_true(took < 80000);
        assert_non_null(strstr(guard_reason(b.guard), "cannot be paused"));
        assert_non_null(strstr(guard_trace(b.guard), "chunk.lua:1"));
        assert_null(lua_gethook(b.L));
        lua_gc(b.L, LUA_GCCOLLECT, 0);
        guard_delete(b.guard);
    }
}

static void test_memory(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t account = guard_account_new(b.guard, 300000);
    enum guard_verdict v;
    // Garbage alone is no offence: a collection is made before the verdict.
    lua_gc(b.L, LUA_GCSTOP, 0);
    lua_State *co = load(&b, "for i = 1, 20000 do local t = {i, i} end");
    int status;
    while ((status = resume(&b, co, account, &v)) == LUA_YIELD)
        assert_true(v == GUARD_CUT || v == GUARD_PREEMPTED);
    assert_int_equal(status, 0);
    co = load(&b, "t = {} for i = 1, 1e7 do pcall(function() t[i] = {} end) end");
    do
        status = resume(&b, co, account, &v);
    while (status == LUA_YIELD && v < GUARD_KILL_CPU);
    assert_int_equal(v, GUARD_KILL_MEMORY);
    assert_non_null(strstr(guard_reason(b.guard), "293 KB"));
    int64_t held = guard_account_bytes(b.guard, account);
    assert_true(held > 300000 && held < 1200000);
    // What outlives its account keeps its number busy; then the number comes again.
    guard_account_free(b.guard, account);
    assert_int_not_equal(guard_account_new(b.guard, 0), account);
    lua_settop(b.L, 0);
    lua_pushnil(b.L);
    lua_setglobal(b.L, "t");
    for (int i = 0; i < 10; i++)
        lua_gc(b.L, LUA_GCCOLLECT, 0);
    assert_int_equal(guard_account_bytes(b.guard, account), 0);
    assert_int_equal(guard_account_new(b.guard, 0), account);
    guard_delete(b.guard);
}

static void test_growth_moves_to_who_grows(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t one = guard_account_new(b.guard, 0), two = guard_account_new(b.guard, 0);
    assert_int_equal(guard_charge(b.guard, one), 1);
    lua_newtable(b.L);
    for (int i = 1; i <= 5000; i++) {
        lua_pushinteger(b.L, i);
        lua_rawseti(b.L, -2, i);
    }
    int64_t small = guard_account_bytes(b.guard, one);
    assert_true(small > 5000 * 8);
    assert_int_equal(guard_charge(b.guard, two), one);
    for (int i = 5001; i <= 20000; i++) {
        lua_pushinteger(b.L, i);
        lua_rawseti(b.L, -2, i);
    }
    assert_true(guard_account_bytes(b.guard, one) < 1000); // the table's head stays
    assert_true(guard_account_bytes(b.guard, two) > 20000 * 8);
    guard_charge(b.guard, 1);
    guard_delete(b.guard);
}

static void test_registry_is_the_hosts(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t one = guard_account_new(b.guard, 0);
    guard_charge(b.guard, one);
    for (int i = 0; i < 40000; i++) {
        lua_pushboolean(b.L, 1);
        assert_true(guard_ref(b.L) > 0);
    }
    assert_int_equal(guard_charge(b.guard, 1), one);
    assert_int_equal(guard_account_bytes(b.guard, one), 0);
    guard_delete(b.guard);
}

// The hash table of all strings is nobody's: an innocent whose string makes it grow must not pay for it.
static void test_string_table_is_the_hosts(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t one = guard_account_new(b.guard, 0), two = guard_account_new(b.guard, 0);
    lua_newtable(b.L);
    guard_charge(b.guard, one);
    int64_t before = guard_account_bytes(b.guard, 1);
    for (int i = 1; i <= 70000; i++) {
        guard_charge(b.guard, i % 1000 ? one : two);
        lua_pushfstring(b.L, "distinct %d", i);
        guard_charge(b.guard, 1);
        lua_rawseti(b.L, -2, i);
    }
    // 131,072 chains of 8 bytes, and the table above.
    assert_true(guard_account_bytes(b.guard, 1) - before > 131072 * 8);
    assert_true(guard_account_bytes(b.guard, two) < 70 * 64);
    lua_settop(b.L, 0);
    for (int i = 0; i < 20; i++)
        lua_gc(b.L, LUA_GCCOLLECT, 0);
    assert_true(guard_account_bytes(b.guard, 1) - before < 100000);
    assert_true(guard_account_bytes(b.guard, one) <= 64); // the shared scratch buffer is whose grew it last
    guard_delete(b.guard);
}

static void test_load_limit(void **state)
{
    (void)state;
    static const char *const codes[] = {"while true do end",
                                        "while true do pcall(function() while true do end end) end",
                                        "local t = {} while true do pcall(function() t[#t + 1] = {} end) end"};
    for (size_t i = 0; i < 3; i++) {
        struct bench b;
        open_guard(&b, &(struct guard_config){.load_us = i == 2 ? 0 : 100000, .state_bytes = i == 2 ? 64 << 20 : 0});
        assert_int_equal(luaL_loadbuffer(b.L, codes[i], strlen(codes[i]), "@scenario.lua"), 0);
        guard_enter_load(b.guard, b.L);
        int status = lua_pcall(b.L, 0, 0, 0);
        enum guard_verdict v = guard_leave(b.guard, NULL);
        assert_int_not_equal(status, 0);
        assert_int_equal(v, i == 2 ? GUARD_KILL_MEMORY : GUARD_KILL_CPU);
        assert_non_null(strstr(lua_tostring(b.L, -1), "scenario.lua:1: stopped"));
        lua_gc(b.L, LUA_GCCOLLECT, 0);
        guard_delete(b.guard);
    }
}

static void test_interrupt(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t account = guard_account_new(b.guard, 0);
    lua_State *co = load(&b, "return 1");
    guard_interrupt(b.guard); // outside a slice: nothing
    enum guard_verdict v;
    assert_int_equal(resume(&b, co, account, &v), 0);
    assert_int_equal(v, GUARD_OK);
    co = load(&b, "while true do end");
    guard_enter(b.guard, co, account, 0, 0);
    guard_interrupt(b.guard);
    assert_int_equal(lua_resume(co, 0), LUA_YIELD);
    assert_int_equal(guard_leave(b.guard, NULL), GUARD_PREEMPTED);
    guard_delete(b.guard);
}

static void test_heartbeat(void **state)
{
    (void)state;
    struct bench b;
    struct heartbeat hb = {0};
    open_guard(&b, &(struct guard_config){.heartbeat = &hb});
    uint32_t account = guard_account_new(b.guard, 0);
    lua_State *co = load(&b, "\n\nwhile true do end");
    guard_enter(b.guard, co, account, 18, 3);
    assert_int_equal(hb.slice, 1);
    assert_int_equal(hb.device, 18);
    assert_int_equal(hb.group, 3);
    assert_int_equal(lua_resume(co, 0), LUA_YIELD);
    assert_true(hb.slice_start_us > 0);
    assert_string_equal(hb.where, "chunk.lua:3");
    guard_leave(b.guard, NULL);
    assert_int_equal(hb.slice, 0);
    guard_delete(b.guard);
}

static void test_exhaustion_ends_the_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct bench b;
        close(2);
        open_guard(&b, &(struct guard_config){.state_bytes = 8 << 20});
        lua_newtable(b.L);
        for (int i = 1; i < 10000000; i++) {
            lua_pushinteger(b.L, i);
            lua_rawseti(b.L, -2, i);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 70);
}

static void test_accounts_run_out(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    uint32_t n = 0, first = guard_account_new(b.guard, 0);
    while (guard_account_new(b.guard, 0))
        n++;
    assert_int_equal(n, 1000000 - 3);
    guard_account_free(b.guard, first);
    guard_account_free(b.guard, first); // twice is harmless
    assert_int_equal(guard_account_new(b.guard, 0), first);
    assert_int_equal(guard_account_new(b.guard, 0), 0);
    guard_account_free(b.guard, 1); // the host's cannot be freed
    assert_int_equal(guard_charge(b.guard, 0), 1);
    assert_int_equal(guard_charge(b.guard, 4000000), 1); // unknown: the host pays
    assert_int_equal(guard_charge(b.guard, 1), 1);
    guard_delete(b.guard);
}

// --- kills at random instructions
// ---------------------------------------------------------------------------------------

static unsigned countdown;

static void kill_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (countdown && --countdown)
        return;
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
        return;
    }
    luaL_error(L, "killed");
}

static const char victim[] =
    "local t, parts = {}, {}\n"
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end\n"
    "local meta = { __index = function(_, k) return k .. '!' end, __concat = function(a, b) return 'c' end,\n"
    "  __call = function(self, x) return x end, __eq = function() return true end }\n"
    "local gen = coroutine.wrap(function() while true do coroutine.yield(fib(5)) end end)\n"
    "while true do\n"
    "  local o = setmetatable({}, meta)\n"
    "  t[#t % 50 + 1] = { fib(6), o.name, o .. 'x', o(7), gen() }\n"
    "  parts[#parts % 20 + 1] = string.format('%d:%s', #t, tostring(o))\n"
    "  table.sort(parts, function(a, b) return a < b end)\n"
    "  local s = table.concat(parts, ','):gsub('%d+', function(d) return d + 1 end)\n"
    "  pcall(error, { s })\n"
    "  for w in s:gmatch('%w+') do t[w] = nil end\n"
    "end\n";

static void kill_some(struct bench *b, struct rng *rng, uint32_t account, unsigned n, unsigned *yielded,
                      unsigned *raised)
{
    for (unsigned i = 0; i < n; i++) {
        lua_State *co = load(b, victim);
        guard_charge(b->guard, account);
        countdown = (unsigned)rng_below(rng, 4000) + 1;
        lua_sethook(b->L, kill_hook, LUA_MASKCOUNT, 1);
        int status = lua_resume(co, 0);
        lua_sethook(b->L, NULL, 0, 0);
        assert_int_not_equal(status, 0);
        *yielded += status == LUA_YIELD;
        *raised += status != LUA_YIELD;
        guard_charge(b->guard, 1);
        lua_settop(b->L, 0);
        if (i % 200 == 0)
            lua_gc(b->L, LUA_GCCOLLECT, 0);
    }
    for (int i = 0; i < 20; i++)
        lua_gc(b->L, LUA_GCCOLLECT, 0);
}

static void test_random_kills(void **state)
{
    (void)state;
    struct bench b;
    open_guard(&b, &(struct guard_config){0});
    struct rng rng;
    rng_seed(&rng, 99);
    uint32_t account = guard_account_new(b.guard, 0);
    unsigned yielded = 0, raised = 0;
    kill_some(&b, &rng, account, 100, &yielded, &raised); // interns what stays: names, messages
    uint64_t before = guard_state_bytes(b.guard);
    kill_some(&b, &rng, account, 20000, &yielded, &raised);
    assert_true(yielded > 10000 && raised > 500);
    assert_true(guard_account_bytes(b.guard, account) <= 64);
    assert_true(guard_state_bytes(b.guard) <= before + before / 100);
    guard_delete(b.guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preempts_and_goes_on),
        cmocka_unit_test(test_short_slices_have_no_hook),
        cmocka_unit_test(test_cpu_is_measured),
        cmocka_unit_test(test_raises_where_it_cannot_yield),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_growth_moves_to_who_grows),
        cmocka_unit_test(test_registry_is_the_hosts),
        cmocka_unit_test(test_string_table_is_the_hosts),
        cmocka_unit_test(test_load_limit),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_exhaustion_ends_the_process),
        cmocka_unit_test(test_accounts_run_out),
        cmocka_unit_test(test_random_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
