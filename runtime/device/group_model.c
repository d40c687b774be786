// A group gets another model while its devices run.
//
// All devices change over in one go, so that there is one model a group. What an attribute has been through stays with
// it where its generator is the same, word for word; a stream keeps the phase of its ticks. What else is new begins
// anew. Latest values that lie in the old model are copied out of it.
//
// The old model lives on for a while: a command that was under way when it was replaced still looks at it.
#include <stdlib.h>
#include <string.h>
#include "device/command.h"
#include "device/gateway.h"
#include "device/internal.h"
#include "device/proxy.h"
#include "device/rule.h"

#define LINGER_US 60000000 // and the longest timeout of its commands

struct retired_model {
    struct retired_model *next;
    struct model *model;
    int64_t until_us;
};

// Where an attribute of the new model comes from, by its place in to->attributes.
struct origin {
    bool known;      // the old model has one of that name and type
    bool same;       // and its generator is the same
    unsigned slot;   // of the old one
    unsigned stream; // the stream of the old one
    unsigned state;  // its first state in there
};

struct swap {
    const struct model *from, *to;
    struct origin *origins;
    bool commands; // differ
};

// --- comparing ----------------------------------------------------------------------------------------------------

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y ? json_equal(x, y) : x == y;
}

static bool same_generator(const struct model *a, unsigned a_slot, const struct model *b, unsigned b_slot)
{
    static const char *const keys[] = {"type", "generator", "samples", "sampleSize", "signed", "endian", NULL};
    const json_t *x = json_array_get(json_object_get(a->source, "telemetry"), a_slot);
    const json_t *y = json_array_get(json_object_get(b->source, "telemetry"), b_slot);
    for (unsigned i = 0; keys[i]; i++) {
        if (!same_member(x, y, keys[i]))
            return false;
    }
    return x && y;
}

static void find_origin(const struct swap *swap, const struct model_attribute *a, struct origin *o)
{
    for (unsigned s = 0; s < swap->from->n_streams; s++) {
        const struct model_stream *stream = &swap->from->streams[s];
        for (unsigned k = 0; k < stream->n_attributes; k++) {
            const struct model_attribute *old = &stream->attributes[k];
            if (strcmp(old->name, a->name) != 0 || old->type != a->type)
                continue;
            *o = (struct origin){.known = true,
                                 .same = same_generator(swap->from, old->slot, swap->to, a->slot) &&
                                         gen_state_count(old->gen) == gen_state_count(a->gen),
                                 .slot = old->slot,
                                 .stream = s,
                                 .state = old->first_state};
            return;
        }
    }
}

static int compare(struct swap *swap, struct error *err)
{
    swap->origins = calloc(swap->to->n_attributes + 1, sizeof(*swap->origins));
    if (!swap->origins)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    swap->commands = !same_member(swap->from->source, swap->to->source, "commands");
    for (unsigned i = 0; i < swap->to->n_attributes; i++)
        find_origin(swap, &swap->to->attributes[i], &swap->origins[i]);
    return 0;
}

// --- one device ---------------------------------------------------------------------------------------------------

static bool is_text(const struct value *v)
{
    return v->type == VALUE_STRING || v->type == VALUE_JSON;
}

// A text of the old model's becomes the device's own. Without memory the value is forgotten.
static void own_text(struct kept *k)
{
    if (!is_text(&k->value) || k->text)
        return;
    k->text = malloc(k->value.str.n + 1);
    if (!k->text) {
        k->value.type = VALUE_NULL;
        return;
    }
    memcpy(k->text, k->value.str.s, k->value.str.n);
    k->text[k->value.str.n] = '\0';
    k->value.str.s = k->text;
}

static void carry_kept(const struct swap *swap, struct device *d, struct kept *old)
{
    for (unsigned i = 0; d->kept && old && i < swap->to->n_attributes; i++) {
        const struct origin *o = &swap->origins[i];
        if (!o->known)
            continue;
        struct kept *k = &d->kept[swap->to->attributes[i].slot];
        *k = old[o->slot];
        old[o->slot] = (struct kept){0};
        own_text(k);
    }
    for (unsigned i = 0; old && i < swap->from->n_attributes; i++)
        free(old[i].text);
    free(old);
}

// The stream that the first attribute with a past comes from gives its clock and its random numbers.
static const struct device_stream *carry_stream(const struct swap *swap, struct device_stream *s,
                                                struct device_stream *const *old)
{
    const struct device_stream *clock = NULL;
    for (unsigned k = 0; k < s->stream->n_attributes; k++) {
        const struct model_attribute *a = &s->stream->attributes[k];
        const struct origin *o = &swap->origins[a - swap->to->attributes];
        if (!o->known)
            continue;
        if (!clock) {
            clock = old[o->stream];
            s->rng = clock->rng;
            s->sent = clock->sent;
            s->first_us = clock->first_us;
        }
        if (o->same)
            memcpy(&s->states[a->first_state], &old[o->stream]->states[o->state],
                   gen_state_count(a->gen) * sizeof(struct gen_state));
    }
    return clock;
}

// The next tick stays where it was, unless a shorter interval would have had one before: then as much of the phase as
// fits.
static void carry_phase(struct device_stream *s, const struct device_stream *clock, int64_t now_us)
{
    int64_t left = clock->next_us - now_us;
    s->next_us = left > s->stream->interval_us ? now_us + left % s->stream->interval_us : clock->next_us;
    stream_arm(s);
}

