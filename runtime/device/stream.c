// Telemetry without Lua: one timer a stream. A tick generates, renders into buffers that the whole fleet shares, and
// publishes; it allocates nothing.
//
// Values come from a generator of the stream's own, so they depend on the run's seed, the group's name, the device's
// index and how often the device was started, and on nothing else: not on the shard, on reconnects or on other streams.
#include <stdlib.h>
#include <string.h>
#include "device/gateway.h"
#include "device/internal.h"
#include "device/rule.h"

#define LATE_US 10000
#define KEPT_MAX_TEXT 4096 // longer texts are not kept

static size_t stream_size(const struct model_stream *ms)
{
    return sizeof(struct device_stream) + ms->n_states * sizeof(struct gen_state);
}

static size_t block_size(const struct model *m)
{
    size_t size = m->n_streams * sizeof(struct device_stream *);
    for (unsigned i = 0; i < m->n_streams; i++)
        size += stream_size(&m->streams[i]);
    return size;
}

size_t streams_footprint(const struct device *d)
{
    size_t size = d->streams ? block_size(d->group->config.model) : 0;
    return d->kept ? size + d->group->config.model->n_attributes * sizeof(*d->kept) : size;
}

int device_busy(const struct device *d, struct error *err)
{
    if (!d->group->fleet->sampling)
        return 0;
    return error_set(err, ERR_STATE, "a handler of a generator or an encoder cannot do that: it answers at once");
}

// --- latest values ------------------------------------------------------------------------------------------------

// transient: its text does not outlive the message.
static void set_kept(struct kept *k, const struct value *v, bool transient)
{
    bool text = v->type == VALUE_STRING || v->type == VALUE_JSON;
    char *copy = NULL;
    if (text && transient && v->str.n <= KEPT_MAX_TEXT && (copy = malloc(v->str.n + 1))) {
        memcpy(copy, v->str.s, v->str.n);
        copy[v->str.n] = '\0';
    }
    free(k->text);
    k->text = copy;
    k->value = *v;
    if (copy)
        k->value.str.s = copy;
    else if ((text && transient) || v->type == VALUE_BINARY)
        k->value.type = VALUE_NULL; // too long to keep, or bytes
}

void device_value(const struct device *d, unsigned slot, struct value *out)
{
    if (d->kept && slot < d->group->config.model->n_attributes)
        *out = d->kept[slot].value;
    else
        out->type = VALUE_NULL;
}

static const struct model_attribute *attribute_of(const struct model *m, unsigned slot)
{
    for (unsigned i = 0; i < m->n_attributes; i++) {
        if (m->attributes[i].slot == slot)
            return &m->attributes[i];
    }
    return NULL;
}

int device_fix(struct device *d, unsigned slot, const json_t *value, struct error *err)
{
    const struct model *m = d->group->config.model;
    const struct model_attribute *a = m && d->kept ? attribute_of(m, slot) : NULL;
    if (!a)
        return error_set(err, ERR_STATE, "the device keeps no values");
    struct kept *k = &d->kept[slot];
    if (!value || json_is_null(value)) {
        k->fixed = false;
        return 0;
    }
    // A constant generator knows how to turn JSON into a value of that type, and what does not fit.
    json_t *constant = json_pack("{s:s, s:O}", "type", "constant", "value", value);
    struct gen_spec *spec = constant ? gen_parse(constant, a->type, NULL, err) : NULL;
    json_decref(constant);
    if (!spec)
        return error_prefix(err, "%s", a->name);
    struct gen_state state;
    struct rng rng = {0};
    struct gen_context context = {.index = d->index};
    struct value v;
    gen_init(spec, &state, &rng, &context);
    gen_next(spec, &state, &rng, &context, &v);
    set_kept(k, &v, true);
    k->fixed = true;
    gen_delete(spec);
    return 0;
}

