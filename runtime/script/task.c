// One turn of the ready queues:
//   prompt  who was woken and whose owner is not heavy: first in, first out, up to TURN_US, the rest in the next turn
//   late    who was cut short in overload: up to TURN_US, when no prompt task waits or after LATE_WAIT_US
//   heavy   owners that used more than HEAVY_US of the last windows, and who overran a slice: one slice a turn,
//   likewise
// Overload is a prompt queue that has not been empty for BACKLOG_US: from then on a slice is cut after QUANTUM_US,
// because nobody can know beforehand which of the waiting tasks will be the greedy one.
//
// In virtual time (loop_simulate) a turn serves all that are prompt when it begins, whatever that takes, nobody is
// heavy, and who overran a slice goes on before anybody else: the order of a device's tasks must not depend on how fast
// the CPU is.
//
// A task that dies while it is queued stays in the queue as a husk until its turn comes.
#include "script/task_impl.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/buf.h"
#include "core/log.h"

#define TURN_US 1500
#define BACKLOG_US 5000
#define QUANTUM_US 20
#define LATE_QUANTUM_US 200
#define LATE_WAIT_US 20000
#define HEAVY_WAIT_US 50000
#define HEAVY_US 2000
#define WINDOW_SHIFT 17 // a window is 131 ms; what was used counts half in the next
#define MAX_TEXT 16384
#define ANCHORS_FIRST 4096

// --- queues
// -------------------------------------------------------------------------------------------------------------

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
    q->n = 0;
}

static void queue_put(struct tasks *ts, struct queue *q, struct task *t)
{
    if (!q->n)
        q->served_us = guard_mark_us(ts->config.guard);
    t->queue_next = NULL;
    *q->last = t;
    q->last = &t->queue_next;
    q->n++;
}

static void queue_put_first(struct tasks *ts, struct queue *q, struct task *t)
{
    if (!q->n) {
        queue_put(ts, q, t);
        return;
    }
    t->queue_next = q->first;
    q->first = t;
    q->n++;
}

static struct task *queue_take(struct queue *q)
{
    struct task *t = q->first;
    q->first = t->queue_next;
    if (!q->first)
        q->last = &q->first;
    q->n--;
    return t;
}

// Moves the owner's account of CPU into the present window.
static void owner_decay(struct tasks *ts, struct task_owner *o)
{
    uint32_t window = (uint32_t)(guard_mark_us(ts->config.guard) >> WINDOW_SHIFT);
    uint32_t passed = window - o->window;
    if (!passed)
        return;
    o->cpu_us = passed > 30 ? 0 : o->cpu_us >> passed;
    o->window = window;
}

// Whether the owner is heavy is looked at when the turn comes: until then its memory, cold among thousands of devices,
// is on its way.
void task_make_ready(struct tasks *ts, struct task *t)
{
    t->state = ST_READY;
    t->due_us = loop_due_us(ts->config.loop);
    __builtin_prefetch(t->owner);
    __builtin_prefetch((const char *)t->owner + 64);
    __builtin_prefetch(t->co);
    __builtin_prefetch((const char *)t->co + 64);
    __builtin_prefetch(t->local);
    queue_put(ts, &ts->prompt, t);
    loop_again(ts->config.loop);
}

// Thousands of coroutines do not fit the caches: without help every turn of a task is a chain of some thirty misses.
// make_ready fetches the first link; the task two turns ahead gets the second, the next one the third. All of it is a
// hint.
//
// The values on a parked coroutine's stack are its generators, its device, its iterator. Where they are is no part of
// Lua's interface, so tasks_new looks whether base and top lie where this LuaJIT (GC64) has them, and without that it
// is not done.
#define STATE_BASE 32
#define STATE_TOP 40
#define STATE_LIMIT 48
#define STATE_STACK 56
#define STACK_SLOTS 14
#define GC_POINTER 0x7fffffffffffull

static const char *state_pointer(const lua_State *L, unsigned offset)
{
    const char *p;
    memcpy(&p, (const char *)L + offset, sizeof p);
    return p;
}

static void fetch_second(struct tasks *ts, const struct task *t)
{
    const struct task_owner *o = t->owner;
    if (!o || !t->co)
        return;
    for (unsigned i = 0; i < 2; i++) {
        __builtin_prefetch(o->warm[i]);
        __builtin_prefetch((const char *)o->warm[i] + 64);
    }
    guard_fetch_account(ts->config.guard, o->account);
    if (!ts->layout_known)
        return;
    const char *base = state_pointer(t->co, STATE_BASE);
    __builtin_prefetch(base - 128);
    __builtin_prefetch(base - 64);
    __builtin_prefetch(base);
}

