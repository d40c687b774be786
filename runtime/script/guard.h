// The guard: bounds on CPU and memory of author code, device by device, without a standing hook.
//
// CPU: a POSIX timer on the shard thread's CPU clock (so an idle shard gets no signals) looks whether a slice is
// running longer than 5 ms; only then it arms a count hook of 1 instruction, as LuaJIT's own Ctrl-C handler does. The
// hook *yields* (pcall cannot catch that); after max_overruns consecutive overruns the task is dropped. Where it cannot
// yield (callbacks inside sort/gsub, author's own coroutines) it raises after 50 ms, at every instruction, until
// lua_resume returns. What no hook reaches is the supervisor's: the heartbeat page says which slice runs since when,
// for whom.
//
// Memory: the allocator (heap.h) charges every block to the running owner's account, growth moves the whole block to
// who grows it. Over the cap: arm the hook; in the hook one full collection, measure again, then kill. An allocator
// that returns NULL is no cap (it corrupts LuaJIT's collector); true exhaustion ends the process (exit code 70).
#pragma once
#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"
#include "engine/heartbeat.h"

struct guard;
struct guard_config {
    int64_t slice_us;            // 0 = 5,000
    int64_t raise_us;            // 0 = 50,000: where a yield is impossible
    unsigned max_overruns;       // 0 = 10 consecutive
    int64_t load_us;             // 0 = 5 s: CPU limit of loading the scenario file
    uint64_t account_bytes;      // 0 = 1 MB: default cap of an account
    uint64_t state_bytes;        // 0 = 1 GB: hard cap of the whole state: over it the process exits with 70
    struct heartbeat *heartbeat; // may be NULL
};
// Makes the Lua state with the charging allocator, JIT off unless jit. The signal is SIGRTMIN+1, thread-directed.
struct guard *guard_new(const struct guard_config *config, bool jit, struct error *err);
void guard_delete(struct guard *guard); // closes the state
lua_State *guard_state(struct guard *guard);
struct guard *guard_of(lua_State *L);

// Accounts: 1 is the host's, 2 what loading the scenario made. 0: none left (max 1,000,000). cap_bytes 0: the default.
// A freed account may still be charged for blocks that outlived it; its number is reused when they are gone.
uint32_t guard_account_new(struct guard *guard, uint64_t cap_bytes);
void guard_account_free(struct guard *guard, uint32_t account);
int64_t guard_account_bytes(const struct guard *guard, uint32_t account);
// Fetches an account's memory ahead of guard_enter.
void guard_fetch_account(const struct guard *guard, uint32_t account);
uint64_t guard_state_bytes(const struct guard *guard);

enum guard_verdict {
    GUARD_OK,
    GUARD_PREEMPTED,   // ran over its slice (or was interrupted)
    GUARD_CUT,         // gave way early: the quantum, or a collection that had to be made for it
    GUARD_KILL_CPU,    // to be dropped; guard_reason says why
    GUARD_KILL_MEMORY, // the same
};
// Around every lua_resume (and the protected call that loads a scenario). L: the coroutine about to run. Does not nest.
void guard_enter(struct guard *guard, lua_State *L, uint32_t account, uint64_t device, uint32_t group);
// The same for a short call that cannot yield, outside of any task: no clock is read, which costs more than the call,
// so its CPU counts for nobody, and its limit (raise_us) may come a tick of the timer early.
void guard_enter_call(struct guard *guard, lua_State *L, uint32_t account, uint64_t device, uint32_t group);
// After it: what happened. PREEMPTED, CUT: if lua_resume returned LUA_YIELD, the yield was the hook's: resume again
// with 0 arguments. cpu_us (may be NULL): of this slice; wall time when that is under 0.2 ms, because the CPU clock is
// a system call.
enum guard_verdict guard_leave(struct guard *guard, int64_t *cpu_us);
// Loads run to their end or to load_us, then raise. Their memory goes to account 2, capped at a quarter of state_bytes.
void guard_enter_load(struct guard *guard, lua_State *L);
// Host code in between (allocations charged to the host): switches the account, returns the former one.
// Tables that belong to all (a registry of handlers) must be grown under account 1, or who grows them pays for all of
// them.
uint32_t guard_charge(struct guard *guard, uint32_t account);
// luaL_ref into the registry, at the host's expense: the registry grows in one block, larger than a device's allowance.
int guard_ref(lua_State *L);
// Lets the running task end at its next instruction (self-cancel).
void guard_interrupt(struct guard *guard);
// Why the last KILL was one, and the traceback where it raised ("" when it yielded: the coroutine still has it).
const char *guard_reason(const struct guard *guard);
const char *guard_trace(const struct guard *guard);
unsigned guard_max_overruns(const struct guard *guard);
int64_t guard_slice_us(const struct guard *guard);

// --- for the scheduler --------------------------------------------------------------------------------------------
// Slices that follow each other directly share one reading of the clock: begin before the first, end after the last.
void guard_chain_begin(struct guard *guard);
void guard_chain_end(struct guard *guard);
// Monotonic time of the latest enter or leave, microseconds, without reading the clock.
int64_t guard_mark_us(const struct guard *guard);
// In overload: slices give way (GUARD_CUT) after about this time, by a standing hook. 0 = off.
void guard_set_quantum(struct guard *guard, int64_t quantum_us);
// One pointer for the room: the scheduler of this state.
void guard_set_tasks(struct guard *guard, void *tasks);
void *guard_tasks(const struct guard *guard);
