// Hostile code beside a thousand healthy devices in the same state. Every file of attacks/ is one device (or `devices:`
// of them) that does its worst; its first line says how it must end. In every case: no healthy device is lost, none
// waits for more than 60 ms (with sanitizers 250) of the thread's CPU, the memory comes back, and a full collection
// afterwards is fine.
//
// CPU time, not wall time: what other processes of a busy machine do is not the attacker's doing.
#include "world.h"

#include <dirent.h>

#ifdef IOTIX_ASAN // slow of itself, and slower while the machine does other things: is it bounded at all?
#define GAP_US 250000
#else
#define GAP_US 60000
#endif
#define HEALTHY 1000
#define SOURCE_MAX 65536

static struct healthy {
    int64_t last;
    uint64_t ticks;
} healthy[HEALTHY];
static int64_t longest_gap;

static int tick(lua_State *L)
{
    struct healthy *h = &healthy[luaL_checkint(L, 1)];
    int64_t now = clock_thread_cpu_us();
    if (h->last && now - h->last > longest_gap)
        longest_gap = now - h->last;
    h->last = now;
    h->ticks++;
    return 0;
}

static const luaL_Reg healthy_functions[] = {{"tick", tick}, {NULL, NULL}};

static const char healthy_code[] = "local dev, i = ...\n"
                                   "while true do\n"
                                   "    dev.tick(i)\n"
                                   "    dev.sleep(0.01)\n"
                                   "end\n";

struct attack {
    char path[512];
    char name[64];
    char source[SOURCE_MAX];
    char outcome[32];
    char text[128];
    unsigned devices;
};

static void start_healthy(struct world *w, struct task_owner *owners)
{
    memset(healthy, 0, sizeof(healthy));
    assert_int_equal(sandbox_compile(w->L, healthy_code, strlen(healthy_code), "@healthy.lua", &w->err), 0);
    world_push_dev(w, healthy_functions);
    for (unsigned i = 0; i < HEALTHY; i++) {
        owners[i] = (struct task_owner){.account = guard_account_new(w->guard, 0)};
        lua_pushvalue(w->L, 1);
        lua_pushvalue(w->L, 2);
        lua_pushinteger(w->L, (lua_Integer)i);
        assert_non_null(task_spawn(w->tasks, w->L, 2, &owners[i], &w->err));
    }
    lua_settop(w->L, 0);
}

static uint64_t settled_bytes(struct world *w)
{
    // Shared buffers and the string table shrink by half in every collection.
    for (int i = 0; i < 24; i++)
        lua_gc(w->L, LUA_GCCOLLECT, 0);
    return guard_state_bytes(w->guard);
}

static void read_attack(struct attack *a)
{
    FILE *f = fopen(a->path, "r");
    assert_non_null(f);
    size_t n = fread(a->source, 1, sizeof(a->source) - 1, f);
    fclose(f);
    a->source[n] = '\0';
    a->text[0] = '\0';
    a->devices = 1;
    if (sscanf(a->source, "-- expect: %31[a-z], %127[^\n]", a->outcome, a->text) < 1)
        fail_msg("%s: the first line must be: -- expect: OUTCOME[, TEXT]", a->path);
    const char *devices = strstr(a->source, "\n-- devices: ");
    if (devices)
        a->devices = (unsigned)strtoul(devices + 13, NULL, 10);
}

static void start_attack(struct world *w, const struct attack *a, struct task_owner *owners)
{
    char chunk[80];
    snprintf(chunk, sizeof(chunk), "@%s", a->name);
    for (unsigned i = 0; i < a->devices; i++) {
        owners[i] = (struct task_owner){.account = guard_account_new(w->guard, 0)};
        if (sandbox_compile(w->L, a->source, strlen(a->source), chunk, &w->err))
            fail_msg("%s", w->err.text);
        world_push_dev(w, NULL);
        assert_non_null(task_spawn(w->tasks, w->L, 1, &owners[i], &w->err));
    }
}