static void fetch_third(const struct tasks *ts, const struct task *t)
{
    if (!ts->layout_known || !t->co || !t->started)
        return;
    // These are read, not only fetched: never from below the stack, where a large one may begin its page.
    const char *base = state_pointer(t->co, STATE_BASE), *stack = state_pointer(t->co, STATE_STACK);
    uint64_t slot;
    for (unsigned i = 1; i <= STACK_SLOTS && base - stack >= (ptrdiff_t)(i * sizeof slot); i++) {
        memcpy(&slot, base - i * sizeof slot, sizeof slot);
        __builtin_prefetch((const void *)(uintptr_t)(slot & GC_POINTER));
    }
}

static void fetch_ahead(struct tasks *ts, const struct queue *q)
{
    const struct task *next = q->first;
    if (!next)
        return;
    if (next->queue_next)
        fetch_second(ts, next->queue_next);
    fetch_third(ts, next);
}

static bool layout_is_known(lua_State *L)
{
    const char *base = state_pointer(L, STATE_BASE), *top = state_pointer(L, STATE_TOP);
    const char *stack = state_pointer(L, STATE_STACK), *limit = state_pointer(L, STATE_LIMIT);
    int n = lua_gettop(L);
    lua_pushboolean(L, 1);
    const char *pushed = state_pointer(L, STATE_TOP);
    lua_pop(L, 1);
    return top == base + 8 * n && pushed == top + 8 && stack < base && base - stack < 1 << 20 && top < limit &&
           limit - stack < 1 << 20;
}

// --- storage
// ------------------------------------------------------------------------------------------------------------

static struct task *storage_take(struct tasks *ts)
{
    if (!ts->free) {
        struct chunk *c = calloc(1, sizeof(*c));
        if (!c)
            return NULL;
        c->next = ts->chunks;
        ts->chunks = c;
        for (unsigned i = 0; i < TASKS_A_CHUNK; i++) {
            c->at[i].queue_next = ts->free;
            ts->free = &c->at[i];
        }
    }
    struct task *t = ts->free;
    ts->free = t->queue_next;
    memset(t, 0, sizeof(*t));
    return t;
}

static void storage_give(struct tasks *ts, struct task *t)
{
    t->state = ST_FREE;
    t->queue_next = ts->free;
    ts->free = t;
}

// The table of coroutines belongs to all: its growth must not be charged to the device that happens to need it.
static void anchor(struct tasks *ts, lua_State *L, uint32_t slot, bool set)
{
    uint32_t former = guard_charge(ts->config.guard, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ts->anchors);
    if (set)
        lua_pushvalue(L, -2);
    else
        lua_pushboolean(L, 0); // not nil: holes would push the rest into the hash part
    lua_rawseti(L, -2, (int)slot + 1);
    lua_pop(L, 1);
    guard_charge(ts->config.guard, former);
}

// --- life of a task
// -----------------------------------------------------------------------------------------------------

struct task *task_spawn(struct tasks *ts, lua_State *L, int nargs, struct task_owner *owner, struct error *err)
{
    int base = lua_gettop(L) - nargs - 1;
    const char *what = NULL;
    uint32_t limit = 0;
    if (owner->n_tasks >= ts->config.max_tasks_owner) {
        what = "one device";
        limit = ts->config.max_tasks_owner;
    } else if (ts->stats.live >= ts->config.max_tasks) {
        what = "this shard";
        limit = ts->config.max_tasks;
    }
    struct task *t = NULL;
    if (what)
        error_set(err, ERR_LIMIT, "too many tasks: %s may have %u at a time", what, limit);
    else if (nargs < 0 || nargs > 250 || !lua_checkstack(L, nargs + 8))
        error_set(err, ERR_LIMIT, "too many arguments for a task");
    else if (!(t = storage_take(ts)) || !(t->id = slots_add(ts->slots, t)))
        error_set(err, ERR_NO_MEMORY, "out of memory");
    if (!t || !t->id) {
        if (t)
            storage_give(ts, t);
        lua_settop(L, base);
        return NULL;
    }
    uint32_t former = guard_charge(ts->config.guard, owner->account);
    t->co = lua_newthread(L);
    anchor(ts, L, slot_index(t->id), true);
    lua_pop(L, 1);
    lua_checkstack(t->co, nargs + 1);
    lua_xmove(L, t->co, nargs + 1);
    guard_charge(ts->config.guard, former);
    t->tasks = ts;
    t->nargs = (uint8_t)nargs;
    t->owner = owner;
    t->next = owner->tasks;
    t->prev = &owner->tasks;
    if (t->next)
        t->next->prev = &t->next;
    owner->tasks = t;
    owner->n_tasks++;
    ts->stats.live++;
    task_make_ready(ts, t);
    return t;
}

