// Every turn is one iteration of ev_run, driven from here: that is cheaper than prepare and check watchers, and leaves
// the order of a turn visible in one function. libev's own heap holds a single timer, which bounds how long epoll
// waits; the timers themselves are fired from the wheel after the descriptor callbacks.
//
// libev hands over to pending_cb() when it has gathered events and before it runs their callbacks: there the time of
// the turn is read, and the events are counted (a virtual clock may jump only when there were none).
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>

// Timer callbacks a turn: bounds a turn when everything falls due at once. What is left is due in the next turn, which
// then does not wait.
#define TIMER_BUDGET 512

struct loop {
    struct ev_loop *ev;
    struct wheel *wheel;
    struct clock clock;
    struct clock steady;  // real even when `clock` is virtual: measures work
    int64_t now_us;       // of this turn, by `clock`
    int64_t work_from_us; // when this turn's callbacks began, by `steady`
    unsigned ready;       // descriptor events of this turn
    bool again;           // the next epoll does not wait
    bool stop;
    bool running;                // inside loop_run
    bool in_turn;                // between the poll and the end of the hooks: now_us holds
    ev_timer wake;               // ends the wait in epoll
    int64_t wake_at_us;          // what `wake` is set to while it is active
    struct loop_hook *hooks;     // ascending priority
    struct loop_hook *next_hook; // while hooks run: the one after this, kept valid by loop_hook_remove
    struct loop_stats stats;
    struct due due; // set by loop_due_set
    // a run in virtual time
    bool simulating, held;
    int64_t poll_every_us, polled_us; // by `steady`
    int64_t end_us;
    void (*end_fn)(void *arg);
    void *end_arg;
};

static void wake_cb(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)ev, (void)watcher, (void)events; // it has ended the wait, which is all it is for
}

static void begin_work(struct loop *loop)
{
    loop->now_us = clock_now_us(&loop->clock);
    loop->work_from_us = loop->clock.is_virtual ? clock_now_us(&loop->steady) : loop->now_us;
    loop->in_turn = true;
}

static void pending_cb(struct ev_loop *ev)
{
    struct loop *loop = ev_userdata(ev);
    begin_work(loop);
    loop->ready += ev_pending_count(ev);
    ev_invoke_pending(ev);
}

struct loop *loop_new(const struct clock *clock, struct error *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop) {
        error_set(err, ERR_NO_MEMORY, "no memory for an event loop");
        return NULL;
    }
    loop->clock = *clock;
    clock_create_real(&loop->steady);
    loop->now_us = clock_now_us(clock);
    loop->work_from_us = clock_now_us(&loop->steady);
    loop->wheel = wheel_new(loop->now_us, loop);
    // The environment must not choose the backend, and the signal mask is the program's business.
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV | EVFLAG_NOSIGMASK | EVFLAG_NOTIMERFD);
    if (!loop->wheel || !loop->ev) {
        if (!loop->ev)
            error_set_errno(err, "cannot create an epoll loop");
        else
            error_set(err, ERR_NO_MEMORY, "no memory for an event loop");
        loop_delete(loop);
        return NULL;
    }
    ev_set_userdata(loop->ev, loop);
    ev_set_invoke_pending_cb(loop->ev, pending_cb);
    ev_init(&loop->wake, wake_cb);
    ev_ref(loop->ev); // without any watcher libev would not wait at all
    return loop;
}

void loop_delete(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->ev) {
        ev_timer_stop(loop->ev, &loop->wake);
        ev_loop_destroy(loop->ev);
    }
    wheel_delete(loop->wheel);
    free(loop);
}

struct ev_loop *loop_ev(struct loop *loop)
{
    return loop->ev;
}

const struct clock *loop_clock(const struct loop *loop)
{
    return &loop->clock;
}

int64_t loop_now_us(const struct loop *loop)
{
    return loop->in_turn ? loop->now_us : clock_now_us(&loop->clock);
}

int64_t loop_fresh_us(const struct loop *loop)
{
    return clock_now_us(&loop->clock);
}

int64_t loop_wall_us(const struct loop *loop)
{
    return clock_wall_us(&loop->clock);
}

static int64_t due_or_zero(const struct loop *loop)
{
    return loop->due.at_us ? loop->due.at_us : wheel_due_us(loop->wheel);
}

int64_t loop_due_us(const struct loop *loop)
{
    int64_t at_us = due_or_zero(loop);
    return at_us ? at_us : loop_now_us(loop);
}

