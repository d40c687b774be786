// The page a shard (or the director) shares with its supervisor: what runs right now, since when, for whom. mmap'd
// MAP_SHARED before the fork, one a child; written by the child alone and without locks, read by the supervisor's
// watchdog.
#pragma once
#include <stdint.h>

struct heartbeat {
    volatile uint64_t turn;          // loop turns
    volatile uint64_t slice;         // number of the running slice; 0 = none
    volatile int64_t slice_start_us; // process CPU clock at its start
    volatile uint64_t device;        // index+1 of the running device in its group, 0 = none
    volatile uint32_t group;         // number of its group
    volatile uint32_t phase;         // enum heartbeat_phase
    char where[240];                 // "file:line" last seen by the hook for this slice (best effort), NUL-terminated
};
enum heartbeat_phase { PHASE_BOOT, PHASE_LOAD, PHASE_RUN, PHASE_DRAIN };