static void drop_push(struct task *t)
{
    if (!t->push)
        return;
    lua_State *L = t->tasks->L;
    int top = lua_gettop(L);
    if (lua_checkstack(L, LUA_MINSTACK))
        t->push(L, t->arg);
    t->push = NULL;
    lua_settop(L, top);
}

// Takes the task apart and tells. `queued`: its husk is still in a ready queue.
static void finish(struct task *t, enum task_result result, const char *text, bool killed)
{
    struct tasks *ts = t->tasks;
    struct task_owner *owner = t->owner;
    bool queued = t->state == ST_READY;
    if (t->state == ST_BLOCKED && t->cancel) {
        cancel_fn *cancel = t->cancel;
        t->cancel = NULL;
        cancel(t, t->arg);
    } else if (queued || t->woken) {
        drop_push(t);
    }
    loop_timer_stop(ts->config.loop, &t->timer);
    t->state = ST_HUSK;
    *t->prev = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->owner = NULL;
    owner->n_tasks--;
    anchor(ts, ts->L, slot_index(t->id), false);
    slots_remove(ts->slots, t->id);
    t->co = NULL;
    ts->stats.live--;
    if (result == TASK_ERROR) {
        ts->stats.errors++;
        if (killed)
            ts->stats.kills++;
    }
    if (ts->config.events.ended)
        ts->config.events.ended(ts->config.events.arg, owner, t, result, text, killed);
    if (!queued)
        storage_give(ts, t);
}

static void log_end(struct tasks *ts, const struct task_owner *owner, const char *text)
{
    if (!ts->config.log)
        return;
    struct buf name;
    buf_create(&name, 512);
    bool named = owner->name && owner->name(owner, &name) == 0;
    log_write(ts->config.log, LOG_ERROR, named ? buf_cstr(&name) : NULL, "%s", text);
    buf_destroy(&name);
}

// The error value at the top of the dead coroutine, without its metamethods: nobody guards them here.
static void push_message(lua_State *L, lua_State *co)
{
    int type = lua_gettop(co) ? lua_type(co, -1) : LUA_TNIL;
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        lua_pushstring(L, lua_tostring(co, -1));
        return;
    }
    if (type == LUA_TTABLE) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1);
        lua_pushliteral(L, "message");
        lua_rawget(L, -2);
        lua_remove(L, -2);
        if (lua_type(L, -1) == LUA_TSTRING)
            return;
        lua_pop(L, 1);
    }
    lua_pushfstring(L, "(error object is a %s value)", lua_typename(L, type));
}

// reason: why the guard stopped it; NULL: its own error.
static void fail(struct task *t, const char *reason, const char *trace)
{
    struct tasks *ts = t->tasks;
    struct task_owner *owner = t->owner;
    lua_State *L = ts->L;
    struct buf text;
    buf_create(&text, MAX_TEXT);
    int top = lua_gettop(L);
    lua_checkstack(L, LUA_MINSTACK);
    if (reason)
        lua_pushstring(L, reason);
    else
        push_message(L, t->co);
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    int failed = buf_append(&text, s, n < MAX_TEXT / 2 ? n : MAX_TEXT / 2);
    bool traced = !reason && memmem(s, n, "\nstack traceback:", 17); // by product Lua, where it was raised
    if (!traced && (!trace || !trace[0])) {
        luaL_traceback(L, t->co, NULL, 0);
        trace = lua_tostring(L, -1);
    }
    n = traced ? 0 : strlen(trace);
    if (!traced)
        failed |= buf_append_char(&text, '\n');
    failed |= buf_append(&text, trace, n < MAX_TEXT / 3 ? n : MAX_TEXT / 3);
    lua_settop(L, top);
    const char *line = failed ? "out of memory while describing an error" : buf_cstr(&text);
    log_end(ts, owner, line);
    finish(t, TASK_ERROR, line, reason != NULL);
    buf_destroy(&text);
}

void task_cancel(struct task *t)
{
    if (t->state == ST_FREE || t->state == ST_HUSK || t->cancelled)
        return;
    t->cancelled = true;
    if (t == t->tasks->running) {
        guard_interrupt(t->tasks->config.guard);
        return;
    }
    finish(t, TASK_CANCELLED, NULL, false);
}

