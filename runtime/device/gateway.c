// Gateways: children as devices behind an adapter of their own, the relay, which is the connection of their gateway.
//
// The relay of a group stands where a protocol stands otherwise: a child's connection is "open" while its gateway takes
// messages, and what an adapter tells in events comes at the end of the turn (hook), never inside a call. So all that a
// device can do, a child can: behaviors, failures, commands and handlers need no code here.
//
// The children of one entry share a group that nobody else sees: the gateways' configuration with the child's model.
// Their memory is one block a gateway, which lives as long as the gateway's device, also while that is stopped.
#include "device/gateway.h"

#include <stdlib.h>
#include <string.h>
#include "device/gateway_impl.h"
#include "device/rule.h"

static struct loop *loop_of(const struct relay *r)
{
    return r->group->fleet->config.env.loop;
}

// --- questions ----------------------------------------------------------------------------------------------------

unsigned gateway_children(const struct device *gateway)
{
    return gateway->gateway ? gateway->gateway->n : 0;
}

struct device *gateway_child(const struct device *gateway, unsigned number)
{
    struct gateway *gw = gateway->gateway;
    return gw && number >= 1 && number <= gw->n ? &gw->children[number - 1].device : NULL;
}

struct device *gateway_of(const struct device *child)
{
    return child->group->behind ? child_of(child)->link.gateway->device : NULL;
}

unsigned gateway_number(const struct device *child)
{
    const struct child *c = child_of(child);
    return (unsigned)(c - c->link.gateway->children) + 1;
}

struct device *gateway_find(const struct device *gateway, const char *id, size_t n)
{
    struct gateway *gw = gateway->gateway;
    for (unsigned i = 0; gw && i < gw->n; i++) {
        struct buf *text = &gw->relay->text;
        buf_clear(text);
        if (!device_name(&gw->children[i].device, text) && text->len == n && !memcmp(text->data, id, n))
            return &gw->children[i].device;
    }
    return NULL;
}

// --- the group ----------------------------------------------------------------------------------------------------

// The group of the children of one entry: what devices ask of their group, and nothing of its own to free but metrics.
static int make_kind(struct relay *r, unsigned k, struct error *err)
{
    struct group *g = r->group, *kind = &r->kinds[k];
    const struct model_child *spec = &children_of(r)->kinds[k];
    kind->config = (struct group_config){.name = g->config.name,
                                         .number = g->config.number,
                                         .count = spec->count,
                                         .model = spec->model,
                                         .url = g->config.url,
                                         .qos = spec->model->qos,
                                         .on_error = g->config.on_error,
                                         .max_restarts = g->config.max_restarts};
    kind->fleet = g->fleet;
    kind->behind = g;
    kind->adapter = &relay_ops;
    kind->id_template = spec->id;
    kind->generated = g->generated;
    kind->late_ticks = g->late_ticks;
    kind->dropouts_counter = g->dropouts_counter;
    return rules_series(kind, err) || group_reserve_values(g->fleet, spec->model, err) ? -1 : 0;
}

static struct metric *series(struct group *g, const char *name, bool gauge, struct error *err)
{
    struct metrics *metrics = g->fleet->config.env.metrics;
    struct buf tags;
    if (!metrics)
        return &g->fleet->nowhere;
    buf_create(&tags, 1024);
    struct metric *m = NULL;
    if (buf_printf(&tags, "group:%s", g->config.name))
        error_set(err, ERR_LIMIT, "the name is too long");
    else
        m = gauge ? metrics_gauge(metrics, name, GAUGE_SUM, buf_cstr(&tags), err)
                  : metrics_series(metrics, name, METRIC_COUNTER, UNIT_NONE, buf_cstr(&tags), err);
    buf_destroy(&tags);
    return m;
}

