// iotix.barrier: devices wait at a name until so many of all shards do. This process tells the supervisor how many of
// its own wait, at most every 20 ms, and is told when the barrier opens: then all who wait here go on, those too that
// came while the word was on its way. See engine/barriers.h.
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "engine/barriers.h"
#include "script/internal.h"

#define TELL_US 20000
#define NAME_MAX_LEN 63
#define COUNT_MAX 1e9

struct lua_barrier;
struct arrival { // a task that waits
    struct arrival *next, *previous;
    struct lua_barrier *barrier;
    slot_id task;
    int64_t timeout_us;
};

struct lua_barrier {
    struct lua_barrier *next;
    uint64_t n; // how many it takes; 0: all of the group
    unsigned group;
    const char *group_name;
    uint64_t round, waiting;
    uint64_t everywhere, of; // as the supervisor said last; of 0: it has not
    bool changed;            // since it was told
    struct arrival *first, *last;
    char name[];
};

struct lua_barriers {
    struct scenario *scenario;
    struct lua_barrier *list;
    unsigned n;
    struct timer timer;
    bool armed;
};

// --- telling

static void tell(struct timer *t, void *loop)
{
    (void)loop;
    struct lua_barriers *all = container_of(t, struct lua_barriers, timer);
    const struct scenario_config *c = &all->scenario->config;
    all->armed = false;
    for (struct lua_barrier *b = all->list; b; b = b->next) {
        json_t *m = b->changed
                        ? json_pack("{s:s, s:I, s:s, s:I, s:I}", "name", b->name, "n", (json_int_t)b->n, "group",
                                    b->group_name, "waiting", (json_int_t)b->waiting, "round", (json_int_t)b->round)
                        : NULL;
        if (m)
            c->barrier(c->barrier_arg, m);
        b->changed = false;
    }
}

static void changed(struct lua_barriers *all, struct lua_barrier *b)
{
    b->changed = true;
    if (!all->armed)
        loop_timer_start(all->scenario->config.loop, &all->timer, TELL_US, tell);
    all->armed = true;
}

// --- waiting

static void leave(struct arrival *a)
{
    struct lua_barrier *b = a->barrier;
    *(a->previous ? &a->previous->next : &b->first) = a->next;
    *(a->next ? &a->next->previous : &b->last) = a->previous;
    b->waiting--;
    free(a);
}

static void arrival_cancel(struct task *task, void *arg)
{
    struct arrival *a = *task_local(task);
    struct scenario *s = arg;
    struct lua_barrier *b = a->barrier;
    loop_timer_stop(s->config.loop, task_timer(task));
    leave(a);
    changed(s->barriers, b);
}

static void arrival_timeout(struct timer *timer, void *loop)
{
    (void)loop;
    struct task *t = task_of_timer(timer);
    struct arrival *a = *task_local(t);
    struct lua_barrier *b = a->barrier;
    struct error err = {0};
    char time[40], of[32] = "all";
    uint64_t here = b->everywhere > b->waiting ? b->everywhere : b->waiting;
    duration_format(a->timeout_us, time, sizeof time);
    if (b->of || b->n)
        snprintf(of, sizeof of, "%llu", (unsigned long long)(b->of ? b->of : b->n));
    error_set(&err, ERR_TIMEOUT, "barrier \"%s\": %llu of %s were there after %s", b->name, (unsigned long long)here,
              of, time);
    leave(a);
    task_wake_error(t, &err);
}

static struct lua_barriers *barriers_of(struct scenario *s)
{
    if (!s->barriers && (s->barriers = calloc(1, sizeof *s->barriers)))
        s->barriers->scenario = s;
    return s->barriers;
}

// NULL: there are too many, or no memory.
static struct lua_barrier *barrier_of(struct scenario *s, const char *name, size_t len)
{
    struct lua_barriers *all = barriers_of(s);
    struct lua_barrier *b = all ? all->list : NULL;
    while (b && strcmp(b->name, name) != 0)
        b = b->next;
    if (b || !all || all->n >= BARRIERS_MAX || !(b = calloc(1, sizeof *b + len + 1)))
        return b;
    memcpy(b->name, name, len);
    b->next = all->list;
    all->list = b;
    all->n++;
    return b;
}