// Callbacks may spawn (a restarted device) or cancel others: only who is here now is meant.
void task_cancel_all(struct tasks *ts, struct task_owner *owner)
{
    (void)ts;
    for (struct task *t = owner->tasks; t; t = t->next)
        t->doomed = true;
    for (;;) {
        struct task *t = owner->tasks;
        while (t && (!t->doomed || t->cancelled))
            t = t->next;
        if (!t)
            return;
        task_cancel(t);
    }
}

// --- running
// ------------------------------------------------------------------------------------------------------------

static void overrun(struct task *t, bool bare)
{
    struct tasks *ts = t->tasks;
    struct task_owner *owner = t->owner;
    ts->stats.overruns++;
    if (++owner->overruns >= guard_max_overruns(ts->config.guard)) {
        char reason[200];
        if (bare)
            snprintf(reason, sizeof(reason),
                     "stopped: coroutine.yield in a task waits for nothing, %u times in a row; use iotix.sleep",
                     owner->overruns);
        else
            snprintf(reason, sizeof(reason), "stopped: ran for more than %.3g ms without a pause, %u times in a row",
                     (double)guard_slice_us(ts->config.guard) / 1e3, owner->overruns);
        t->state = ST_RUNNING;
        fail(t, reason, NULL);
        return;
    }
    t->state = ST_READY;
    if (!loop_simulating(ts->config.loop))
        queue_put(ts, &ts->heavy, t);
    else if (bare)
        queue_put(ts, &ts->prompt, t);
    else
        queue_put_first(ts, &ts->prompt, t);
}

static void yielded(struct task *t, enum guard_verdict verdict, struct queue *from)
{
    struct tasks *ts = t->tasks;
    t->hooked = verdict != GUARD_OK;
    if (t->hooked && t->state == ST_BLOCKED) {
        // A binding raised after task_block, the author caught it and went on: what was armed is disarmed.
        if (t->cancel)
            t->cancel(t, t->arg);
        t->push = NULL;
    }
    if (verdict == GUARD_PREEMPTED) {
        overrun(t, false);
    } else if (verdict == GUARD_CUT) {
        t->state = ST_READY;
        queue_put(ts, from == &ts->prompt ? &ts->late : &ts->heavy, t);
    } else if (t->woken) {
        lua_settop(t->co, 0);
        t->woken = false;
        t->owner->overruns = 0;
        task_make_ready(ts, t);
    } else if (t->state == ST_RUNNING) {
        lua_settop(t->co, 0);
        overrun(t, true);
    } else {
        lua_settop(t->co, 0);
        t->owner->overruns = 0;
    }
}

// The only caller of lua_resume.
static enum task_result task_run(struct task *t, struct queue *from)
{
    struct tasks *ts = t->tasks;
    struct guard *guard = ts->config.guard;
    struct task_owner *owner = t->owner;
    lua_State *co = t->co;
    int nargs = 0;
    loop_due_set(ts->config.loop, &(struct due){.at_us = t->due_us});
    guard_charge(guard, owner->account);
    if (!t->started) {
        t->started = true;
        nargs = t->nargs;
    } else if (!t->hooked && t->push) {
        push_fn *push = t->push;
        t->push = NULL;
        nargs = lua_checkstack(co, LUA_MINSTACK) ? push(co, t->arg) : 0;
    }
    t->hooked = false;
    t->state = ST_RUNNING;
    t->push = NULL;
    ts->running = t;
    ts->stats.resumes++;
    guard_enter(guard, co, owner->account, owner->device, owner->group);
    int status = lua_resume(co, nargs);
    int64_t cpu;
    enum guard_verdict verdict = guard_leave(guard, &cpu);
    ts->running = NULL;
    loop_due_set(ts->config.loop, NULL);
    owner_decay(ts, owner);
    owner->cpu_us += (int32_t)(cpu < 1000000 ? cpu : 1000000);
    if (cpu > ts->stats.longest_slice_us)
        ts->stats.longest_slice_us = cpu;
    if (t->cancelled) {
        finish(t, TASK_CANCELLED, NULL, false);
        return TASK_CANCELLED;
    }
    if (verdict >= GUARD_KILL_CPU) {
        fail(t, guard_reason(guard), guard_trace(guard));
        return TASK_ERROR;
    }
    if (status == LUA_YIELD) {
        yielded(t, verdict, from);
        return TASK_WAIT;
    }
    if (status) {
        fail(t, NULL, NULL);
        return TASK_ERROR;
    }
    owner->overruns = 0;
    finish(t, TASK_DONE, NULL, false);
    return TASK_DONE;
}

