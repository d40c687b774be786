// The life of a Sparkplug B node (Eclipse Sparkplug 3.0, chapter 5): birth certificate at every connect and when a host
// asks for it, death certificate as the will and before a clean DISCONNECT. Everything goes out with QoS 0 but the
// will.
#include <string.h>
#include "device/internal.h"

static const struct model_sparkplug *node(const struct device *d)
{
    const struct model *m = d->group->config.model;
    return m ? m->sparkplug : NULL;
}

static int publish(struct device *d, const struct payload *topic, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    buf_clear(&fleet->topic);
    if (device_render(d, topic, NULL, &fleet->topic, err))
        return -1;
    return device_emit(d, (const char *)fleet->topic.data, fleet->topic.len, fleet->payload.data, fleet->payload.len,
                       err);
}

void sparkplug_born(struct device *d)
{
    const struct model_sparkplug *s = node(d);
    const struct model *m = d->group->config.model;
    struct fleet *fleet = d->group->fleet;
    struct error err = {0};
    if (!s || device_keep_values(d, &err))
        return;
    for (unsigned i = 0; i < m->n_attributes; i++)
        fleet->latest[i] = d->kept[i].value;
    buf_clear(&fleet->payload);
    if (sparkplug_birth(s->fields, m->n_attributes, fleet->latest, device_wall_us(d), d->sparkplug_birth,
                        &fleet->payload))
        device_fail(d, "the birth certificate is too large");
    else if (publish(d, s->birth_topic, &err))
        device_fail(d, err.text);
    d->sparkplug_seq = 1;
}

void sparkplug_online(struct device *d)
{
    const struct model_sparkplug *s = node(d);
    struct fleet *fleet = d->group->fleet;
    struct error err = {0};
    if (!s)
        return;
    buf_clear(&fleet->topic);
    // The host's commands come first, so that none is missed; adapters renew subscriptions of a connection by
    // themselves.
    if (!(d->flags & FLAG_SUBSCRIBED) &&
        (device_render(d, s->command_topic, NULL, &fleet->topic, &err) ||
         device_subscribe(d, buf_cstr(&fleet->topic), 1, 0, &err)) &&
        err.code == ERR_INVALID) {
        device_fail(d, err.text);
        return;
    }
    sparkplug_born(d);
}

void sparkplug_leave(struct device *d)
{
    const struct model_sparkplug *s = node(d);
    struct fleet *fleet = d->group->fleet;
    if (!s || d->conn_state != CONN_CONNECTED)
        return;
    buf_clear(&fleet->payload);
    // What cannot be sent now does not hold the connection: it is closing.
    if (sparkplug_death(d->sparkplug_birth, device_wall_us(d), &fleet->payload) == 0 &&
        publish(d, s->death_topic, NULL))
        return;
}

bool sparkplug_message(struct device *d, const struct adapter_message *m)
{
    const struct model_sparkplug *s = node(d);
    struct fleet *fleet = d->group->fleet;
    if (!s)
        return false;
    buf_clear(&fleet->topic);
    if (device_render(d, s->command_topic, NULL, &fleet->topic, NULL) || fleet->topic.len != m->topic_len ||
        memcmp(fleet->topic.data, m->topic, m->topic_len))
        return false;
    if (sparkplug_asks_rebirth(m->payload, m->payload_len))
        sparkplug_born(d);
    return true;
}
