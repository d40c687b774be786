// Launching a group: one timer that always stands at the next device. The group begins with one wave, all its places;
// growing adds another behind it. Stages are followed instead: what they want up now against what is.
#include <stdlib.h>
#include "core/log.h"
#include "device/internal.h"

#define SALT_WAVE 0x9e37u

struct launch_wave {
    struct launch_wave *next;
    uint64_t first, count; // places
    int64_t at_us;         // of the run
    struct launch_arrivals arrivals;
};

static bool staged(const struct group *g)
{
    return g->config.launch.strategy == LAUNCH_STAGES;
}

static int64_t elapsed(const struct group *g)
{
    return loop_now_us(g->fleet->config.env.loop) - g->fleet->start_us;
}

bool group_launched(const struct group *g)
{
    if (staged(g) && !g->waves && g->fleet->started)
        return elapsed(g) >= launch_total_us(&g->config.launch, 0);
    return g->launch_next >= g->owned;
}

bool group_launching(const struct group *g)
{
    return !g->fleet->stopping && (!g->fleet->started || !group_launched(g));
}

static void launch_due(struct timer *t, void *arg);

static void look_again(struct group *g, int64_t at_us)
{
    loop_timer_at(g->fleet->config.env.loop, &g->launch_timer, g->fleet->start_us + at_us, launch_due);
}

// Its connection was meant to begin now, however many others come before it in this turn and the next ones.
static void launch_at(struct device *d, int64_t at_us)
{
    struct loop *loop = d->group->fleet->config.env.loop;
    const struct due due = {.at_us = d->group->fleet->start_us + at_us};
    loop_due_set(loop, &due);
    device_launch(d);
    loop_due_set(loop, NULL);
}

// --- waves --------------------------------------------------------------------------------------------------------

static int64_t wave_time(const struct group *g, struct launch_wave *w, uint64_t place)
{
    const struct launch *l = &g->config.launch;
    uint64_t i = place - w->first;
    if (l->strategy == LAUNCH_STAGES) // behind its plan
        return w->at_us;
    return w->at_us +
           (l->strategy == LAUNCH_POISSON ? launch_arrival_us(l, &w->arrivals, i) : launch_delay_us(l, w->count, i));
}

static void pop_wave(struct group *g)
{
    struct launch_wave *w = g->waves;
    g->waves = w->next;
    free(w);
}

int group_launch_more(struct group *g, uint64_t first, uint64_t count, int64_t at_us, struct error *err)
{
    const struct launch *l = &g->config.launch;
    struct launch_wave **at = &g->waves, *w = calloc(1, sizeof(*w));
    if (!w)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    // Behind what is still being launched: the same time in every process, whichever of those places it holds.
    w->at_us = at_us > g->launch_end_us ? at_us : g->launch_end_us;
    w->first = first;
    w->count = count;
    launch_arrivals_create(&w->arrivals, g->fleet->config.seed, g->config.name, first ? SALT_WAVE + first : 0);
    while (*at)
        at = &(*at)->next;
    *at = w;
    if (staged(g)) // the plan may have left some of the places below down
        g->launch_next = ownership_count(&g->fleet->config.owner, first);
    g->launch_end_us = w->at_us + (staged(g) ? 0 : launch_total_us(l, count));
    if (g->fleet->started && !g->fleet->stopping)
        look_again(g, 0); // it knows when it is next
    return 0;
}

// --- stages -------------------------------------------------------------------------------------------------------

// True when that took one of this turn's starts.
static bool stage_up(struct device *d)
{
    if (!d || (d->state != DEVICE_CREATED && !(d->flags & FLAG_PLAN_DOWN)))
        return false; // removed, or somebody stopped it by hand
    if (d->state == DEVICE_CREATED)
        device_launch(d);
    else if (device_restart(d, NULL))
        return false;
    return true;
}

static void stage_down(struct device *d)
{
    if (!d || (d->state != DEVICE_STARTING && d->state != DEVICE_RUNNING && !d->retry))
        return;
    device_stop(d, ADAPTER_GRACEFUL);
    d->flags |= FLAG_PLAN_DOWN;
}

static void follow_stages(struct group *g)
{
    const struct launch *l = &g->config.launch;
    const struct ownership *o = &g->fleet->config.owner;
    int64_t now_us = elapsed(g);
    uint64_t up = launch_up(l, now_us), want = ownership_count(o, up < g->config.count ? up : g->config.count);
    unsigned stops = fleet_a_turn(g->fleet, FLEET_STOPS_A_TURN);
    while (g->launch_next != want && !g->fleet->stopping) {
        if (g->launch_next < want ? !g->fleet->starts_left : !stops) {
            look_again(g, now_us); // the next turn goes on
            return;
        }
        if (g->launch_next < want) {
            if (stage_up(g->devices[g->launch_next++]))
                g->fleet->starts_left--;
        } else {
            stops--;
            stage_down(g->devices[--g->launch_next]);
        }
    }
    uint64_t rising = g->launch_next < g->owned ? ownership_place(o, g->launch_next) : UINT64_MAX;
    uint64_t falling = g->launch_next ? ownership_place(o, g->launch_next - 1) : UINT64_MAX;
    int64_t next_us = launch_change_us(l, rising, falling, now_us);
    if (next_us != INT64_MAX && !g->fleet->stopping)
        look_again(g, next_us);
}

// --- the timer ----------------------------------------------------------------------------------------------------

static void launch_waves(struct group *g)
{
    int64_t now_us = elapsed(g);
    while (g->waves && !g->fleet->stopping) {
        uint64_t place = ownership_place(&g->fleet->config.owner, g->launch_next);
        if (g->launch_next >= g->owned || place >= g->waves->first + g->waves->count) {
            pop_wave(g);
            continue;
        }
        int64_t at_us = wave_time(g, g->waves, place);
        if (at_us > now_us || !g->fleet->starts_left) {
            look_again(g, at_us > now_us ? at_us : now_us); // out of starts: the next turn goes on
            return;
        }
        struct device *d = g->devices[g->launch_next++];
        if (!d || d->state != DEVICE_CREATED) // removed, or stopped or started by hand before
            continue;
        g->fleet->starts_left--;
        launch_at(d, at_us);
    }
}

static void launch_due(struct timer *t, void *arg)
{
    struct group *g = container_of(t, struct group, launch_timer);
    (void)arg;
    if (staged(g) && !g->waves)
        follow_stages(g);
    else
        launch_waves(g);
}

void group_launch(struct group *g)
{
    struct error err;
    if (staged(g)) {
        look_again(g, 0);
    } else if (g->owned && group_launch_more(g, 0, g->config.count, 0, &err)) {
        log_write(g->fleet->config.env.log, LOG_ERROR, NULL, "group %s cannot be launched: %s", g->config.name,
                  err.text);
    }
}

void group_launch_stop(struct group *g)
{
    loop_timer_stop(g->fleet->config.env.loop, &g->launch_timer);
    while (g->waves)
        pop_wave(g);
}