static void serve(struct tasks *ts, struct queue *q, uint32_t most, int64_t until_us)
{
    bool whole = until_us == INT64_MAX;
    q->served_us = guard_mark_us(ts->config.guard);
    while (most-- && q->n) {
        struct task *t = queue_take(q);
        if (t->state == ST_HUSK) {
            storage_give(ts, t);
            continue;
        }
        fetch_ahead(ts, q);
        if (q == &ts->prompt) {
            owner_decay(ts, t->owner);
            if (t->owner->cpu_us > HEAVY_US && !whole) {
                queue_put(ts, &ts->heavy, t);
                continue;
            }
        }
        task_run(t, q);
        if (whole && q->first == t && t->hooked)
            most++; // was interrupted: goes on at once
        if (guard_mark_us(ts->config.guard) >= until_us)
            return;
    }
}

static void drain(struct loop_hook *hook, struct loop *loop)
{
    struct tasks *ts = container_of(hook, struct tasks, hook);
    if (!ts->prompt.n && !ts->late.n && !ts->heavy.n)
        return;
    struct guard *guard = ts->config.guard;
    guard_chain_begin(guard);
    int64_t now = guard_mark_us(guard);
    bool whole = loop_simulating(loop), overload = !whole && ts->backlog_since && now - ts->backlog_since > BACKLOG_US;
    if (ts->prompt.n) {
        guard_set_quantum(guard, overload ? QUANTUM_US : 0);
        serve(ts, &ts->prompt, ts->prompt.n, whole ? INT64_MAX : now + TURN_US);
    }
    now = guard_mark_us(guard);
    if (!ts->prompt.n)
        ts->backlog_since = 0;
    else if (!ts->backlog_since)
        ts->backlog_since = now;
    if (ts->late.n && (!ts->prompt.n || now - ts->late.served_us > LATE_WAIT_US)) {
        guard_set_quantum(guard, LATE_QUANTUM_US);
        serve(ts, &ts->late, ts->late.n, now + TURN_US);
    }
    if (ts->heavy.n && (!ts->prompt.n || now - ts->heavy.served_us > HEAVY_WAIT_US)) {
        guard_set_quantum(guard, 0);
        serve(ts, &ts->heavy, 1, now);
    }
    guard_set_quantum(guard, 0);
    guard_chain_end(guard);
    if (ts->prompt.n || ts->late.n || ts->heavy.n)
        loop_again(loop);
}

// --- the scheduler
// ------------------------------------------------------------------------------------------------------

slot_id task_id(const struct task *t)
{
    return t->id;
}

struct task *task_find(struct tasks *ts, slot_id id)
{
    return slots_get(ts->slots, id);
}

struct task_owner *task_owner(const struct task *t)
{
    return t->owner;
}

void tasks_stats(const struct tasks *ts, struct tasks_stats *out)
{
    *out = ts->stats;
}

struct tasks *tasks_new(lua_State *L, const struct tasks_config *config, struct error *err)
{
    struct tasks *ts = calloc(1, sizeof(*ts));
    if (!ts) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    ts->config = *config;
    ts->L = L;
    if (!ts->config.max_tasks)
        ts->config.max_tasks = 200000;
    if (!ts->config.max_tasks_owner)
        ts->config.max_tasks_owner = 64;
    ts->slots = slots_new(ts->config.max_tasks);
    if (!ts->slots) {
        free(ts);
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    queue_init(&ts->prompt);
    queue_init(&ts->late);
    queue_init(&ts->heavy);
    lua_createtable(L, ANCHORS_FIRST, 0);
    ts->layout_known = layout_is_known(L);
    ts->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
    guard_set_tasks(config->guard, ts);
    ts->hook.priority = 10;
    ts->hook.fn = drain;
    loop_hook_add(config->loop, &ts->hook);
    return ts;
}

// What is still there is dropped without a word: cancel functions disarm what they armed, nobody is told.
void tasks_delete(struct tasks *ts)
{
    if (!ts)
        return;
    ts->config.events.ended = NULL;
    for (struct chunk *c = ts->chunks; c; c = c->next) {
        for (unsigned i = 0; i < TASKS_A_CHUNK; i++)
            task_cancel(&c->at[i]);
    }
    loop_hook_remove(ts->config.loop, &ts->hook);
    guard_set_tasks(ts->config.guard, NULL);
    luaL_unref(ts->L, LUA_REGISTRYINDEX, ts->anchors);
    while (ts->chunks) {
        struct chunk *c = ts->chunks;
        ts->chunks = c->next;
        free(c);
    }
    slots_delete(ts->slots);
    free(ts);
}