int device_keep_values(struct device *d, struct error *err)
{
    const struct model *m = d->group->config.model;
    if (d->kept || !m->keeps_values)
        return 0;
    d->kept = calloc(m->n_attributes ? m->n_attributes : 1, sizeof(*d->kept));
    return d->kept ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the values of a device");
}

// --- one message --------------------------------------------------------------------------------------------------

static int run_hook(void *arg, int hook, const json_t *params, const struct gen_context *context, struct value *out)
{
    struct device *d = arg;
    const struct fleet_config *config = &d->group->fleet->config;
    struct error err = {0};
    if (config->ops && config->ops->hook_generate &&
        !config->ops->hook_generate(config->ops_arg, d, hook, params, context, out, &err))
        return 0;
    out->type = VALUE_NULL;
    return -1;
}

// Among all that share a recording or a route: children of one gateway have its index.
static uint64_t ordinal(const struct device *d)
{
    const struct device *gateway = gateway_of(d);
    return gateway ? (d->index - 1) * gateway_children(gateway) + gateway_number(d) : d->index;
}

// What expressions and paths look at. The latest values lie side by side in the fleet's scratch while they are needed.
static struct gen_context context_of(struct device *d, const struct device_stream *s, int64_t due_us)
{
    struct fleet *fleet = d->group->fleet;
    struct gen_context c = {.wall_us = device_wall_us(d), .index = ordinal(d), .scratch = &fleet->texts};
    if (s->sent)
        c.time_us = due_us - s->first_us;
    if (d->kept) {
        for (unsigned i = 0; i < d->group->config.model->n_attributes; i++)
            fleet->latest[i] = d->kept[i].value;
        c.values = fleet->latest;
    }
    if (d->group->config.model->n_hooks) {
        c.hook = run_hook;
        c.hook_arg = d;
    }
    return c;
}

// The pointers and the streams lie in one block, which is freed as d->streams.
int streams_new(struct device *d, struct error *err)
{
    const struct model *m = d->group->config.model;
    if (d->streams)
        return 0;
    if (device_keep_values(d, err))
        return -1;
    char *block = calloc(1, block_size(m));
    if (!block)
        return error_set(err, ERR_NO_MEMORY, "no memory for the telemetry of a device");
    d->streams = (struct device_stream **)(void *)block;
    block += m->n_streams * sizeof(struct device_stream *);
    for (unsigned i = 0; i < m->n_streams; i++) {
        struct device_stream *s = (struct device_stream *)(void *)block;
        block += stream_size(&m->streams[i]);
        s->device = d;
        s->stream = &m->streams[i];
        // A restarted device does not repeat its values.
        uint32_t salt = 16 + i + ((uint32_t)(d->starts - 1) << 16);
        device_seed(d, salt, &s->rng);
        struct gen_context context = context_of(d, s, 0);
        for (unsigned k = 0; k < s->stream->n_attributes; k++) {
            const struct model_attribute *a = &s->stream->attributes[k];
            gen_init(a->gen, &s->states[a->first_state], &s->rng, &context);
        }
        d->streams[i] = s;
    }
    return 0;
}

void streams_free(struct device *d)
{
    streams_stop(d);
    free(d->streams);
    d->streams = NULL;
    for (unsigned i = 0; d->kept && i < d->group->config.model->n_attributes; i++)
        free(d->kept[i].text);
    free(d->kept);
    d->kept = NULL;
}

static void make_values(struct device_stream *s, const struct gen_context *context)
{
    struct device *d = s->device;
    struct fleet *fleet = d->group->fleet;
    const struct model_stream *ms = s->stream;
    for (unsigned i = 0; i < ms->n_attributes; i++) {
        const struct model_attribute *a = &ms->attributes[i];
        struct value *v = &fleet->values[i];
        gen_next(a->gen, &s->states[a->first_state], &s->rng, context, v);
        bool dictated = d->failures && failure_value(d, a->slot, a->type, v);
        if (!d->kept)
            continue;
        if (d->kept[a->slot].fixed && !dictated)
            *v = d->kept[a->slot].value;
        else
            set_kept(&d->kept[a->slot], v, gen_uses_scratch(a->gen) || gen_uses_hook(a->gen));
        fleet->latest[a->slot] = d->kept[a->slot].value;
    }
}

