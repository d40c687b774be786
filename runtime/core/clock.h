// Time. Two implementations: real (CLOCK_MONOTONIC and CLOCK_REALTIME) and virtual (moves only when told).
// No room reads the time in any other way. All times are int64 microseconds.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct clock {
    bool is_virtual;
    int64_t now_us;  // virtual: current monotonic time
    int64_t wall_us; // virtual: wall time (since 1970, UTC) at now_us == 0
};

void clock_create_real(struct clock *c);
// Starts at monotonic 0, which is wall time wall_us.
void clock_create_virtual(struct clock *c, int64_t wall_us);
// Monotonic microseconds, read freshly.
int64_t clock_now_us(const struct clock *c);
// Microseconds since 1970-01-01 UTC.
int64_t clock_wall_us(const struct clock *c);
// Moves a virtual clock forward to `to_us`; moving back or moving a real clock is a no-op.
void clock_advance(struct clock *c, int64_t to_us);
// CPU time of the calling process / thread (never virtual).
int64_t clock_process_cpu_us(void);
int64_t clock_thread_cpu_us(void);
