// How it holds together: guard_enter names the slice, the timer signal counts how long the same slice runs, and only
// when it runs too long (or an allocation puts its account over the cap) the hook is armed. The hook decides once
// ("stop") and from then on yields, or raises at every instruction where it cannot yield, until guard_leave.
//
// The signal handler runs on the shard's own thread, between any two instructions. It reads volatile members and calls
// lua_sethook, which LuaJIT allows from a signal handler; `busy` keeps it out while the thread itself is in there.
// LuaJIT updates its hook mask without atomics, so an arming can be lost: every further tick arms again.
#include "script/guard.h"

#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "core/clock.h"
#include "script/heap.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICK_NS 2000000
#define PRECISE_US 200     // above it a slice is worth a reading of the CPU clock
#define RECHECK_COUNT 1000 // instructions between two looks where it cannot yield
#define QUANTUM_COUNT 100  // instructions between two looks in overload
#define MAX_ACCOUNTS 1000000u
#define LOAD_ACCOUNT 2u
// The collector starts a cycle when the heap has grown by three tenths and works ten times as fast as is allocated.
// Eager settings make every message pay for marking coroutines (at 105: three a message, 5 us); lazy ones let garbage
// strings pile up until their hash table grows, at once: 6 to 20 ms at 18,000 coroutines that each format a string
// (measured).
#define GC_PAUSE 130
#define GC_STEPMUL 1000

struct guard {
    struct heap heap;
    struct guard_config config;
    lua_State *main;
    struct clock clock;
    timer_t timer;
    bool timer_made;
    void *tasks;

    // what the signal handler reads and writes
    lua_State *volatile slice_L; // running coroutine, NULL between slices
    volatile uint64_t slice;     // its number; 0 between slices
    volatile uint64_t seen;      // slice of the latest tick
    volatile int64_t seen_cpu;   // thread CPU when that slice began
    volatile int64_t tick_cpu;   // thread CPU at the latest tick
    volatile int64_t limit_us;   // of this slice
    volatile sig_atomic_t busy;  // the thread is in lua_sethook
    volatile sig_atomic_t armed;

    uint64_t n_slices;
    uint32_t account; // of this slice
    bool loading;
    enum guard_verdict stop; // decided by the hook
    bool interrupted;
    volatile int64_t slice_wall; // monotonic, when it began
    int64_t mark;                // latest reading of the clock
    bool chained;
    bool unmetered;   // this slice: no clock is read for it
    int64_t cpu_last; // CPU clock at the latest reading in this chain
    int64_t short_us; // slices since then
    int64_t quantum_us;
    char reason[200];
    char trace[2048];
};

static void on_hook(lua_State *L, lua_Debug *ar);

static void arm(struct guard *g, int count)
{
    g->busy = 1;
    atomic_signal_fence(memory_order_seq_cst);
    lua_sethook(g->main, on_hook, LUA_MASKCOUNT, count);
    g->armed = 1;
    atomic_signal_fence(memory_order_seq_cst);
    g->busy = 0;
}

// Back to no hook, or to the standing one of an overload.
static void disarm(struct guard *g)
{
    g->busy = 1;
    atomic_signal_fence(memory_order_seq_cst);
    if (g->quantum_us)
        lua_sethook(g->main, on_hook, LUA_MASKCOUNT, QUANTUM_COUNT);
    else
        lua_sethook(g->main, NULL, 0, 0);
    g->armed = 0;
    atomic_signal_fence(memory_order_seq_cst);
    g->busy = 0;
}

// --- the timer signal
// ---------------------------------------------------------------------------------------------------

static void tick(struct guard *g)
{
    int64_t cpu = clock_thread_cpu_us();
    int64_t former = g->tick_cpu;
    g->tick_cpu = cpu;
    uint64_t slice = g->slice;
    if (!slice)
        return;
    if (slice != g->seen) {
        // It began after the former tick, and has used no more CPU than time has passed.
        int64_t began = cpu - (clock_now_us(&g->clock) - g->slice_wall);
        g->seen_cpu = began > former ? began : former;
        g->seen = slice;
        struct heartbeat *hb = g->config.heartbeat;
        if (hb) {
            hb->where[0] = '\0';
            hb->slice_start_us = clock_process_cpu_us() - (cpu - g->seen_cpu);
        }
    }
    if (cpu - g->seen_cpu >= g->limit_us && !g->busy) {
        lua_sethook(g->main, on_hook, LUA_MASKCOUNT, 1);
        g->armed = 1;
    }
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    int saved = errno;
    if (info->si_code == SI_TIMER && info->si_value.sival_ptr)
        tick(info->si_value.sival_ptr);
    errno = saved;
}