// The message into fleet->payload. An empty one is not to be sent.
static int encode(struct device_stream *s, const struct payload_scope *scope, struct error *err)
{
    struct device *d = s->device;
    struct fleet *fleet = d->group->fleet;
    const struct model_stream *ms = s->stream;
    buf_clear(&fleet->payload);
    int failed;
    if (ms->payload)
        failed = payload_render(ms->payload, scope, &fleet->payload);
    else if (ms->encoder)
        failed = encoder_write(ms->encoder, scope, d->sparkplug_seq, &fleet->payload);
    else
        return fleet->config.ops && fleet->config.ops->hook_encode
                   ? fleet->config.ops->hook_encode(fleet->config.ops_arg, d, ms->encode_hook, ms, scope,
                                                    &fleet->payload, err)
                   : error_set(err, ERR_INTERNAL, "nobody runs hooks here");
    return failed ? error_set(err, ERR_LIMIT, "a message of %s takes more than %u bytes", scope->device_id,
                              fleet->payload.cap)
                  : 0;
}

int device_emit(struct device *d, const char *topic, size_t topic_len, const void *payload, size_t n, struct error *err)
{
    return device_emit_with(d, topic, topic_len, payload, n, NULL, err);
}

int device_emit_with(struct device *d, const char *topic, size_t topic_len, const void *payload, size_t n,
                     const struct adapter_meta *meta, struct error *err)
{
    struct group *g = d->group;
    struct error own; // decides, also for who does not care
    if (!err)
        err = &own;
    struct adapter_message m = {.topic = topic,
                                .topic_len = topic_len,
                                .payload = payload,
                                .payload_len = n,
                                .qos = (uint8_t)g->config.model->qos,
                                .meta = meta};
    int taken = d->failures ? failure_publish(d, &m, 0, true, err) : 0;
    if (taken)
        return 0; // held back, or lost, which is what was asked for
    return tap_publish(d, &m, 0, err) && err->code == ERR_INVALID ? -1 : 0;
}

// Values of one message into the fleet's scratch, and the message out. -1: the device cannot go on.
static int make_sample(struct device_stream *s, int64_t due_us, struct error *err)
{
    struct device *d = s->device;
    struct group *g = d->group;
    struct fleet *fleet = g->fleet;
    const struct model_stream *ms = s->stream;
    if (!s->sent)
        s->first_us = due_us;
    struct gen_context context = context_of(d, s, due_us);
    scratch_clear(&fleet->texts);
    make_values(s, &context);
    s->sent++;
    counter_add(g->generated, ms->n_attributes);
    struct payload_scope scope;
    int failed = device_scope(d, fleet->values, &scope, err) || encode(s, &scope, err) ? -1 : 0;
    if (failed && ms->encode_hook >= 0)
        return 0; // counted where it raised; the next message may be fine
    if (failed || !fleet->payload.len)
        return failed;
    buf_clear(&fleet->topic);
    if (payload_render(ms->topic_template, &scope, &fleet->topic))
        return error_set(err, ERR_LIMIT, "a topic of %s takes more than %u bytes", scope.device_id, fleet->topic.cap);
    d->sparkplug_seq++;
    return device_emit(d, (const char *)fleet->topic.data, fleet->topic.len, fleet->payload.data, fleet->payload.len,
                       err);
}

// A hook of a generator or an encoder may ask for anything: what would use the scratch, or free what is being made, is
// refused (device_busy), and a disconnect waits for the end of the turn.
static int publish_sample(struct device_stream *s, int64_t due_us, struct error *err)
{
    struct device *d = s->device;
    struct fleet *fleet = d->group->fleet;
    fleet->sampling = true;
    d->flags |= FLAG_IN_EVENT;
    int rc = make_sample(s, due_us, err);
    d->flags &= ~(uint32_t)FLAG_IN_EVENT;
    fleet->sampling = false;
    return rc;
}

