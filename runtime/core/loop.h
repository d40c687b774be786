// The event loop of a process: libev for descriptors, a timer wheel driven by one libev timer, end-of-turn hooks.
//
// A turn: epoll → descriptor callbacks → due timers → hooks in order of their priority. A hook that has more work
// than its budget calls loop_again(), and the next epoll does not wait.
// With a virtual clock there is no waiting: when nothing is ready the clock jumps to the next timer.
#pragma once
#include <ev.h>
#include <stddef.h>
#include "core/clock.h"
#include "core/due.h"
#include "core/error.h"
#include "core/wheel.h"

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct loop;
struct log;

// A piece of work at the end of every turn. Embed it. Hooks run in ascending `priority`:
// 10 ready queue of Lua tasks, 20 write out what links collected, 30 engine housekeeping.
struct loop_hook {
    struct loop_hook *next;
    int priority;
    void (*fn)(struct loop_hook *hook, struct loop *loop);
};

struct loop_stats {
    uint64_t turns;
    int64_t longest_turn_us;   // work only, without waiting in epoll; reset by loop_stats_reset
    int64_t timer_late_max_us; // how late the latest timer fired; reset likewise
};

// clock is copied. NULL and err on failure.
struct loop *loop_new(const struct clock *clock, struct error *err);
void loop_delete(struct loop *loop);
struct ev_loop *loop_ev(struct loop *loop); // for descriptor watchers; set watcher->data or container_of
const struct clock *loop_clock(const struct loop *loop);
// Time at the start of this turn's callbacks: cheap, use it for scheduling. Outside of a turn it is read freshly.
int64_t loop_now_us(const struct loop *loop);
// Fresh time: use it for latency stamps at socket events.
int64_t loop_fresh_us(const struct loop *loop);
int64_t loop_wall_us(const struct loop *loop);

// When what runs now was meant to begin: in a timer's callback its time, in a descriptor's this turn's beginning, and
// otherwise what loop_due_set said.
int64_t loop_due_us(const struct loop *loop);
// For what is called from here on, until it is set again. NULL: as above. Whoever sets it takes it back before the
// callback or hook that it runs in returns.
void loop_due_set(struct loop *loop, const struct due *due);
// The lag of an operation that begins at begun_us (loop_fresh_us or loop_now_us).
void loop_lag(const struct loop *loop, int64_t begun_us, struct lag *out);

// The loop that runs a timer callback is its arg. At most 512 callbacks run in a turn; the rest runs in the next, which
// does not wait. delay_us counts from loop_now_us; <= 0 fires in the next turn's timers (in this turn's, from a
// descriptor callback).
void loop_timer_start(struct loop *loop, struct timer *t, int64_t delay_us, timer_fn *fn);
void loop_timer_at(struct loop *loop, struct timer *t, int64_t at_us, timer_fn *fn);
void loop_timer_stop(struct loop *loop, struct timer *t);

void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_remove(struct loop *loop, struct loop_hook *hook);
// The next epoll does not wait.
void loop_again(struct loop *loop);

// --- a whole run in virtual time (no-ops for a real clock)

// From here on the clock runs as fast as the work allows. Descriptors are looked at every poll_us of real time only,
// and an instant is done as a whole: there is no budget of timers a turn, and whoever else spreads work over turns asks
// loop_simulating and does not. So what a device does in an instant, and in which order, does not depend on how many
// others share its loop or on the speed of the CPU. A delay of 0 is the next tick (1 ms): time cannot stand still.
void loop_simulate(struct loop *loop, int64_t poll_us);
bool loop_simulating(const struct loop *loop);
// Held, the clock stands still: the loop waits for descriptors in real time, fires what is due already, and does not
// end for want of timers.
void loop_hold(struct loop *loop, bool held);
// The clock stops at at_us on its way: fn(arg) runs there once, before any timer of that time. NULL: nothing is set.
void loop_virtual_end(struct loop *loop, int64_t at_us, void (*fn)(void *arg), void *arg);

// Runs until loop_stop (one that came before counts too); -1 when it is running already. Virtual: also ends when no
// timer is left, nothing is ready and no hook asked for another turn.
int loop_run(struct loop *loop, struct error *err) WARN_UNUSED_RESULT;
void loop_stop(struct loop *loop);
// One turn; waits at most max_wait_us (tests and drains); a virtual clock jumps at most so far. Not from inside a
// callback.
void loop_turn(struct loop *loop, int64_t max_wait_us);
void loop_stats(const struct loop *loop, struct loop_stats *out);
void loop_stats_reset(struct loop *loop);
