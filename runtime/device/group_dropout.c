// Dropouts of a group in one process: the devices that drop out here, when, and when they come back, worked out at the
// beginning and then followed with one timer.
//
// A device that is not online (nor on its way) when its moment comes is left alone: it has nothing to lose. One that
// has come back by itself meanwhile, or was stopped, is not brought back a second time.
#include <stdlib.h>
#include "core/log.h"
#include "device/choice.h"
#include "device/failure.h"
#include "device/internal.h"
#include "device/selection.h"

enum { DROPS_A_TURN = 256 };

struct dropping {
    int64_t down_us, up_us; // of the run
    uint32_t local;
    bool down; // it dropped out and is to come back
};

struct group_dropout {
    struct group_dropout *next;
    struct group *group;
    struct dropout spec;
    struct selection listed; // of devices by index; none: they are drawn
    uint64_t number;
    bool kept; // until it is ended, also when nothing more is to come
    int64_t at_us;
    struct timer timer;
    struct dropping *list; // by down_us; NULL: not yet worked out, at_us is to come
    uint32_t *back;        // numbers in `list` by up_us; NULL: nobody comes back
    uint32_t n, next_down, next_up;
};

static int64_t elapsed(const struct group *g)
{
    return loop_now_us(g->fleet->config.env.loop) - g->fleet->start_us;
}

void device_undrop(struct device *d)
{
    if (!(d->flags & FLAG_DROPPED))
        return;
    d->flags &= ~(uint32_t)FLAG_DROPPED;
    d->group->dropped--;
}

// --- working it out -----------------------------------------------------------------------------------------------

static int by_down(const void *a, const void *b)
{
    const struct dropping *x = a, *y = b;
    if (x->down_us != y->down_us)
        return x->down_us < y->down_us ? -1 : 1;
    return x->local < y->local ? -1 : x->local > y->local;
}

static int by_up(const void *a, const void *b, void *arg)
{
    const struct group_dropout *r = arg;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const struct dropping *x = &r->list[i], *y = &r->list[k];
    if (x->up_us != y->up_us)
        return x->up_us < y->up_us ? -1 : 1;
    return i < k ? -1 : i > k;
}

static void plan_one(struct group_dropout *r, uint64_t total, uint64_t rank, uint32_t local)
{
    const struct group *g = r->group;
    const struct dropout *spec = &r->spec;
    struct dropping *one = &r->list[r->n++];
    struct rng rng;
    rng_seed_device(&rng, g->fleet->config.seed, g->config.name, g->devices[local]->index, 6);
    rng.state ^= hash_bytes(&r->number, sizeof(r->number), 6);
    double draw = rng_unit(&rng);
    one->local = local;
    one->down = false;
    one->down_us = r->at_us + dropout_delay_us(spec, total, rank, draw);
    one->up_us = one->down_us + spec->reconnect_delay_us + (int64_t)(rng_unit(&rng) * (double)spec->jitter_us);
}

static int order_back(struct group_dropout *r, struct error *err)
{
    r->back = malloc((r->n ? r->n : 1) * sizeof(*r->back));
    if (!r->back)
        return error_set(err, ERR_NO_MEMORY, "no memory for a dropout");
    for (uint32_t i = 0; i < r->n; i++)
        r->back[i] = i;
    qsort_r(r->back, r->n, sizeof(*r->back), by_up, r);
    return 0;
}

static int work_out(struct group_dropout *r, struct error *err)
{
    struct group *g = r->group;
    struct choice choice;
    uint64_t total =
        r->listed.indices ? dropout_count(&r->spec, r->listed.n_indices) : dropout_count(&r->spec, g->config.count);
    choice_create(&choice, g->fleet->config.seed, g->config.name, 1 + r->number, g->config.count);
    r->list = malloc((g->owned ? g->owned : 1) * sizeof(*r->list));
    if (!r->list)
        return error_set(err, ERR_NO_MEMORY, "no memory for a dropout");
    for (uint64_t i = 0; i < g->owned; i++) {
        if (!g->devices[i] || g->devices[i]->index > g->config.count)
            continue;
        uint64_t index = g->devices[i]->index;
        uint64_t rank = r->listed.indices ? selection_place(&r->listed, index) : choice_rank(&choice, index - 1);
        if (rank < total)
            plan_one(r, total, rank, (uint32_t)i);
    }
    qsort(r->list, r->n, sizeof(*r->list), by_down);
    struct dropping *fit = realloc(r->list, (r->n ? r->n : 1) * sizeof(*fit));
    r->list = fit ? fit : r->list;
    return r->spec.reconnect ? order_back(r, err) : 0;
}
// --- following it -------------------------------------------------------------------------------------------------

static void mark(struct device *d)
{
    if (!(d->flags & FLAG_DROPPED)) {
        d->group->dropped++;
        tap_event(d, "dropout", "", -1);
    }
    d->flags |= FLAG_DROPPED;
}

// Where a process was lost that had this device down, the one in its place does not begin by starting it.
static void hold_down(struct group_dropout *r, struct dropping *one, struct device *d)
{
    if (r->spec.reconnect && one->up_us <= elapsed(r->group))
        return;
    device_stop(d, ADAPTER_ABRUPT);
    mark(d);
    one->down = true;
}

static void drop(struct group_dropout *r, struct dropping *one)
{
    struct group *g = r->group;
    struct device *d = one->local < g->owned ? g->devices[one->local] : NULL;
    if (d && d->state == DEVICE_CREATED && g->fleet->config.resumed)
        hold_down(r, one, d);
    if (!d || (d->state != DEVICE_STARTING && d->state != DEVICE_RUNNING) || d->conn_state == CONN_DISCONNECTED ||
        d->flags & FLAG_DESTROY)
        return;
    counter_add(g->dropouts_counter, 1);
    mark(d);
    one->down = true;
    device_disconnect(d, r->spec.graceful ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT);
}

