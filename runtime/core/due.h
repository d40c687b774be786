// Intended time: when an operation was meant to begin, so that its latency can count from there and not from when this
// process got round to it (coordinated omission). The loop knows it of what runs now (loop_due_us); an operation that
// is over later keeps its lag, 16 bytes.
#pragma once
#include <stdint.h>

// Of what runs now. A turn that was held up may stand in for others of its kind that were left out because of that:
// each of them is a sample too, as late as it would have been had it begun when the hold-up ended.
struct due {
    int64_t at_us;        // by the loop's clock; 0: nothing runs late
    uint32_t missed;      // turns that were left out
    uint32_t interval_us; // between them
    uint32_t backlog_us;  // how late the first of them would have begun; the others follow by the interval
};

// Timers have ticks of 1 ms and epoll waits whole milliseconds: what begins so soon after its time was not late.
#define LAG_RESOLUTION_US 2000

// Of an operation: from when it was meant to begin until it began.
struct lag {
    uint32_t late_us; // 0: in time
    uint32_t missed, interval_us, backlog_us;
};

static inline uint32_t lag_us(int64_t us) // within what the member can hold: 71 minutes
{
    return us <= 0 ? 0 : us > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}
