// The contract of task.h.
#include "world.h"

static int never_fires(lua_State *L)
{
    struct task *t = task_current(tasks_of(L), L, "iotix.never");
    task_block(t, NULL, NULL);
    return task_yield(L);
}

static unsigned cancels, pushes;
static slot_id blocked_id;

static void on_cancel(struct task *task, void *arg)
{
    assert_ptr_equal(arg, &cancels);
    assert_true(task_id(task) == blocked_id);
    cancels++;
}

// Blocks with a cancel function and remembers who.
static int block(lua_State *L)
{
    struct task *t = task_current(tasks_of(L), L, "iotix.block");
    blocked_id = task_id(t);
    task_block(t, on_cancel, &cancels);
    return task_yield(L);
}

static int push_two(lua_State *L, void *arg)
{
    assert_ptr_equal(arg, &pushes);
    pushes++;
    lua_pushliteral(L, "two");
    lua_pushinteger(L, 2);
    return 2;
}

// Woken before it gets to its yield.
static int answer_at_once(lua_State *L)
{
    struct task *t = task_current(tasks_of(L), L, "iotix.at_once");
    task_block(t, NULL, NULL);
    assert_true(task_wake(t, push_two, &pushes));
    assert_false(task_wake_true(t));
    return task_yield(L);
}

static int cancel_me(lua_State *L)
{
    task_cancel(task_running(tasks_of(L)));
    return 0;
}

static int cancel_all(lua_State *L)
{
    struct tasks *ts = tasks_of(L);
    task_cancel_all(ts, task_owner(task_running(ts)));
    return 0;
}

static unsigned notes;

static int note(lua_State *L)
{
    (void)L;
    notes++;
    return 0;
}

static int raw_yield(lua_State *L)
{
    return lua_yield(L, lua_gettop(L));
}

static const luaL_Reg functions[] = {
    {"never", never_fires},     {"block", block}, {"at_once", answer_at_once}, {"cancel", cancel_me},
    {"cancel_all", cancel_all}, {"note", note},   {"yield", raw_yield},        {NULL, NULL}};

static int setup(void **state)
{
    struct world *w = malloc(sizeof(*w));
    assert_non_null(w);
    world_open(w);
    cancels = pushes = notes = 0;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static struct task *start(struct world *w, struct task_owner *o, const char *code)
{
    return world_run(w, o, code, functions);
}

static uint64_t live(struct world *w)
{
    struct tasks_stats s;
    tasks_stats(w->tasks, &s);
    return s.live;
}

static void test_sleep(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    start(w, &o, "local dev = ...\nfor i = 1, 5 do assert(dev.sleep(0.002) == true) dev.note() end");
    int64_t began = clock_now_us(&w->clock);
    WORLD_UNTIL(w, w->done, 2000);
    assert_int_equal(w->done, 1);
    assert_int_equal(notes, 5);
    assert_true(clock_now_us(&w->clock) - began >= 10000);
    assert_int_equal(o.n_tasks, 0);
    assert_int_equal(live(w), 0);
}

static void test_wake(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    start(w, &o,
          "local dev = ...\n"
          "local a, b = dev.block() assert(a == 'two' and b == 2 and select('#', dev.at_once()) == 2)\n"
          "local ok, text, code = dev.block() assert(ok == nil and text == 'no answer' and code == 'timeout')\n"
          "assert(select('#', dev.block()) == 0)");
    loop_turn(w->loop, 0);
    struct task *t = task_find(w->tasks, blocked_id);
    assert_non_null(t);
    assert_true(task_wake(t, push_two, &pushes));
    assert_false(task_wake(t, push_two, &pushes)); // is queued already
    assert_int_equal(pushes, 0);
    WORLD_UNTIL(w, pushes == 2, 2000);
    WORLD_UNTIL(w,
                task_find(w->tasks, blocked_id) &&
                    task_wake_error(t, &(struct error){.code = ERR_TIMEOUT, .text = "no answer"}),
                2000);
    assert_false(task_wake_error(t, &w->err));
    WORLD_UNTIL(w, task_wake(t, NULL, NULL), 2000);
    WORLD_UNTIL(w, w->done + w->errors, 2000);
    if (!w->done)
        fail_msg("%s", w->text);
    assert_int_equal(cancels, 0);
    assert_null(task_find(w->tasks, blocked_id)); // stale
    assert_null(task_find(w->tasks, 0));
}

static void test_cancel_in_every_state(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    // ready, never started
    task_cancel(start(w, &o, "error 'never runs'"));
    assert_int_equal(w->cancelled, 1);
    assert_int_equal(o.n_tasks, 0);
    // blocked
    struct task *t = start(w, &o, "local dev = ... dev.block() error 'never resumed'");
    loop_turn(w->loop, 0);
    task_cancel(t);
    assert_int_equal(cancels, 1);
    assert_int_equal(w->cancelled, 2);
    // blocked, then woken with a push: the push runs all the same, so that it can release what it holds
    t = start(w, &o, "local dev = ... dev.block() error 'never resumed'");
    loop_turn(w->loop, 0);
    task_wake(t, push_two, &pushes);
    task_cancel(t);
    assert_int_equal(pushes, 1);
    assert_int_equal(cancels, 1);
    // an error to be told that is never told
    t = start(w, &o, "local dev = ... dev.block() error 'never resumed'");
    loop_turn(w->loop, 0);
    task_wake_error(t, &(struct error){.code = ERR_TIMEOUT, .text = "x"});
    task_cancel(t);
    // asleep
    t = start(w, &o, "local dev = ... dev.sleep(0.001) error 'never resumed'");
    loop_turn(w->loop, 0);
    task_cancel(t);
    assert_int_equal(w->cancelled, 5);
    int64_t end = clock_now_us(&w->clock) + 20000;
    WORLD_UNTIL(w, clock_now_us(&w->clock) > end, 1000);
    assert_int_equal(w->errors, 0);
    assert_int_equal(live(w), 0);
}

static void test_cancel_itself(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    static const char *const codes[] = {
        "local dev = ... dev.cancel() while true do pcall(dev.note) end",
        "local dev = ... dev.cancel() dev.block()",
        "local dev = ... table.sort({3, 2, 1}, function() dev.cancel() while true do pcall(dev.note) end end)",
        "local dev = ... coroutine.wrap(function() dev.cancel() while true do end end)()",
        "local dev = ... dev.cancel()",
    };
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        start(w, &o, codes[i]);
        WORLD_UNTIL(w, w->cancelled == i + 1, 2000);
        assert_int_equal(w->cancelled, i + 1);
    }
    assert_int_equal(w->errors, 0);
    assert_true(notes < 10);
    assert_int_equal(live(w), 0);
}