void loop_due_set(struct loop *loop, const struct due *due)
{
    loop->due = due ? *due : (struct due){0};
}

void loop_lag(const struct loop *loop, int64_t begun_us, struct lag *out)
{
    int64_t at_us = due_or_zero(loop);
    *out = (struct lag){0};
    if (at_us && begun_us - at_us > LAG_RESOLUTION_US)
        out->late_us = lag_us(begun_us - at_us);
    if (!loop->due.missed)
        return;
    out->missed = loop->due.missed;
    out->interval_us = loop->due.interval_us;
    out->backlog_us = loop->due.backlog_us;
}

void loop_timer_start(struct loop *loop, struct timer *t, int64_t delay_us, timer_fn *fn)
{
    int64_t now_us = loop_now_us(loop), at_us;
    if (delay_us <= 0 && loop->simulating)
        delay_us = 1; // the next tick
    if (delay_us <= 0) {
        wheel_start_now(loop->wheel, t, now_us, fn);
        return;
    }
    if (__builtin_add_overflow(now_us, delay_us, &at_us))
        at_us = INT64_MAX;
    wheel_start(loop->wheel, t, at_us, fn);
}

void loop_timer_at(struct loop *loop, struct timer *t, int64_t at_us, timer_fn *fn)
{
    wheel_start(loop->wheel, t, at_us, fn);
}

void loop_timer_stop(struct loop *loop, struct timer *t)
{
    wheel_stop(loop->wheel, t);
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
    struct loop_hook **at = &loop->hooks;
    while (*at && (*at)->priority <= hook->priority)
        at = &(*at)->next;
    hook->next = *at;
    *at = hook;
}

