#include "core/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_create_real(struct clock *c)
{
    c->is_virtual = false;
    c->now_us = 0;
    c->wall_us = 0;
}

void clock_create_virtual(struct clock *c, int64_t wall_us)
{
    c->is_virtual = true;
    c->now_us = 0;
    c->wall_us = wall_us;
}

int64_t clock_now_us(const struct clock *c)
{
    return c->is_virtual ? c->now_us : read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(const struct clock *c)
{
    return c->is_virtual ? c->wall_us + c->now_us : read_us(CLOCK_REALTIME);
}

void clock_advance(struct clock *c, int64_t to_us)
{
    if (c->is_virtual && to_us > c->now_us)
        c->now_us = to_us;
}

int64_t clock_process_cpu_us(void)
{
    return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t clock_thread_cpu_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}