static void test_cancel_owner(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0}, other = {0};
    start(w, &other, "local dev = ... dev.never()");
    for (int i = 0; i < 5; i++)
        start(w, &o, "local dev = ... dev.never()");
    loop_turn(w->loop, 0);
    for (int i = 0; i < 5; i++)
        start(w, &o, "local dev = ... dev.never()");
    assert_int_equal(o.n_tasks, 10);
    task_cancel_all(w->tasks, &o);
    assert_int_equal(o.n_tasks, 0);
    assert_null(o.tasks);
    assert_int_equal(w->cancelled, 10);
    assert_int_equal(other.n_tasks, 1);
    // from inside one of them
    start(w, &o, "local dev = ... dev.spawn(dev.never) dev.sleep(0.001) dev.cancel_all() while true do end");
    WORLD_UNTIL(w, w->cancelled == 12, 2000);
    assert_int_equal(w->cancelled, 12);
    assert_int_equal(o.n_tasks, 0);
    assert_int_equal(live(w), 1);
    task_cancel_all(w->tasks, &other);
}

static void test_spawn_limits(void **state)
{
    (void)state;
    struct world w;
    world_open_with(&w, &(struct guard_config){0}, NULL, &(struct tasks_config){.max_tasks = 8, .max_tasks_owner = 5});
    struct task_owner o = {0}, other = {0};
    for (int i = 0; i < 5; i++)
        start(&w, &o, "local dev = ... dev.never()");
    lua_pushcfunction(w.L, never_fires);
    struct error err = {0};
    assert_null(task_spawn(w.tasks, w.L, 0, &o, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.text, "too many tasks: one device may have 5 at a time");
    assert_int_equal(lua_gettop(w.L), 0);
    for (int i = 0; i < 3; i++)
        start(&w, &other, "local dev = ... dev.never()");
    lua_pushcfunction(w.L, never_fires);
    error_clear(&err);
    assert_null(task_spawn(w.tasks, w.L, 0, &other, &err));
    assert_string_equal(err.text, "too many tasks: this shard may have 8 at a time");
    task_cancel_all(w.tasks, &o);
    start(&w, &other, "local dev = ... dev.spawn(dev.never) dev.spawn(dev.never)");
    WORLD_UNTIL(&w, w.errors + w.done, 2000);
    assert_non_null(strstr(w.text, "test.lua:1: too many tasks: one device may have 5"));
    world_close(&w);
}

static void expect_error(struct world *w, const char *code, const char *want)
{
    struct task_owner o = {0};
    unsigned before = w->errors;
    start(w, &o, code);
    WORLD_UNTIL(w, w->errors > before || w->done, 2000);
    if (w->errors != before + 1 || !strstr(w->text, want))
        fail_msg("wanted '%s', got: %s", want, w->errors == before ? "no error" : w->text);
    assert_int_equal(o.n_tasks, 0);
}

static void test_errors(void **state)
{
    struct world *w = *state;
    expect_error(w, "local dev = ...\ncoroutine.wrap(function() dev.sleep(1) end)()",
                 "test.lua:2: iotix.sleep cannot block inside a coroutine of your own; use iotix.spawn");
    expect_error(w, "local dev = ...\ntable.sort({3, 2, 1}, function() dev.sleep(1) end)",
                 "iotix.sleep cannot block here");
    expect_error(w, "local dev = ...\nlocal function inner()\n  error 'broken'\nend\npcall(dev.sleep, 0)\ninner()",
                 "test.lua:3: broken\nstack traceback:");
    assert_non_null(strstr(w->text, "test.lua:6: in "));
    expect_error(w, "error({ message = 'from a table' })", "from a table\nstack traceback:");
    expect_error(w, "error(setmetatable({}, { __tostring = function() return 'called' end }))",
                 "(error object is a table value)");
    assert_null(strstr(w->text, "called"));
    expect_error(w, "error()", "(error object is a nil value)");
    expect_error(w, "error(function() end)", "(error object is a function value)");
    expect_error(w, "local dev = ... while true do dev.yield(1, 2, 3) end",
                 "coroutine.yield in a task waits for nothing, 10 times");
    assert_int_equal(w->killed, 1);
    // outside of any task
    lua_pushcfunction(w->L, never_fires);
    assert_int_equal(lua_pcall(w->L, 0, 0, 0), LUA_ERRRUN);
    assert_non_null(strstr(lua_tostring(w->L, -1), "cannot block here: nothing runs"));
    lua_settop(w->L, 0);
}

static void test_yields_across_pcall(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    start(w, &o,
          "local dev = ...\n"
          "local ok, e = pcall(function() dev.sleep(0.001) pcall(dev.sleep, 0.001) error('x', 0) end)\n"
          "assert(not ok and e == 'x')\n"
          "ok, e = xpcall(function() dev.sleep(0.001) error('y', 0) end, function(m) return m .. '!' end)\n"
          "assert(not ok and e == 'y!')\n"
          "local t = setmetatable({}, { __index = function(_, k) dev.sleep(0.001) return k end })\n"
          "assert(t.abc == 'abc')\n"
          "for v in function() dev.sleep(0.001) return nil end do end\n"
          "dev.yield(1, 2) assert(select('#', dev.yield()) == 0)\n" // harmless now and then
          "local gen = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)\n"
          "assert(gen(1) == 2 and gen(21) == 42)");
    WORLD_UNTIL(w, w->done + w->errors, 2000);
    if (!w->done)
        fail_msg("%s", w->text);
}

static void test_long_work_is_paused_not_broken(void **state)
{
    struct world *w = *state;
    struct task_owner o = {0};
    start(w, &o,
          "local dev, sum = ..., 0\n"
          "for round = 1, 20 do for i = 1, 3e5 do sum = sum + i end dev.sleep(0) end\n"
          "for i = 1, 3e6 do sum = sum + (function(...) return select('#', ...) end)(i, i) end\n"
          "assert(sum == 20 * 3e5 * (3e5 + 1) / 2 + 6e6)");
    WORLD_UNTIL(w, w->done + w->errors, 20000);
    // On a very slow machine ten overruns in a row are what they are; otherwise it ends well.
    if (!w->done && !strstr(w->text, "without a pause"))
        fail_msg("%s", w->text);
}

static void test_many_tasks_in_order(void **state)
{
    struct world *w = *state;
    static struct task_owner owners[2000];
    memset(owners, 0, sizeof(owners));
    for (unsigned i = 0; i < 2000; i++)
        start(w, &owners[i], "local dev = ... for _ = 1, 3 do dev.sleep(0.001) end dev.note()");
    WORLD_UNTIL(w, w->done == 2000, 10000);
    assert_int_equal(w->done, 2000);
    assert_int_equal(notes, 2000);
    struct tasks_stats s;
    tasks_stats(w->tasks, &s);
    assert_int_equal(s.live, 0);
    assert_true(s.resumes >= 2000 * 4);
}

// A stack that once grew is one large block of malloc's, and the parked frame lies at its very beginning: what the
// scheduler looks at ahead of a task's turn must not lie before it. (AddressSanitizer sees it.)
static void test_looking_ahead_stays_within_the_stack(void **state)
{
    struct world *w = *state;
    static struct task_owner owners[8];
    memset(owners, 0, sizeof(owners));
    for (unsigned i = 0; i < 8; i++)
        start(w, &owners[i],
              "local dev = ...\n"
              "(function() local function deep(n) if n > 0 then return 1 + deep(n - 1) end return 0 end deep(3000) "
              "end)()\n"
              "dev.sleep(0.001) dev.sleep(0.001) dev.sleep(0.001) dev.note()");
    WORLD_UNTIL(w, w->done == 8, 10000);
    assert_int_equal(w->done, 8);
    assert_int_equal(notes, 8);
}

static void test_deleted_with_tasks_in_every_state(void **state)
{
    struct world *w = *state;
    static struct task_owner o; // outlives the scheduler
    memset(&o, 0, sizeof(o));
    start(w, &o, "local dev = ... dev.block()");
    start(w, &o, "local dev = ... dev.sleep(10)");
    loop_turn(w->loop, 0);
    start(w, &o, "error 'never'");
    struct task *t = start(w, &o, "local dev = ... dev.never()");
    task_cancel(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wake, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_in_every_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_owner, setup, teardown),
        cmocka_unit_test(test_spawn_limits),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_yields_across_pcall, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_work_is_paused_not_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_tasks_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_looking_ahead_stays_within_the_stack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_with_tasks_in_every_state, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