void loop_hook_remove(struct loop *loop, struct loop_hook *hook)
{
    for (struct loop_hook **at = &loop->hooks; *at; at = &(*at)->next) {
        if (*at != hook)
            continue;
        if (loop->next_hook == hook)
            loop->next_hook = hook->next;
        *at = hook->next;
        hook->next = NULL;
        return;
    }
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

// Sets the timer that ends the wait, unless it already stands where it should.
static void set_wake(struct loop *loop, int64_t at_us)
{
    if (at_us == INT64_MAX) {
        ev_timer_stop(loop->ev, &loop->wake);
        return;
    }
    if (ev_is_active(&loop->wake) && loop->wake_at_us == at_us)
        return;
    ev_timer_stop(loop->ev, &loop->wake);
    // libev counts from the time of its last poll, which is when the last turn's work began, and rounds up to whole
    // milliseconds: one wake-up a tick.
    ev_timer_set(&loop->wake, (double)(at_us - loop->work_from_us) * 1e-6, 0.);
    ev_timer_start(loop->ev, &loop->wake);
    loop->wake_at_us = at_us;
}

static int64_t wait_until(const struct loop *loop, int64_t now_us, int64_t max_wait_us)
{
    int64_t until;
    if (__builtin_add_overflow(now_us, max_wait_us, &until))
        until = INT64_MAX;
    int64_t timer_us = wheel_next_us(loop->wheel);
    if (loop->end_fn && loop->end_us < timer_us)
        timer_us = loop->end_us;
    return timer_us < until ? timer_us : until;
}

static void poll_real(struct loop *loop, int64_t max_wait_us, bool again)
{
    // The last turn's time is old by its work: against it nothing is due now, and epoll waits at least 1 ms.
    int64_t now_us = clock_now_us(&loop->clock), until = again ? now_us : wait_until(loop, now_us, max_wait_us);
    if (until <= now_us) {
        ev_run(loop->ev, EVRUN_NOWAIT);
        return;
    }
    set_wake(loop, until);
    ev_run(loop->ev, EVRUN_ONCE);
}

// Real waiting, with a clock that does not move: what is due is due now, the rest is not waited for.
static void poll_held(struct loop *loop, int64_t max_wait_us, bool again)
{
    if (again || max_wait_us == 0 || wheel_next_us(loop->wheel) <= loop->clock.now_us) {
        ev_run(loop->ev, EVRUN_NOWAIT);
        return;
    }
    set_wake(loop, INT64_MAX);
    ev_run(loop->ev, EVRUN_ONCE);
}

// Whether descriptors are looked at in this turn. `until`: where the clock would jump; nowhere, and nothing else is
// left.
static bool poll_is_due(struct loop *loop, int64_t until)
{
    if (!loop->simulating)
        return true;
    int64_t now_us = clock_now_us(&loop->steady);
    if (until != INT64_MAX && now_us - loop->polled_us < loop->poll_every_us) {
        int64_t work_us = now_us - loop->work_from_us; // of the last turn: there is no waiting in between
        if (work_us > loop->stats.longest_turn_us)
            loop->stats.longest_turn_us = work_us;
        loop->work_from_us = now_us;
        return false;
    }
    loop->polled_us = now_us;
    return true;
}

static void begin_unpolled(struct loop *loop)
{
    loop->now_us = loop->clock.now_us;
    loop->in_turn = true;
}

static void jump(struct loop *loop, int64_t until_us)
{
    bool ends = loop->end_fn && until_us >= loop->end_us; // wait_until goes no further
    clock_advance(&loop->clock, until_us);
    loop->now_us = loop->clock.now_us;
    if (!ends)
        return;
    void (*fn)(void *arg) = loop->end_fn;
    loop->end_fn = NULL;
    fn(loop->end_arg);
}

static void poll_virtual(struct loop *loop, int64_t max_wait_us, bool again)
{
    if (loop->held) {
        poll_held(loop, max_wait_us, again);
        return;
    }
    int64_t until = wait_until(loop, loop->clock.now_us, max_wait_us);
    if (poll_is_due(loop, until))
        ev_run(loop->ev, EVRUN_NOWAIT);
    else
        begin_unpolled(loop);
    // A callback may have started timers.
    if (loop->ready)
        return;
    bool over = loop->end_fn && loop->end_us <= loop->now_us; // set after the fact
    if (!again && !loop->again && until != INT64_MAX && (until > loop->now_us || over))
        jump(loop, until);
}

static void run_hooks(struct loop *loop)
{
    struct loop_hook *hook = loop->hooks;
    while (hook) {
        loop->next_hook = hook->next;
        hook->fn(hook, loop);
        hook = loop->next_hook;
    }
    loop->next_hook = NULL;
}

static unsigned turn(struct loop *loop, int64_t max_wait_us)
{
    bool again = loop->again;
    loop->again = false;
    loop->ready = 0;
    if (loop->clock.is_virtual)
        poll_virtual(loop, max_wait_us, again);
    else
        poll_real(loop, max_wait_us, again);
    unsigned fired = wheel_run(loop->wheel, loop->now_us, loop->simulating ? 0 : TIMER_BUDGET);
    run_hooks(loop);
    loop->stats.turns++;
    loop->in_turn = false;
    if (loop->simulating)
        return fired + loop->ready; // measured from turn to turn
    int64_t work_us = clock_now_us(&loop->steady) - loop->work_from_us;
    if (work_us > loop->stats.longest_turn_us)
        loop->stats.longest_turn_us = work_us;
    return fired + loop->ready;
}

void loop_turn(struct loop *loop, int64_t max_wait_us)
{
    turn(loop, max_wait_us > 0 ? max_wait_us : 0);
}

void loop_simulate(struct loop *loop, int64_t poll_us)
{
    if (!loop->clock.is_virtual)
        return;
    loop->simulating = true;
    loop->poll_every_us = poll_us;
}

bool loop_simulating(const struct loop *loop)
{
    return loop->simulating;
}

void loop_hold(struct loop *loop, bool held)
{
    loop->held = held && loop->clock.is_virtual;
}

void loop_virtual_end(struct loop *loop, int64_t at_us, void (*fn)(void *arg), void *arg)
{
    if (!loop->clock.is_virtual)
        return;
    loop->end_us = at_us;
    loop->end_fn = fn;
    loop->end_arg = arg;
}

int loop_run(struct loop *loop, struct error *err)
{
    if (loop->running)
        return error_set(err, ERR_STATE, "the event loop is running already");
    loop->running = true;
    while (!loop->stop) {
        unsigned done = turn(loop, INT64_MAX);
        if (loop->clock.is_virtual && done == 0 && !loop->again && !loop->held && !loop->end_fn &&
            wheel_count(loop->wheel) == 0)
            break;
    }
    loop->stop = false;
    loop->running = false;
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

void loop_stats(const struct loop *loop, struct loop_stats *out)
{
    *out = loop->stats;
    out->timer_late_max_us = wheel_late_max_us(loop->wheel);
}

void loop_stats_reset(struct loop *loop)
{
    loop->stats.longest_turn_us = 0;
    wheel_late_reset(loop->wheel);
}