static void check_outcome(const struct world *w, const struct attack *a)
{
    bool killed = strcmp(a->outcome, "killed") == 0;
    bool error = strcmp(a->outcome, "error") == 0;
    if (killed || error) {
        if (w->errors < a->devices)
            fail_msg("%s: only %u of %u ended, live on", a->name, w->errors, a->devices);
        if (killed != (w->killed > 0))
            fail_msg("%s: must end as '%s', but: %s", a->name, a->outcome, w->text);
        if (a->text[0] && !strstr(w->text, a->text))
            fail_msg("%s: the reason must name '%s', but is: %s", a->name, a->text, w->text);
        // A traceback names the file, unless the attack left no Lua function on the stack.
        if (!strstr(w->text, a->name) || !strstr(w->text, "stack traceback:"))
            fail_msg("%s: no traceback: %s", a->name, w->text);
    } else if (w->errors) {
        fail_msg("%s: must be '%s', but: %s", a->name, a->outcome, w->text);
    } else if (strcmp(a->outcome, "done") == 0 && w->done != a->devices) {
        fail_msg("%s: has not ended", a->name);
    }
}

static void check_healthy(struct world *w, const struct attack *a, const struct task_owner *owners)
{
    uint64_t before[HEALTHY];
    for (unsigned i = 0; i < HEALTHY; i++) {
        if (owners[i].n_tasks != 1)
            fail_msg("%s: healthy device %u was lost: %s", a->name, i, w->text);
        before[i] = healthy[i].ticks;
    }
    unsigned behind = 0;
    WORLD_UNTIL(w, ({
                    while (behind < HEALTHY && healthy[behind].ticks > before[behind] + 1)
                        behind++;
                    behind == HEALTHY;
                }),
                3000);
    if (behind < HEALTHY)
        fail_msg("%s: healthy device %u stands still afterwards", a->name, behind);
    if (longest_gap > GAP_US)
        fail_msg("%s: a healthy device waited for %lld us of CPU", a->name, (long long)longest_gap);
}

static void attack(struct attack *a)
{
    static struct task_owner owners[HEALTHY], attackers[HEALTHY];
    struct world w;
    read_attack(a);
    world_open(&w);
    start_healthy(&w, owners);
    WORLD_UNTIL(&w, healthy[HEALTHY - 1].ticks >= 3, 3000);
    uint64_t baseline = settled_bytes(&w);
    longest_gap = 0;
    for (unsigned i = 0; i < HEALTHY; i++)
        healthy[i].last = clock_thread_cpu_us();
    int64_t began = clock_thread_cpu_us();
    start_attack(&w, a, attackers);
    bool alive = strcmp(a->outcome, "alive") == 0;
    WORLD_UNTIL(&w, !alive && w.errors + w.done >= a->devices, alive ? 400 : 8000);
    int64_t ended = clock_thread_cpu_us();
    check_outcome(&w, a);
    for (unsigned i = 0; i < a->devices; i++) {
        task_cancel_all(w.tasks, &attackers[i]);
        guard_account_free(w.guard, attackers[i].account);
    }
    check_healthy(&w, a, owners);
    uint64_t after = settled_bytes(&w);
    print_message("%-32s gap %5lld us, over after %6lld us of CPU\n", a->name, (long long)longest_gap,
                  (long long)(ended - began));
    if (after > baseline + baseline / 100)
        fail_msg("%s: memory did not come back: %llu bytes before, %llu after", a->name, (unsigned long long)baseline,
                 (unsigned long long)after);
    world_close(&w);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_lua(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot && strcmp(dot, ".lua") == 0;
}

static void test_all(void **state)
{
    (void)state;
    static struct attack a;
    const char *dir = IOTIX_SOURCE_DIR "/tests/unit/script/attacks";
    const char *only = getenv("IOTIX_ATTACK");
    struct dirent **entries;
    int n = scandir(dir, &entries, is_lua, by_name);
    assert_true(n > 60);
    for (int i = 0; i < n; i++) {
        snprintf(a.path, sizeof(a.path), "%s/%s", dir, entries[i]->d_name);
        snprintf(a.name, sizeof(a.name), "%.60s", entries[i]->d_name);
        if (!only || strstr(a.name, only))
            attack(&a);
        free(entries[i]);
    }
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