// --- ticks --------------------------------------------------------------------------------------------------------

void late_ticks_count(struct metric *late_ticks, int64_t interval_us, int64_t late_us, uint64_t skipped)
{
    rate_add(late_ticks, late_us > LATE_US && late_us > interval_us / 10);
    late_ticks->count += skipped;
    late_ticks->hits += skipped;
}

// How late it is, and where the next tick belongs: on the grid of the first one, so that nothing drifts. Ticks that
// have passed altogether are left out and count as late.
// *due: what the present one stands for.
static void advance(struct device_stream *s, int64_t now_us, struct due *due)
{
    int64_t interval = s->stream->interval_us, late = now_us - s->next_us;
    int64_t skipped = late >= interval ? late / interval : 0;
    *due = (struct due){.at_us = loop_due_us(s->device->group->fleet->config.env.loop)};
    if (skipped)
        *due = (struct due){.at_us = s->next_us,
                            .missed = lag_us(skipped),
                            .interval_us = lag_us(interval),
                            .backlog_us = lag_us(late - interval)};
    late_ticks_count(s->device->group->late_ticks, interval, late, (uint64_t)skipped);
    s->next_us += (1 + skipped) * interval;
}

static void tick(struct timer *t, void *arg)
{
    struct device_stream *s = container_of(t, struct device_stream, timer);
    struct loop *loop = arg;
    struct error err = {0};
    if (s->device->group->fleet->stopping)
        return;
    int64_t due_us = s->next_us;
    struct due due;
    advance(s, loop_now_us(loop), &due);
    loop_timer_at(loop, t, s->next_us, tick);
    loop_due_set(loop, &due);
    int failed = publish_sample(s, due_us, &err);
    loop_due_set(loop, NULL);
    if (failed)
        device_fail(s->device, err.text);
    else if (s->device->rules)
        rules_values(s->device);
}

void stream_arm(struct device_stream *s)
{
    loop_timer_at(s->device->group->fleet->config.env.loop, &s->timer, s->next_us, tick);
}

void streams_start(struct device *d)
{
    struct fleet *fleet = d->group->fleet;
    if (!d->streams || fleet->stopping)
        return;
    for (unsigned i = 0; i < d->group->config.model->n_streams; i++) {
        struct device_stream *s = d->streams[i];
        struct rng phase; // not the stream's: a reconnect must not change values
        device_seed(d, 1, &phase);
        phase.state ^= hash_bytes(&s->sent, sizeof(s->sent), i);
        int64_t now_us = loop_now_us(fleet->config.env.loop);
        s->next_us = now_us + (int64_t)rng_below(&phase, (uint64_t)s->stream->interval_us);
        loop_timer_at(fleet->config.env.loop, &s->timer, s->next_us, tick);
    }
}

void streams_stop(struct device *d)
{
    for (unsigned i = 0; d->streams && i < d->group->config.model->n_streams; i++)
        loop_timer_stop(d->group->fleet->config.env.loop, &d->streams[i]->timer);
}

int device_telemetry(struct device *d, bool on, struct error *err)
{
    const struct model *m = d->group->config.model;
    if (!m || !m->n_streams)
        return error_set(err, ERR_UNSUPPORTED, "group %s has no model with telemetry", d->group->config.name);
    if (d->state != DEVICE_STARTING && d->state != DEVICE_RUNNING)
        return error_set(err, ERR_STATE, "the device is %s", device_state_name(d->state));
    if (on == ((d->flags & FLAG_TELEMETRY) != 0))
        return 0;
    if (!on) {
        d->flags &= ~(uint32_t)FLAG_TELEMETRY;
        streams_stop(d);
        return 0;
    }
    if (streams_new(d, err))
        return -1;
    d->flags |= FLAG_TELEMETRY;
    if (device_online(d))
        streams_start(d);
    return 0;
}
