// Telemetry without Lua: one timer a stream. A tick generates, renders into buffers that the whole fleet shares, and
// publishes; it allocates nothing.
//
// Values come from a generator of the stream's own, so they depend on the run's seed, the group's name, the device's
// index and how often the device was started, and on nothing else: not on the shard, on reconnects or on other streams.
#include <stdlib.h>
#include "device/internal.h"

#define LATE_US 10000

static size_t stream_size(const struct model_stream *ms)
{
    return sizeof(struct device_stream) + ms->n_attributes * sizeof(struct gen_state);
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
    return d->streams ? block_size(d->group->config.model) : 0;
}

// The pointers and the streams lie in one block, which is freed as d->streams.
int streams_new(struct device *d, struct error *err)
{
    const struct model *m = d->group->config.model;
    if (d->streams)
        return 0;
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
        rng_seed_device(&s->rng, d->group->fleet->config.seed, d->group->config.name, d->index, salt);
        for (unsigned k = 0; k < s->stream->n_attributes; k++)
            gen_init(s->stream->attributes[k].gen, &s->states[k], &s->rng);
        d->streams[i] = s;
    }
    return 0;
}

// Values of one message into the fleet's scratch, and the message out. -1: the device cannot go on.
static int publish_sample(struct device_stream *s, struct error *err)
{
    struct device *d = s->device;
    struct group *g = d->group;
    struct fleet *fleet = g->fleet;
    const struct model_stream *ms = s->stream;
    int64_t wall_us = loop_wall_us(fleet->config.env.loop);
    for (unsigned i = 0; i < ms->n_attributes; i++)
        gen_next(ms->attributes[i].gen, &s->states[i], &s->rng, wall_us, &fleet->values[i]);
    s->sent++;
    counter_add(g->generated, ms->n_attributes);
    buf_clear(&fleet->topic);
    buf_clear(&fleet->payload);
    if (device_render(d, ms->topic_template, fleet->values, &fleet->topic, err) ||
        device_render(d, ms->payload, fleet->values, &fleet->payload, err))
        return -1;
    struct adapter_message m = {.topic = (const char *)fleet->topic.data,
                                .topic_len = fleet->topic.len,
                                .payload = fleet->payload.data,
                                .payload_len = fleet->payload.len,
                                .qos = (uint8_t)g->config.model->qos};
    // A full queue or a lost connection is the world's, and counted by the adapter; a bad topic will never get better.
    if (g->adapter->publish(d->conn, &m, 0, err) && err->code == ERR_INVALID)
        return -1;
    return 0;
}

void late_ticks_count(struct metric *late_ticks, int64_t interval_us, int64_t late_us, uint64_t skipped)
{
    rate_add(late_ticks, late_us > LATE_US && late_us > interval_us / 10);
    late_ticks->count += skipped;
    late_ticks->hits += skipped;
}

// How late it is, and where the next tick belongs: on the grid of the first one, so that nothing drifts. Ticks that
// have passed altogether are left out and count as late.
static void advance(struct device_stream *s, int64_t now_us)
{
    int64_t interval = s->stream->interval_us, late = now_us - s->next_us;
    int64_t skipped = late >= interval ? late / interval : 0;
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
    advance(s, loop_now_us(loop));
    loop_timer_at(loop, t, s->next_us, tick);
    if (publish_sample(s, &err))
        device_fail(s->device, err.text);
}

void streams_start(struct device *d)
{
    struct fleet *fleet = d->group->fleet;
    if (!d->streams || fleet->stopping)
        return;
    for (unsigned i = 0; i < d->group->config.model->n_streams; i++) {
        struct device_stream *s = d->streams[i];
        struct rng phase; // not the stream's: a reconnect must not change values
        rng_seed_device(&phase, fleet->config.seed, d->group->config.name, d->index, 1);
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
        d->flags &= (uint16_t)~FLAG_TELEMETRY;
        streams_stop(d);
        return 0;
    }
    if (streams_new(d, err))
        return -1;
    d->flags |= FLAG_TELEMETRY;
    if (d->conn_state == CONN_CONNECTED && !(d->flags & FLAG_CLOSING))
        streams_start(d);
    return 0;
}
