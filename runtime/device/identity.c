// Names, topics and what the adapter asks at connect, rendered when needed: a million ids cost nothing at rest.
#include <string.h>
#include "device/internal.h"

int device_name(const struct device *d, struct buf *out)
{
    struct payload_scope scope = {.group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = loop_wall_us(d->group->fleet->config.env.loop)};
    return payload_render(d->group->id_template, &scope, out);
}

// Appends a template of this device. values: of the template's names, or NULL when it has none.
int device_render(const struct device *d, const struct payload *p, const struct value *values, struct buf *out,
                  struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    buf_clear(&fleet->id);
    if (device_name(d, &fleet->id))
        return error_set(err, ERR_LIMIT, "the device's id takes more than %d bytes", FLEET_MAX_TEXT);
    struct payload_scope scope = {.device_id = buf_cstr(&fleet->id),
                                  .group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = loop_wall_us(fleet->config.env.loop),
                                  .values = values};
    if (payload_render(p, &scope, out))
        return error_set(err, ERR_LIMIT, "what %s renders to takes more than %u bytes", scope.device_id, out->cap);
    return 0;
}

int device_topic(const struct device *d, const char *topic, size_t n, struct buf *out)
{
    uint32_t start = out->len;
    if (n && topic[0] == '/')
        return buf_append(out, topic + 1, n - 1);
    if (n && memchr(topic, '/', n))
        return buf_append(out, topic, n);
    if (device_render(d, d->group->base_template, NULL, out, NULL) || (n && buf_append_char(out, '/')) ||
        buf_append(out, topic, n)) {
        out->len = start;
        return -1;
    }
    return 0;
}

static const struct payload *field_template(const struct group *g, enum adapter_field field)
{
    switch (field) {
    case FIELD_CLIENT_ID:
        return g->client_id_template;
    case FIELD_USERNAME:
        return g->username_template;
    case FIELD_PASSWORD:
        return g->password_template;
    case FIELD_WILL_TOPIC:
        return g->will_topic_template;
    case FIELD_WILL_PAYLOAD:
        return g->will_payload_template;
    }
    return NULL;
}

// A will's topic follows the rule for topics: without "/" it hangs below the base.
static int will_topic(const struct device *d, const struct payload *p, struct buf *out, struct error *err)
{
    struct buf *topic = &d->group->fleet->topic;
    buf_clear(topic);
    if (device_render(d, p, NULL, topic, err))
        return -1;
    if (device_topic(d, (const char *)topic->data, topic->len, out))
        return error_set(err, ERR_LIMIT, "the will's topic takes more than %u bytes", out->cap);
    return 0;
}

static int identity_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    struct device *d = owner;
    const struct payload *p = field_template(d->group, field);
    if (!p)
        return 0;
    return field == FIELD_WILL_TOPIC ? will_topic(d, p, out, err) : device_render(d, p, NULL, out, err);
}

const struct adapter_identity device_identity = {.field = identity_field};
