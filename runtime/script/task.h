// Tasks: the bridge between the loop and Lua, and the only caller of lua_resume.
//
// A task is a coroutine that belongs to an owner (a device, or the run itself). A blocking function checks its
// arguments, arms ONE watcher or timer, registers ONE cancel function with task_block and returns task_yield(L). The
// event's callback calls task_wake, which only queues the task; the ready queue is drained once per loop turn (hook
// priority 10) within a budget. Queues: prompt tasks go first; tasks of owners that used much CPU lately ("heavy") get
// one slice a turn and only when no prompt task waits (or after a bounded time), so that a thousand greedy devices
// cannot starve a healthy one. When prompt tasks pile up ("overload"), a slice that is not over at once is set back
// behind those that are ("late").
//
// Runaway code: see guard.h. Ids with generations, never pointers, go into Lua and timers.
#pragma once
#include <lua.h>
#include <stdbool.h>
#include "core/buf.h"
#include "core/loop.h"
#include "core/slots.h"
#include "script/guard.h"

struct tasks; // the scheduler of one Lua state
struct task;
struct lua_link;

enum task_result { TASK_DONE, TASK_WAIT, TASK_ERROR, TASK_CANCELLED };

// Who a task belongs to. Embedded in the script room's per-device record; one more for the run itself. All zero but
// account and name at the start. Must live until its last task has `ended`; after that callback the scheduler forgets
// it.
// Of the run too: OWNER_DEVICE; of an adapter in Lua; of a function of the timeline.
enum owner_kind { OWNER_DEVICE, OWNER_ADAPTER, OWNER_CUSTOM };
struct task_owner {
    uint32_t account;       // memory account (guard.h), never 0
    uint32_t n_tasks;       // live tasks
    uint32_t overruns;      // consecutive slice overruns
    int32_t cpu_us;         // CPU of the current window, decays
    uint32_t window;        // number of that window
    struct task *tasks;     // list
    struct lua_link *links; // those it has open (link_bind.c)
    // Appends a name for logs ("sensors-17").
    int (*name)(const struct task_owner *owner, struct buf *out);
    uint64_t device;     // for the watchdog's page: index+1 in its group, 0 = no device
    uint32_t group;      // number of its group
    uint8_t kind;        // enum owner_kind: whose struct it is embedded in
    const void *warm[2]; // what its tasks touch at once when they run (device, connection): fetched ahead; may be NULL
};

struct task_event_fns {
    // A task ended (DONE, ERROR or CANCELLED); it is no longer in owner->tasks. TASK_ERROR: text is the message with
    // traceback, already logged. killed: by the guard (its text says why). May spawn, cancel, and free the owner when
    // that was its last task, but inside task_cancel_all the owner must outlive the call.
    void (*ended)(void *arg, struct task_owner *owner, struct task *task, enum task_result result, const char *text,
                  bool killed);
    void *arg;
};

struct tasks_config {
    struct loop *loop;
    struct guard *guard;
    struct log *log;
    struct task_event_fns events;
    uint32_t max_tasks;       // cap of live tasks of the state; 0 = 200,000
    uint32_t max_tasks_owner; // 0 = 64
};
struct tasks *tasks_new(lua_State *L, const struct tasks_config *config, struct error *err);
void tasks_delete(struct tasks *tasks);

// Makes a task from the function and its nargs arguments on top of L's stack (they are popped) and queues it.
// NULL: too many tasks (ERR_LIMIT); they are popped all the same. The main task of an owner is the first one.
struct task *task_spawn(struct tasks *tasks, lua_State *L, int nargs, struct task_owner *owner, struct error *err);
slot_id task_id(const struct task *task);
struct task *task_find(struct tasks *tasks, slot_id id);
struct task_owner *task_owner(const struct task *task);
// Cancels one, or all of an owner: the cancel function of a blocked task runs, its coroutine is dropped and never
// resumed. A task may cancel itself (it is dropped at its next yield, which is forced).
void task_cancel(struct task *task);
void task_cancel_all(struct tasks *tasks, struct task_owner *owner);

// --- for blocking functions ---------------------------------------------------------------------------------------
// The running task, if `L` is its own coroutine. From an author's own coroutine: raises a Lua error
// "NAME cannot block inside a coroutine of your own; use iotix.spawn". At load time or in a place that cannot yield:
// raises too.
struct task *task_current(struct tasks *tasks, lua_State *L, const char *name);
// Why nothing may block, for that message, where Lua runs without a task; NULL: a scenario is loaded. Kept, not copied.
void tasks_forbid(struct tasks *tasks, const char *why);
// The task that runs now, whatever coroutine it is in; NULL outside.
struct task *task_running(struct tasks *tasks);
// Whether L is the running task's own coroutine (not one that its author made).
bool task_is_own(const struct tasks *tasks, const lua_State *L);
struct tasks *tasks_of(lua_State *L); // NULL: none yet
// Marks it blocked; nothing may raise between this and the yield. cancel(task, arg) is called at most once, if the task
// is cancelled before it is woken: it disarms what was armed. `timer` is there to be armed by the blocking function
// (one per task).
void task_block(struct task *task, void (*cancel)(struct task *task, void *arg), void *arg);
// Behind task_block: what it waits for is the answer to what it does (a publish, a request), no pause of its own.
void task_awaits_answer(struct task *task);
// Changes with every wait that is a pause. A pause that another function of the task made can be told by it.
uint32_t task_pauses(const struct task *task);
int task_yield(lua_State *L); // last statement of a blocking function: return task_yield(L)
struct timer *task_timer(struct task *task);
struct task *task_of_timer(struct timer *timer);
// A pointer of the blocking function's own, for its event callback; not touched by the scheduler.
void **task_local(struct task *task);
// Queues it. push(L, arg) runs right before the resume and pushes what the blocking call returns (count returned); it
// must not throw. It runs exactly once: if the task is cancelled before that, on the main state, and what it pushes is
// dropped. Waking a task that is not blocked is a no-op returning false.
bool task_wake(struct task *task, int (*push)(lua_State *L, void *arg), void *arg);
// Plain waking with 0..2 small results.
bool task_wake_true(struct task *task);
bool task_wake_error(struct task *task, const struct error *err); // nil, text, code name; the error is copied
// Blocking sleep as a Lua C function body: arms the task's timer and yields.
int task_sleep(lua_State *L, struct task *task, int64_t delay_us);

struct tasks_stats {
    uint64_t live, resumes, overruns, kills, errors;
    int64_t longest_slice_us;
};
void tasks_stats(const struct tasks *tasks, struct tasks_stats *out);