static int timer_open(struct guard *g, struct error *err)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGRTMIN + 1, &sa, NULL))
        return error_set_errno(err, "cannot install the guard's signal handler");
    struct sigevent ev;
    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_signo = SIGRTMIN + 1;
    ev.sigev_value.sival_ptr = g;
    ev.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &g->timer))
        return error_set_errno(err, "cannot create the guard's timer");
    g->timer_made = true;
    struct itimerspec spec = {.it_interval = {0, TICK_NS}, .it_value = {0, TICK_NS}};
    if (timer_settime(g->timer, 0, &spec, NULL))
        return error_set_errno(err, "cannot start the guard's timer");
    return 0;
}

// A signal that is already queued would find a freed guard: take it out by hand.
static void timer_close(struct guard *g)
{
    if (!g->timer_made)
        return;
    sigset_t set, former;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, &former);
    timer_delete(g->timer);
    struct timespec none = {0, 0};
    while (sigtimedwait(&set, NULL, &none) > 0)
        ;
    pthread_sigmask(SIG_SETMASK, &former, NULL);
}

// --- the hook
// -----------------------------------------------------------------------------------------------------------

static bool can_yield(const struct guard *g, lua_State *L)
{
    return !g->loading && L == g->slice_L && lua_isyieldable(L);
}

static void note_where(struct guard *g, lua_State *L, char *dst, size_t size)
{
    lua_Debug ar;
    dst[0] = '\0';
    if (lua_getstack(L, 0, &ar) && lua_getinfo(L, "Sl", &ar))
        snprintf(dst, size, "%s:%d", ar.short_src, ar.currentline);
    if (g->config.heartbeat && dst != g->config.heartbeat->where)
        snprintf(g->config.heartbeat->where, sizeof(g->config.heartbeat->where), "%s", dst);
}

static void decide_memory(struct guard *g, lua_State *L)
{
    // Garbage counts until it is swept: only what a collection leaves is the device's.
    lua_gc(L, LUA_GCCOLLECT, 0);
    if (!heap_over(&g->heap, g->account)) {
        if (can_yield(g, L))
            g->stop = GUARD_CUT; // others first: this took the time of a collection
        return;
    }
    g->stop = GUARD_KILL_MEMORY;
    snprintf(g->reason, sizeof(g->reason), "stopped: it holds more than %u KB of memory",
             g->heap.accounts[g->account].cap_kb);
}

static void decide_overrun(struct guard *g, lua_State *L, int64_t ran)
{
    if (can_yield(g, L)) {
        g->stop = GUARD_PREEMPTED;
        return;
    }
    int64_t limit = g->loading ? g->config.load_us : g->config.raise_us;
    if (ran < limit) {
        arm(g, RECHECK_COUNT);
        return;
    }
    g->stop = GUARD_KILL_CPU;
    if (g->loading)
        snprintf(g->reason, sizeof(g->reason), "stopped: loading took more than %.3g s of CPU", (double)limit / 1e6);
    else
        snprintf(g->reason, sizeof(g->reason),
                 "stopped: ran for %.3g ms where it cannot be paused (in a callback, a metamethod or a coroutine of "
                 "its own)",
                 (double)limit / 1e3);
}

static void decide(struct guard *g, lua_State *L)
{
    if (heap_over(&g->heap, g->account)) {
        decide_memory(g, L);
        return;
    }
    int64_t ran = g->seen == g->slice ? clock_thread_cpu_us() - g->seen_cpu : 0;
    if (ran >= g->limit_us)
        decide_overrun(g, L, ran);
    else if (g->quantum_us && can_yield(g, L) && clock_now_us(&g->clock) - g->slice_wall >= g->quantum_us)
        g->stop = GUARD_CUT;
    else if (g->armed)
        disarm(g);
}

