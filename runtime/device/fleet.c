// All devices of one process: its end-of-turn work, its drain, its report.
#include <limits.h>
#include <stdlib.h>
#include "core/log.h"
#include "device/failure.h"
#include "device/gateway.h"
#include "device/internal.h"
#include "device/proxy.h"

static void settle_hook(struct loop_hook *hook, struct loop *loop);

unsigned fleet_a_turn(const struct fleet *fleet, unsigned n)
{
    return loop_simulating(fleet->config.env.loop) ? UINT_MAX : n;
}

static int check_owner(const struct ownership *o, struct error *err)
{
    if (o->partition < o->partitions && o->shard < o->shards)
        return 0;
    return error_set(err, ERR_INVALID, "no such part of the fleet: partition %u of %u, shard %u of %u", o->partition,
                     o->partitions, o->shard, o->shards);
}

struct fleet *fleet_new(const struct fleet_config *config, struct error *err)
{
    if (check_owner(&config->owner, err))
        return NULL;
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    struct slots *slots = slots_new(UINT32_MAX);
    if (!fleet || !slots) {
        slots_delete(slots);
        free(fleet);
        error_set(err, ERR_NO_MEMORY, "no memory for a fleet");
        return NULL;
    }
    fleet->config = *config;
    fleet->slots = slots;
    fleet->starts_left = fleet_a_turn(fleet, FLEET_STARTS_A_TURN);
    buf_create(&fleet->id, FLEET_MAX_TEXT);
    buf_create(&fleet->topic, FLEET_MAX_TEXT);
    buf_create(&fleet->gateway_id, FLEET_MAX_TEXT);
    buf_create(&fleet->payload, FLEET_MAX_PAYLOAD);
    scratch_create(&fleet->texts, 4 * FLEET_MAX_PAYLOAD);
    fleet->hook = (struct loop_hook){.priority = 25, .fn = settle_hook};
    loop_hook_add(config->env.loop, &fleet->hook);
    return fleet;
}

void fleet_delete(struct fleet *fleet)
{
    if (!fleet)
        return;
    fleet->stopping = true;
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        for (uint64_t k = 0; k < fleet->groups[i]->owned; k++) {
            if (fleet->groups[i]->devices[k])
                device_silence(fleet->groups[i]->devices[k]);
        }
    }
    changes_cancel(fleet);
    loop_hook_remove(fleet->config.env.loop, &fleet->hook);
    loop_timer_stop(fleet->config.env.loop, &fleet->drain_timer);
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        fleet->deferred_first = fleet->deferred_last = NULL; // nothing settles any more, and their memory goes
        group_delete(fleet->groups[i]);
    }
    stamps_delete(fleet->stamps);
    free(fleet->groups);
    free(fleet->values);
    free(fleet->latest);
    scratch_destroy(&fleet->texts);
    buf_destroy(&fleet->id);
    buf_destroy(&fleet->topic);
    buf_destroy(&fleet->gateway_id);
    buf_destroy(&fleet->payload);
    slots_delete(fleet->slots);
    free(fleet);
}

int64_t fleet_elapsed_us(const struct fleet *fleet)
{
    return fleet->started ? loop_now_us(fleet->config.env.loop) - fleet->start_us : 0;
}

void fleet_start(struct fleet *fleet, int64_t start_us)
{
    if (fleet->started || fleet->stopping)
        return;
    fleet->started = true;
    fleet->start_us = start_us;
    struct error err;
    if (stamps_begin(fleet, &err))
        log_write(fleet->config.env.log, LOG_ERROR, NULL, "messages go out without stamps: %s", err.text);
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        group_launch(fleet->groups[i]);
        group_dropouts_start(fleet->groups[i]);
    }
}

// --- end of turn --------------------------------------------------------------------------------------------------

void fleet_defer(struct fleet *fleet, struct device *d)
{
    if (d->flags & FLAG_DEFERRED)
        return;
    d->flags |= FLAG_DEFERRED;
    d->deferred = NULL;
    if (fleet->deferred_last)
        fleet->deferred_last->deferred = d;
    else
        fleet->deferred_first = d;
    fleet->deferred_last = d;
    loop_again(fleet->config.env.loop); // also when nothing else would end this turn soon
}

static void settle_hook(struct loop_hook *hook, struct loop *loop)
{
    struct fleet *fleet = container_of(hook, struct fleet, hook);
    unsigned most = fleet_a_turn(fleet, FLEET_SETTLES_A_TURN);
    failures_reap(fleet);
    for (unsigned n = 0; fleet->deferred_first && n < most; n++) {
        struct device *d = fleet->deferred_first;
        bool rests = d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR || d->state == DEVICE_CREATED;
        if (rests && d->flags & FLAG_RESTART && !(d->flags & FLAG_DESTROY)) {
            if (!fleet->starts_left)
                break;
            fleet->starts_left--;
        }
        fleet->deferred_first = d->deferred;
        if (!d->deferred)
            fleet->deferred_last = NULL;
        d->flags &= ~(uint32_t)FLAG_DEFERRED;
        device_settle(d);
    }
    fleet->starts_left = fleet_a_turn(fleet, FLEET_STARTS_A_TURN);
    if (fleet->deferred_first)
        loop_again(loop);
}

