#include "engine/record_maker.h"

#include <string.h>

#include "device/proxy.h"

#define NAME_MAX_BYTES (64u << 10)

void record_maker_create(struct record_maker *m)
{
    memset(m, 0, sizeof(*m));
    buf_create(&m->name, NAME_MAX_BYTES);
}

void record_maker_destroy(struct record_maker *m)
{
    buf_destroy(&m->name);
}

// The encoding of a group's model, as it is written: a name, or an object with a type.
static void know_group(struct record_maker *k, const struct group *g)
{
    const struct model *m = g->config.model;
    const json_t *encoding = m ? json_object_get(m->source, "encoding") : NULL;
    const char *name = json_string_value(json_is_object(encoding) ? json_object_get(encoding, "type") : encoding);
    k->group = g;
    k->model = m;
    k->group_len = strlen(g->config.name);
    k->model_len = m && m->id ? strlen(m->id) : 0;
    k->binary = name && (!strcmp(name, "cbor") || !strcmp(name, "binary") || !strcmp(name, "sparkplug"));
    k->influx = name && !strcmp(name, "influx");
}

int record_make(struct record_maker *k, const struct device *d, const struct adapter_message *m, int64_t wall_us,
                struct record *out, struct error *err)
{
    if (d->group != k->group || d->group->config.model != k->model)
        know_group(k, d->group);
    buf_clear(&k->name);
    if (device_name(d, &k->name))
        return error_set(err, ERR_LIMIT, "the device's id takes more than %u bytes", NAME_MAX_BYTES);
    *out = (struct record){.wall_us = wall_us,
                           .group = d->group->config.number,
                           .index = d->index,
                           .group_name = d->group->config.name,
                           .group_len = k->group_len,
                           .device = (const char *)k->name.data,
                           .device_len = k->name.len,
                           .topic = m->topic,
                           .topic_len = m->topic_len,
                           .payload = m->payload,
                           .payload_len = m->payload_len,
                           .binary = k->binary,
                           .influx = k->influx,
                           .model = k->model_len ? k->model->id : "",
                           .model_len = k->model_len,
                           .physical = d->proxy != NULL};
    return 0;
}