static void raise_stop(struct guard *g, lua_State *L)
{
    char where[240];
    note_where(g, L, where, sizeof(where));
    if (!g->trace[0]) {
        luaL_traceback(L, L, NULL, 0);
        snprintf(g->trace, sizeof(g->trace), "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    arm(g, 1);
    lua_pushfstring(L, "%s: %s", where, g->reason);
    lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct guard *g = guard_of(L);
    if (!g->slice_L)
        return;
    if (g->config.heartbeat && g->armed && !g->config.heartbeat->where[0])
        note_where(g, L, g->config.heartbeat->where, sizeof(g->config.heartbeat->where));
    if (!g->stop)
        decide(g, L);
    if (!g->stop)
        return;
    if (can_yield(g, L)) {
        lua_yield(L, 0);
        return;
    }
    raise_stop(g, L);
}

// --- memory
// -------------------------------------------------------------------------------------------------------------

static void *allocate(void *ud, void *ptr, size_t old_size, size_t new_size)
{
    struct guard *g = ud;
    void *p = heap_realloc(&g->heap, ptr, old_size, new_size);
    if (new_size > old_size) {
        if (__builtin_expect(heap_over(&g->heap, g->heap.current), 0) && g->slice_L && !g->armed)
            arm(g, 1);
        if (__builtin_expect(g->heap.bytes > g->config.state_bytes, 0))
            heap_die("it needs more memory than its limit; fewer devices a shard, or less data in Lua, would fit");
    }
    return p;
}

uint32_t guard_account_new(struct guard *g, uint64_t cap_bytes)
{
    return heap_account_new(&g->heap, cap_bytes ? cap_bytes : g->config.account_bytes);
}

void guard_account_free(struct guard *g, uint32_t account)
{
    if (account > LOAD_ACCOUNT)
        heap_account_free(&g->heap, account);
}

int64_t guard_account_bytes(const struct guard *g, uint32_t account)
{
    return account < g->heap.n_accounts ? g->heap.accounts[account].bytes : 0;
}

void guard_fetch_account(const struct guard *g, uint32_t account)
{
    __builtin_prefetch(&g->heap.accounts[account]);
}

uint64_t guard_state_bytes(const struct guard *g)
{
    return g->heap.bytes;
}

uint32_t guard_charge(struct guard *g, uint32_t account)
{
    uint32_t former = g->heap.current;
    g->heap.current = heap_account_live(&g->heap, account) ? account : HEAP_HOST;
    return former;
}

int guard_ref(lua_State *L)
{
    struct guard *g = guard_of(L);
    uint32_t former = guard_charge(g, HEAP_HOST);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    guard_charge(g, former);
    return ref;
}

// --- slices
// -------------------------------------------------------------------------------------------------------------

static void begin(struct guard *g, lua_State *L, uint32_t account, int64_t limit_us)
{
    if (!g->chained && !g->unmetered) {
        g->mark = clock_now_us(&g->clock);
        g->cpu_last = clock_thread_cpu_us();
        g->short_us = 0;
    }
    g->slice_wall = g->mark;
    g->account = g->heap.current = account;
    g->stop = GUARD_OK;
    g->interrupted = false;
    g->limit_us = limit_us;
    g->trace[0] = g->reason[0] = '\0';
    g->slice_L = L;
    atomic_signal_fence(memory_order_seq_cst);
    g->slice = ++g->n_slices;
    if (__builtin_expect(heap_over(&g->heap, account), 0))
        arm(g, 1);
}

void guard_enter(struct guard *g, lua_State *L, uint32_t account, uint64_t device, uint32_t group)
{
    g->loading = false;
    struct heartbeat *hb = g->config.heartbeat;
    if (hb) {
        hb->device = device;
        hb->group = group;
        hb->slice_start_us = 0;
        hb->slice = g->n_slices + 1;
    }
    begin(g, L, account, g->config.slice_us);
}

void guard_enter_call(struct guard *g, lua_State *L, uint32_t account, uint64_t device, uint32_t group)
{
    g->unmetered = true;
    guard_enter(g, L, account, device, group);
}

void guard_enter_load(struct guard *g, lua_State *L)
{
    g->loading = true;
    struct heartbeat *hb = g->config.heartbeat;
    if (hb) {
        hb->device = 0;
        hb->slice_start_us = 0;
        hb->slice = g->n_slices + 1;
    }
    begin(g, L, LOAD_ACCOUNT, g->config.load_us);
}

static int64_t slice_cpu(struct guard *g)
{
    int64_t now = clock_now_us(&g->clock);
    int64_t ran = now - g->slice_wall;
    g->mark = now;
    if (ran <= PRECISE_US) {
        g->short_us += ran;
        return ran;
    }
    int64_t cpu = clock_thread_cpu_us();
    int64_t mine = cpu - g->cpu_last - g->short_us;
    g->cpu_last = cpu;
    g->short_us = 0;
    return mine < 0 ? 0 : mine > ran ? ran : mine;
}

enum guard_verdict guard_leave(struct guard *g, int64_t *cpu_us)
{
    g->slice = 0;
    g->slice_L = NULL;
    atomic_signal_fence(memory_order_seq_cst);
    if (g->config.heartbeat)
        g->config.heartbeat->slice = 0;
    int64_t cpu = g->unmetered ? 0 : slice_cpu(g);
    g->unmetered = false;
    if (cpu_us)
        *cpu_us = cpu;
    if (__builtin_expect(g->armed, 0))
        disarm(g);
    g->heap.current = HEAP_HOST;
    return g->stop;
}

void guard_interrupt(struct guard *g)
{
    if (!g->slice_L || g->stop)
        return;
    g->stop = GUARD_PREEMPTED;
    g->interrupted = true;
    snprintf(g->reason, sizeof(g->reason), "stopped: cancelled");
    arm(g, 1);
}

const char *guard_reason(const struct guard *g)
{
    return g->reason;
}

const char *guard_trace(const struct guard *g)
{
    return g->trace;
}

unsigned guard_max_overruns(const struct guard *g)
{
    return g->config.max_overruns;
}

int64_t guard_slice_us(const struct guard *g)
{
    return g->config.slice_us;
}

void guard_chain_begin(struct guard *g)
{
    g->mark = clock_now_us(&g->clock);
    g->cpu_last = clock_thread_cpu_us();
    g->short_us = 0;
    g->chained = true;
}

void guard_chain_end(struct guard *g)
{
    g->chained = false;
}

int64_t guard_mark_us(const struct guard *g)
{
    return g->mark;
}

void guard_set_quantum(struct guard *g, int64_t quantum_us)
{
    if (!g->quantum_us == !quantum_us) {
        g->quantum_us = quantum_us;
        return;
    }
    g->quantum_us = quantum_us;
    disarm(g);
}

void guard_set_tasks(struct guard *g, void *tasks)
{
    g->tasks = tasks;
}

void *guard_tasks(const struct guard *g)
{
    return g->tasks;
}

// --- life
// ---------------------------------------------------------------------------------------------------------------

static int on_panic(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error outside a protected call";
    heap_die(text);
}

static int open_jit(lua_State *L)
{
    lua_pushcfunction(L, luaopen_jit);
    lua_pushliteral(L, LUA_JITLIBNAME);
    lua_call(L, 1, 0);
    return 0;
}

static int state_open(struct guard *g, bool jit, struct error *err)
{
    g->main = lua_newstate(allocate, g);
    if (!g->main)
        return error_set(err, ERR_NO_MEMORY, "cannot make a Lua state");
    lua_atpanic(g->main, on_panic);
    // The compiler starts with its library; author code never sees the library itself.
    if (jit && lua_cpcall(g->main, open_jit, NULL))
        return error_set(err, ERR_INTERNAL, "cannot start the JIT compiler: %s", lua_tostring(g->main, -1));
    luaJIT_setmode(g->main, 0, LUAJIT_MODE_ENGINE | (jit ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
    lua_gc(g->main, LUA_GCSETPAUSE, GC_PAUSE);
    lua_gc(g->main, LUA_GCSETSTEPMUL, GC_STEPMUL);
    return 0;
}

struct guard *guard_new(const struct guard_config *config, bool jit, struct error *err)
{
    struct guard *g = calloc(1, sizeof(*g));
    if (!g || heap_create(&g->heap, MAX_ACCOUNTS)) {
        free(g);
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    g->config = *config;
    struct guard_config *c = &g->config;
    c->slice_us = c->slice_us ? c->slice_us : 5000;
    c->raise_us = c->raise_us ? c->raise_us : 50000;
    c->max_overruns = c->max_overruns ? c->max_overruns : 10;
    c->load_us = c->load_us ? c->load_us : 5000000;
    c->account_bytes = c->account_bytes ? c->account_bytes : 1 << 20;
    c->state_bytes = c->state_bytes ? c->state_bytes : UINT64_C(1) << 30;
    clock_create_real(&g->clock);
    heap_account_new(&g->heap, c->state_bytes / 4); // LOAD_ACCOUNT
    if (state_open(g, jit, err) || timer_open(g, err)) {
        guard_delete(g);
        return NULL;
    }
    return g;
}

void guard_delete(struct guard *g)
{
    if (!g)
        return;
    timer_close(g);
    if (g->main)
        lua_close(g->main);
    heap_destroy(&g->heap);
    free(g);
}

lua_State *guard_state(struct guard *g)
{
    return g->main;
}

struct guard *guard_of(lua_State *L)
{
    void *g;
    lua_getallocf(L, &g);
    return g;
}