static uint64_t wanted(lua_State *L)
{
    if (lua_isnoneornil(L, 2) || (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "all") == 0))
        return 0;
    lua_Number n = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : 0;
    if (!(n >= 1 && n <= COUNT_MAX) || n != (lua_Number)(uint64_t)n)
        return (uint64_t)luaL_error(L,
                                    "iotix.barrier: expected how many devices are waited for, a whole number from 1, "
                                    "or \"all\" of the group");
    return (uint64_t)n;
}

// native.barrier(name, n|"all", timeout) → true | nil, message, code
int barrier_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    size_t len = 0;
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    const struct device *d = scenario_device(s);
    struct error err = {0};
    if (len < 1 || len > NAME_MAX_LEN || strlen(name) != len)
        return luaL_error(L, "iotix.barrier: expected a name of 1 to %d characters", NAME_MAX_LEN);
    uint64_t n = wanted(L);
    int64_t timeout = lua_isnoneornil(L, 3) ? 30000000 : bind_duration(L, 3, "iotix.barrier: timeout");
    if (!d)
        return luaL_error(L, "iotix.barrier works in the behaviour of a device, while the run is on");
    struct task *t = task_current(s->tasks, L, "iotix.barrier");
    if (!s->config.barrier) {
        error_set(&err, ERR_UNSUPPORTED, "barrier \"%s\": there are none in virtual time", name);
        return bind_fail(L, &err);
    }
    struct lua_barrier *b = barrier_of(s, name, len);
    struct arrival *a = b ? calloc(1, sizeof *a) : NULL;
    if (!a) {
        error_set(&err, ERR_LIMIT, "barrier \"%s\": at most %d of them", name, BARRIERS_MAX);
        return bind_fail(L, &err);
    }
    if (b->waiting && (b->n != n || (!n && b->group != d->group->config.number))) {
        free(a);
        return luaL_error(L, "iotix.barrier \"%s\": others wait there for another number of devices", name);
    }
    b->n = n;
    b->group = d->group->config.number;
    b->group_name = d->group->config.name;
    *a = (struct arrival){.previous = b->last, .barrier = b, .task = task_id(t), .timeout_us = timeout};
    *(b->last ? &b->last->next : &b->first) = a;
    b->last = a;
    b->waiting++;
    changed(s->barriers, b);
    *task_local(t) = a;
    loop_timer_start(s->config.loop, task_timer(t), timeout, arrival_timeout);
    task_block(t, arrival_cancel, s);
    return task_yield(L);
}

// --- being told

static void open_up(struct scenario *s, struct lua_barrier *b)
{
    while (b->first) {
        struct task *t = task_find(s->tasks, b->first->task);
        leave(b->first);
        if (!t)
            continue;
        loop_timer_stop(s->config.loop, task_timer(t));
        task_wake_true(t);
    }
    b->changed = false;
    b->everywhere = 0;
}

void scenario_opened(struct scenario *s, const json_t *m)
{
    const char *name = json_string_value(json_object_get(m, "name"));
    uint64_t round = (uint64_t)json_integer_value(json_object_get(m, "round"));
    struct lua_barrier *b = name ? barrier_of(s, name, strlen(name)) : NULL;
    if (!b)
        return;
    b->everywhere = (uint64_t)json_integer_value(json_object_get(m, "waiting"));
    b->of = (uint64_t)json_integer_value(json_object_get(m, "of"));
    if (json_is_true(json_object_get(m, "open")))
        open_up(s, b);
    else if (round != b->round && b->waiting)
        changed(s->barriers, b); // what it was told was of another round
    b->round = round;
}

void barriers_close(struct scenario *s)
{
    struct lua_barriers *all = s->barriers;
    if (!all)
        return;
    loop_timer_stop(s->config.loop, &all->timer);
    for (struct lua_barrier *next, *b = all->list; b; b = next) {
        next = b->next;
        while (b->first)
            leave(b->first);
        free(b);
    }
    free(all);
    s->barriers = NULL;
}