// True when that took one of this turn's starts.
static bool bring_back(struct group_dropout *r, struct dropping *one)
{
    struct group *g = r->group;
    struct device *d = one->local < g->owned ? g->devices[one->local] : NULL;
    if (!one->down || !d || !(d->flags & FLAG_DROPPED))
        return false;
    device_undrop(d);
    // A behaviour that did not live through it is started anew; who has connected again already says ERR_STATE.
    if (d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING) {
        if (device_connect(d, NULL))
            failures_want(d); // off for another reason as well: it is back when that is over
    } else if (d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR)
        (void)!device_restart(d, NULL);
    return true;
}

static void free_run(struct group_dropout *r)
{
    loop_timer_stop(r->group->fleet->config.env.loop, &r->timer);
    selection_destroy(&r->listed);
    free(r->list);
    free(r->back);
    free(r);
}

static void unlink_run(struct group_dropout *r)
{
    struct group_dropout **at = &r->group->dropouts;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    free_run(r);
}

static void dropout_due(struct timer *t, void *arg)
{
    struct group_dropout *r = container_of(t, struct group_dropout, timer);
    struct fleet *fleet = r->group->fleet;
    int64_t now_us = elapsed(r->group);
    unsigned budget = fleet_a_turn(fleet, DROPS_A_TURN);
    struct error err;
    if (fleet->stopping)
        return;
    if (!r->list && work_out(r, &err)) {
        log_write(fleet->config.env.log, LOG_ERROR, NULL, "a dropout of group %s does not take place: %s",
                  r->group->config.name, err.text);
        unlink_run(r);
        return;
    }
    for (; r->next_down < r->n && r->list[r->next_down].down_us <= now_us && budget; budget--)
        drop(r, &r->list[r->next_down++]);
    while (r->back && r->next_up < r->n && r->list[r->back[r->next_up]].up_us <= now_us && budget &&
           fleet->starts_left && r->back[r->next_up] < r->next_down) {
        if (bring_back(r, &r->list[r->back[r->next_up++]]))
            fleet->starts_left--;
    }
    bool more_down = r->next_down < r->n, more_up = r->back && r->next_up < r->n;
    if (!more_down && !more_up) {
        if (!r->kept)
            unlink_run(r);
        return;
    }
    int64_t next_us = more_down ? r->list[r->next_down].down_us : INT64_MAX;
    if (more_up && r->list[r->back[r->next_up]].up_us < next_us)
        next_us = r->list[r->back[r->next_up]].up_us;
    loop_timer_at(arg, t, fleet->start_us + (next_us > now_us ? next_us : now_us), dropout_due);
}

int group_dropout(struct group *g, const struct dropout *spec, const json_t *devices, uint64_t number, bool kept,
                  int64_t at_us, uint64_t *n, struct error *err)
{
    struct group_dropout *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, ERR_NO_MEMORY, "no memory for a dropout");
    r->group = g;
    r->spec = *spec;
    r->number = number;
    r->kept = kept;
    r->at_us = at_us;
    if (json_object_get(devices, "devices") && selection_create(&r->listed, g, devices, err)) {
        free_run(r);
        return -1;
    }
    bool now = !spec->timed || at_us <= elapsed(g); // later: among the devices that are there then
    if (now && work_out(r, err)) {
        free_run(r);
        return -1;
    }
    *n = r->n;
    r->next = g->dropouts;
    g->dropouts = r;
    struct loop *loop = g->fleet->config.env.loop;
    if (now && g->fleet->config.resumed && at_us <= elapsed(g))
        dropout_due(&r->timer, loop); // before its devices are started
    else
        loop_timer_at(loop, &r->timer, g->fleet->start_us + at_us, dropout_due);
    return 0;
}

int group_dropout_end(struct group *g, uint64_t number, uint64_t *n, struct error *err)
{
    struct group_dropout *r = g->dropouts;
    int64_t now_us = elapsed(g);
    *n = 0;
    while (r && r->number != number)
        r = r->next;
    if (!r) // it never began here
        return 0;
    if (!r->list) {
        unlink_run(r);
        return 0;
    }
    if (!r->back && order_back(r, err))
        return -1;
    r->kept = false;
    r->next_down = r->n;
    for (uint32_t i = r->next_up; i < r->n; i++) {
        struct dropping *one = &r->list[r->back[i]];
        const struct device *d = one->local < g->owned ? g->devices[one->local] : NULL;
        one->up_us = now_us;
        *n += one->down && d && d->flags & FLAG_DROPPED;
    }
    loop_timer_start(g->fleet->config.env.loop, &r->timer, 0, dropout_due);
    return 0;
}

// --- declared ones ------------------------------------------------------------------------------------------------

static void begin(struct group *g, unsigned i)
{
    struct error err;
    uint64_t n;
    const struct dropout *spec = &g->config.dropouts[i];
    if (group_dropout(g, spec, NULL, i, false, spec->at_us, &n, &err))
        log_write(g->fleet->config.env.log, LOG_ERROR, NULL, "a dropout of group %s does not take place: %s",
                  g->config.name, err.text);
}

void group_dropouts_start(struct group *g)
{
    for (unsigned i = 0; i < g->config.n_dropouts; i++)
        begin(g, i);
}

void group_dropouts_stop(struct group *g)
{
    for (struct group_dropout *r = g->dropouts; r; r = r->next)
        loop_timer_stop(g->fleet->config.env.loop, &r->timer);
}

void group_dropouts_delete(struct group *g)
{
    while (g->dropouts)
        unlink_run(g->dropouts);
}