static void carry_streams(const struct swap *swap, struct device *d, struct device_stream *const *old)
{
    const struct fleet *fleet = d->group->fleet;
    bool running = d->flags & FLAG_TELEMETRY && device_online(d);
    const struct device_stream *clocks[256] = {0};
    for (unsigned i = 0; old && i < swap->to->n_streams; i++)
        clocks[i] = carry_stream(swap, d->streams[i], old);
    if (!running || fleet->stopping)
        return;
    streams_start(d);
    for (unsigned i = 0; i < swap->to->n_streams; i++) {
        if (clocks[i])
            carry_phase(d->streams[i], clocks[i], loop_now_us(fleet->config.env.loop));
    }
}

// The group has the new model; the device's timers are stopped.
static void change_device(const struct swap *swap, struct device *d)
{
    struct error err = {0};
    struct device_stream **old = d->streams;
    struct kept *kept = d->kept;
    bool active = d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
    if (device_is_proxy(d)) // it says what was measured
        return;
    d->streams = NULL;
    d->kept = NULL;
    // A model that has telemetry only now: who has no behaviour to say so sends it.
    if (active && !d->group->config.behaviour && swap->to->n_streams)
        d->flags |= FLAG_TELEMETRY;
    if (!swap->to->n_streams)
        d->flags &= ~(uint32_t)FLAG_TELEMETRY;
    bool wanted = swap->to->n_streams && (old || d->flags & FLAG_TELEMETRY);
    int failed = wanted ? streams_new(d, &err) : 0;
    carry_kept(swap, d, kept);
    if (wanted && !failed)
        carry_streams(swap, d, old);
    free(old);
    if (failed) {
        device_fail(d, err.text);
        return;
    }
    rules_model_changed(d);
    failure_model_changed(d);
    active = d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING; // behaviors may have heard of it
    if (active && swap->commands && d->flags & FLAG_SUBSCRIBED && d->conn_state == CONN_CONNECTED) {
        d->flags &= ~(uint32_t)FLAG_SUBSCRIBED;
        commands_subscribe(d);
    }
    if (active && swap->to->sparkplug && device_online(d))
        sparkplug_born(d); // it names the metrics
}

// --- the group ----------------------------------------------------------------------------------------------------

static void free_retired(struct group *g, bool all)
{
    struct retired_model **at = &g->retired;
    while (*at) {
        struct retired_model *r = *at;
        if (!all && r->until_us > loop_now_us(g->fleet->config.env.loop)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        model_delete(r->model);
        free(r);
    }
}

static void retire(struct group *g, struct model *old, struct retired_model *r)
{
    int64_t longest = 0;
    if (!old) {
        free(r);
        return;
    }
    for (unsigned i = 0; i < old->n_commands; i++)
        longest = old->commands[i].timeout_us > longest ? old->commands[i].timeout_us : longest;
    r->model = old;
    r->until_us = loop_now_us(g->fleet->config.env.loop) + LINGER_US + longest;
    r->next = g->retired;
    g->retired = r;
}

static int check_change(const struct group *g, const struct model *to, struct error *err)
{
    const struct model *from = g->config.model;
    if (strcmp(from->protocol, to->protocol) != 0)
        return error_set(err, ERR_UNSUPPORTED, "its protocol is %s and cannot become %s while the group runs",
                         from->protocol, to->protocol);
    if (from->type != to->type)
        return error_set(err, ERR_UNSUPPORTED, "its type cannot change while the group runs");
    if (!from->sparkplug != !to->sparkplug)
        return error_set(err, ERR_UNSUPPORTED, "it cannot change to or from Sparkplug while the group runs");
    if (!model_children_same(from, to))
        return error_set(err, ERR_UNSUPPORTED, "its children cannot change while the group runs");
    if (!same_member(from->source, to->source, "proxy"))
        return error_set(err, ERR_UNSUPPORTED, "its proxy cannot change while the group runs");
    return 0;
}

static int resolve_hooks(struct group *g, const struct model *to, struct error *err)
{
    const struct fleet_config *c = &g->fleet->config;
    const struct model *child;
    bool any = to->n_hooks;
    for (unsigned k = 0; (child = model_child(g->config.model, k)); k++)
        any = any || child->n_hooks;
    if (!any)
        return 0;
    if (!c->ops || !c->ops->hook_resolve)
        return error_set(err, ERR_UNSUPPORTED, "%s: it has handlers, and nobody runs them here", to->path);
    int rc = c->ops->hook_resolve(c->ops_arg, g, to, err);
    for (unsigned k = 0; !rc && (child = model_child(g->config.model, k)); k++) // those stay
        rc = child->n_hooks ? c->ops->hook_resolve(c->ops_arg, g, child, err) : 0;
    return rc;
}

int group_set_model(struct group *g, struct model *to, struct error *err)
{
    struct swap swap = {.from = g->config.model, .to = to};
    struct retired_model *r = malloc(sizeof(*r));
    if (!r || check_change(g, to, err) || compare(&swap, err) || group_reserve_values(g->fleet, to, err) ||
        resolve_hooks(g, to, err)) {
        if (!r)
            error_set(err, ERR_NO_MEMORY, "out of memory");
        free(r);
        free(swap.origins);
        model_delete(to);
        return -1;
    }
    free_retired(g, false);
    for (uint64_t i = 0; i < g->owned; i++) {
        if (g->devices[i])
            streams_stop(g->devices[i]);
    }
    model_children_keep(swap.from, to);
    g->config.model = to;
    for (uint64_t i = 0; i < g->owned; i++) {
        if (g->devices[i])
            change_device(&swap, g->devices[i]);
    }
    free(swap.origins);
    retire(g, g->own_model, r);
    g->own_model = to;
    return 0;
}

void group_models_delete(struct group *g)
{
    free_retired(g, true);
    model_delete(g->own_model);
}