int relay_new(struct group *g, struct error *err)
{
    const struct model *m = g->config.model;
    if (!m || !m->children)
        return 0;
    struct relay *r = g->relay = calloc(1, sizeof(*r));
    if (r)
        r->kinds = calloc(m->children->n_kinds, sizeof(*r->kinds));
    if (!r || !r->kinds)
        return error_set(err, ERR_NO_MEMORY, "no memory for the children of gateways");
    r->group = g;
    r->hook = (struct loop_hook){.priority = 5,
                                 .fn = relay_hook}; // before Lua: its children are there when a behaviour wakes up
    loop_hook_add(loop_of(r), &r->hook);
    buf_create(&r->text, FLEET_MAX_TEXT);
    batch_writer_create(&r->writer);
    if (!(r->alive = series(g, "children", true, err)) || !(r->messages = series(g, "children_messages", false, err)) ||
        !(r->writer.sent = series(g, "gateway_batches", false, err)) ||
        !(r->writer.dropped = series(g, "gateway_dropped", false, err)))
        return -1;
    for (unsigned k = 0; k < m->children->n_kinds; k++) {
        if (make_kind(r, k, err))
            return -1;
    }
    return 0;
}

void relay_delete(struct group *g)
{
    struct relay *r = g->relay;
    g->relay = NULL;
    if (!r)
        return;
    if (r->hook.fn)
        loop_hook_remove(g->fleet->config.env.loop, &r->hook);
    for (unsigned k = 0; r->kinds && k < g->config.model->children->n_kinds; k++) {
        commands_group_free(&r->kinds[k]);
        rules_group_free(&r->kinds[k]);
    }
    buf_destroy(&r->text);
    batch_writer_destroy(&r->writer);
    free(r->kinds);
    free(r);
}

void relay_report(struct group *g)
{
    struct relay *r = g->relay;
    uint64_t n = 0;
    for (unsigned k = 0; r && k < children_of(r)->n_kinds; k++)
        n += r->kinds[k].by_state[DEVICE_RUNNING];
    if (r)
        gauge_set(r->alive, (double)n);
}

// --- life ---------------------------------------------------------------------------------------------------------

static int make_child(struct gateway *gw, struct group *kind, struct child *c, struct error *err)
{
    struct device *d = &c->device;
    c->link.gateway = gw;
    d->group = kind;
    d->index = gw->device->index;
    d->id = slots_add(kind->fleet->slots, d);
    if (!d->id)
        return error_set(err, ERR_LIMIT, "no room for another child of a gateway");
    gw->n++;
    device_seed(d, 4, &d->rng);
    kind->by_state[DEVICE_CREATED]++;
    kind->by_conn[CONN_DISCONNECTED]++;
    return 0;
}

static int make_gateway(struct device *d, struct error *err)
{
    struct relay *r = d->group->relay;
    const struct model_children *spec = children_of(r);
    struct gateway *gw = calloc(1, sizeof(*gw) + spec->n * sizeof(struct child));
    if (!gw)
        return error_set(err, ERR_NO_MEMORY, "no memory for %u children of a gateway", spec->n);
    d->gateway = gw;
    gw->device = d;
    gw->relay = r;
    batch_create(&gw->batch, &r->writer, d);
    for (unsigned k = 0; k < spec->n_kinds; k++) {
        for (unsigned i = 0; i < spec->kinds[k].count; i++) {
            if (make_child(gw, &r->kinds[k], &gw->children[gw->n], err))
                return -1;
        }
    }
    return 0;
}

int gateway_launch(struct device *d, struct error *err)
{
    if (!d->group->relay)
        return 0;
    if (!d->gateway && make_gateway(d, err))
        return -1;
    for (unsigned i = 0; i < d->gateway->n; i++) {
        struct device *child = &d->gateway->children[i].device;
        if (child->state == DEVICE_CREATED)
            device_launch(child);
        else
            (void)!device_restart(child, NULL); // ERR_CANCELLED: the run ends
    }
    return 0;
}