// --- drain --------------------------------------------------------------------------------------------------------

// First pass: every device is told once. False: more to do in the next turn.
static bool drain_begin(struct fleet *fleet, unsigned *budget)
{
    for (; fleet->drain_group < fleet->n_groups; fleet->drain_group++, fleet->drain_local = 0) {
        struct group *g = fleet->groups[fleet->drain_group];
        while (fleet->drain_local < g->owned) {
            struct device *d = g->devices[fleet->drain_local];
            if (d && (d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING)) {
                if (!*budget)
                    return false;
                --*budget;
            }
            fleet->drain_local++;
            if (d)
                device_begin_drain(d);
        }
    }
    return true;
}

// Further passes: those that have nothing left to send are disconnected. False: more to do in the next turn.
static bool drain_close(struct fleet *fleet, int64_t now_us, unsigned *budget)
{
    bool late = now_us >= fleet->deadline_us, cut = now_us - DRAIN_GRACE_US >= fleet->deadline_us;
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        struct group *g = fleet->groups[i];
        for (uint64_t k = 0; k < g->owned && g->by_state[DEVICE_STOPPING]; k++) {
            struct device *d = g->devices[k];
            if (!d || d->state != DEVICE_STOPPING || (d->flags & FLAG_CLOSING && !cut))
                continue;
            if (!late && d->conn && g->adapter->pending(d->conn))
                continue;
            if (!*budget)
                return false;
            --*budget;
            if (cut)
                device_cut(d);
            else
                device_disconnect(d, ADAPTER_GRACEFUL);
        }
    }
    return true;
}

static uint64_t count_state(const struct fleet *fleet, enum device_state state)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < fleet->n_groups; i++)
        n += fleet->groups[i]->by_state[state];
    return n;
}

static void drain(struct timer *t, void *arg)
{
    struct fleet *fleet = container_of(t, struct fleet, drain_timer);
    int64_t now_us = loop_now_us(arg);
    unsigned budget = fleet_a_turn(fleet, FLEET_STOPS_A_TURN);
    bool done = drain_begin(fleet, &budget) && drain_close(fleet, now_us, &budget);
    if (!done)
        loop_timer_at(arg, t, now_us, drain);
    else if (count_state(fleet, DEVICE_STOPPING))
        loop_timer_start(arg, t, DRAIN_POLL_US, drain);
}

void fleet_stop(struct fleet *fleet, int64_t deadline_us)
{
    struct loop *loop = fleet->config.env.loop;
    fleet->deadline_us = deadline_us;
    if (!fleet->stopping) {
        fleet->stopping = true;
        changes_cancel(fleet);
        for (unsigned i = 0; i < fleet->n_groups; i++) {
            group_launch_stop(fleet->groups[i]);
            group_dropouts_stop(fleet->groups[i]);
        }
    }
    loop_timer_at(loop, &fleet->drain_timer, loop_now_us(loop), drain);
}

bool fleet_idle(const struct fleet *fleet)
{
    if (fleet->deferred_first || fleet->retries || count_state(fleet, DEVICE_STARTING) ||
        count_state(fleet, DEVICE_RUNNING) || count_state(fleet, DEVICE_STOPPING))
        return false;
    for (unsigned i = 0; i < fleet->n_groups && !fleet->stopping; i++) {
        if (!group_launched(fleet->groups[i]))
            return false;
    }
    return true;
}

// --- questions ----------------------------------------------------------------------------------------------------

uint64_t fleet_sent(const struct fleet *fleet, unsigned group, const uint32_t **counts)
{
    return stamps_sent(fleet->stamps, group, counts);
}

struct loop *fleet_loop(const struct fleet *fleet)
{
    return fleet->config.env.loop;
}

const struct adapter_env *fleet_env(const struct fleet *fleet)
{
    return &fleet->config.env;
}

uint64_t fleet_seed(const struct fleet *fleet)
{
    return fleet->config.seed;
}

struct device *fleet_find(const struct fleet *fleet, slot_id id)
{
    return slots_get(fleet->slots, id);
}

unsigned fleet_group_count(const struct fleet *fleet)
{
    return fleet->n_groups;
}

struct group *fleet_group(const struct fleet *fleet, unsigned i)
{
    return i < fleet->n_groups ? fleet->groups[i] : NULL;
}

void fleet_report(struct fleet *fleet)
{
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        struct group *g = fleet->groups[i];
        for (int s = 0; s < DEVICE_STATE_MAX; s++)
            gauge_set(g->state_gauges[s], (double)g->by_state[s]);
        for (int s = 0; s < CONN_STATE_MAX; s++)
            gauge_set(g->conn_gauges[s], (double)g->by_conn[s]);
        send_queue_look(g);
        relay_report(g);
        proxies_report(g);
    }
}
