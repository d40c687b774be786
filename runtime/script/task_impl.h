// What task.c (queues, slices) and task_block.c (waiting and waking) share. Not for others.
#pragma once
#include <lauxlib.h>
#include "core/slots.h"
#include "script/task.h"

#define TASKS_A_CHUNK 64

enum task_state { ST_FREE, ST_READY, ST_RUNNING, ST_BLOCKED, ST_HUSK };

typedef int push_fn(lua_State *L, void *arg);
typedef void cancel_fn(struct task *task, void *arg);

struct task {
    struct timer timer;
    struct tasks *tasks;
    lua_State *co;
    struct task_owner *owner;
    slot_id id;
    struct task *next, **prev; // of the owner
    struct task *queue_next;   // ready queue, or the free list
    union {
        push_fn *push;     // ST_READY: may be NULL
        cancel_fn *cancel; // ST_BLOCKED: may be NULL
    };
    void *arg;
    void *local;     // the blocking function's own
    int64_t due_us;  // when its next slice was meant to begin
    uint32_t pauses; // how often it waited for something else than the answer to what it does
    uint8_t state;
    uint8_t nargs; // of the first resume
    bool started;
    bool hooked;    // yielded by the guard's hook: resume with nothing
    bool cancelled; // while running: ends at its next yield
    bool doomed;    // task_cancel_all is about to
    bool woken;     // by its event, during its own slice
};

struct queue {
    struct task *first, **last;
    uint32_t n;
    int64_t served_us; // when it last got a turn, or became non-empty
};

struct chunk {
    struct chunk *next;
    struct task at[TASKS_A_CHUNK];
};

struct tasks {
    struct tasks_config config;
    lua_State *L;
    struct slots *slots;
    struct loop_hook hook;
    struct queue prompt, late, heavy;
    int64_t backlog_since; // 0: the prompt queue has been empty lately
    struct task *running;
    struct task *free;
    struct chunk *chunks;
    bool layout_known;   // of a lua_State, see fetch_second
    int anchors;         // registry reference: slot number + 1 → coroutine
    const char *why_not; // nothing may block, where no task runs: NULL: a scenario is loaded
    struct tasks_stats stats;
};

// task.c: into the queue that its owner deserves.
void task_make_ready(struct tasks *ts, struct task *t);