static bool runs(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

// BASE/command, and for all children BASE/+/command and BASE/+/commands/+; then what they asked for themselves.
static void subscribe(struct gateway *gw)
{
    static const char *const tails[] = {"/command", "/+/command", "/+/commands/+"};
    struct device *d = gw->device;
    struct buf *text = &gw->relay->text;
    const struct model_children *spec = children_of(gw->relay);
    struct error err = {0};
    bool any = false;
    gw->subscribed = true;
    for (unsigned k = 0; k < spec->n_kinds; k++)
        any = any || spec->kinds[k].model->n_commands;
    // Its own commands have brought the first.
    for (unsigned i = d->group->config.model->n_commands ? 1 : 0; any && i < 3 && runs(d); i++) {
        buf_clear(text);
        if (device_base(d, text, &err) || buf_append_str(text, tails[i]) ||
            (device_subscribe(d, buf_cstr(text), d->group->config.model->qos, 0, &err) && err.code == ERR_INVALID))
            device_fail(d, err.code ? err.text : "the topic of its children's commands is too long");
    }
    for (const struct filter *f = runs(d) ? gw->filters : NULL; f; f = f->next) {
        if (device_subscribe(d, f->text, f->qos, 0, &err) && err.code == ERR_INVALID) {
            device_fail(d, err.text); // and the filters are gone
            return;
        }
    }
}

void gateway_online(struct device *d)
{
    struct gateway *gw = d->gateway;
    if (!gw || !runs(d))
        return;
    if (!gw->subscribed)
        subscribe(gw);
    if (!runs(d))
        return;
    gw->up = true;
    for (unsigned i = 0; i < gw->n; i++) {
        struct adapter_conn *c = &gw->children[i].link;
        if (c->state == CHILD_OFF || (c->state == CHILD_ON && !(c->due & DUE_OFFLINE)))
            continue;
        relay_due(c, DUE_ONLINE);
    }
    batch_flush(&gw->batch);
}

void gateway_offline(struct device *d, bool will_retry)
{
    struct gateway *gw = d->gateway;
    if (!gw)
        return;
    if (!will_retry)
        gw->subscribed = false;
    if (!gw->up || children_of(gw->relay)->mode == AGGREGATION_BATCH)
        return;
    gw->up = false;
    for (unsigned i = 0; i < gw->n; i++) {
        struct adapter_conn *c = &gw->children[i].link;
        if (c->state == CHILD_OFF)
            continue;
        relay_due(c, DUE_OFFLINE);
    }
}

void gateway_stop(struct device *d)
{
    struct gateway *gw = d->gateway;
    if (!gw)
        return;
    gw->up = gw->subscribed = false;
    batch_end(&gw->batch);
    for (unsigned i = 0; i < gw->n; i++)
        device_stop(&gw->children[i].device, ADAPTER_ABRUPT);
    while (gw->filters) {
        struct filter *f = gw->filters;
        gw->filters = f->next;
        free(f);
    }
}

// Takes what is this gateway's out of the fleet's end-of-turn list.
static void forget_deferred(const struct gateway *gw)
{
    struct fleet *fleet = gw->device->group->fleet;
    struct device **at = &fleet->deferred_first;
    fleet->deferred_last = NULL;
    while (*at) {
        if (gateway_of(*at) == gw->device) {
            *at = (*at)->deferred;
            continue;
        }
        fleet->deferred_last = *at;
        at = &(*at)->deferred;
    }
}

void gateway_free(struct device *d)
{
    struct gateway *gw = d->gateway;
    if (!gw)
        return;
    gateway_stop(d);
    for (unsigned i = 0; i < gw->n; i++) {
        struct device *child = &gw->children[i].device;
        device_cancel_retry(child);
        device_silence(child);
        device_free_parts(child);
        child->group->by_state[child->state]--;
        child->group->by_conn[child->conn_state]--;
        slots_remove(child->group->fleet->slots, child->id);
    }
    forget_deferred(gw);
    batch_destroy(&gw->batch);
    free(gw);
    d->gateway = NULL;
}

size_t gateway_footprint(const struct device *d)
{
    const struct gateway *gw = d->gateway;
    if (!gw)
        return 0;
    size_t size = sizeof(*gw) + gw->n * sizeof(struct child) + gw->batch.waiting.size;
    for (unsigned i = 0; i < gw->n; i++) // its struct is counted already, and so is its link
        size += device_footprint(&gw->children[i].device) - sizeof(struct device) - sizeof(struct device *) -
                (gw->children[i].device.conn ? sizeof(struct adapter_conn) : 0);
    return size;
}
