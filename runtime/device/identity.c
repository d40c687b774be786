// Names, topics and what the adapter asks at connect, rendered when needed: a million ids cost nothing at rest.
#include <string.h>
#include "device/credentials.h"
#include "device/failure.h"
#include "device/gateway.h"
#include "device/internal.h"
#include "device/proxy.h"

// The gateway's id is left in fleet->gateway_id.
static int child_name(const struct device *d, struct buf *out)
{
    struct buf *id = &d->group->fleet->gateway_id;
    buf_clear(id);
    if (device_name(gateway_of(d), id))
        return -1;
    struct payload_scope scope = {.group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = loop_wall_us(d->group->fleet->config.env.loop),
                                  .gateway_id = buf_cstr(id),
                                  .child_index = gateway_number(d)};
    return payload_render(d->group->id_template, &scope, out);
}

int device_name(const struct device *d, struct buf *out)
{
    if (d->group->behind)
        return child_name(d, out);
    int rc = d->group->proxies ? proxy_name(d, out) : 1;
    if (rc <= 0)
        return rc;
    struct payload_scope scope = {.group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = loop_wall_us(d->group->fleet->config.env.loop),
                                  .data = d->group->config.data};
    return payload_render(d->group->id_template, &scope, out);
}

int device_scope(const struct device *d, const struct value *values, struct payload_scope *out, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    buf_clear(&fleet->id);
    if (device_name(d, &fleet->id))
        return error_set(err, ERR_LIMIT, "the device's id takes more than %d bytes", FLEET_MAX_TEXT);
    *out = (struct payload_scope){.device_id = buf_cstr(&fleet->id),
                                  .group_id = d->group->config.name,
                                  .index = d->index,
                                  .wall_us = device_wall_us(d),
                                  .values = values,
                                  .data = d->group->config.data};
    if (d->group->behind) {
        out->gateway_id = buf_cstr(&fleet->gateway_id);
        out->child_index = gateway_number(d);
    }
    return 0;
}

// Appends a template of this device. values: of the template's names, or NULL when it has none.
int device_render(const struct device *d, const struct payload *p, const struct value *values, struct buf *out,
                  struct error *err)
{
    struct payload_scope scope;
    if (device_scope(d, values, &scope, err))
        return -1;
    if (payload_render(p, &scope, out))
        return error_set(err, ERR_LIMIT, "what %s renders to takes more than %u bytes", scope.device_id, out->cap);
    return 0;
}

int device_base(const struct device *d, struct buf *out, struct error *err)
{
    if (!d->group->behind)
        return device_render(d, d->group->base_template, NULL, out, err);
    uint32_t start = out->len;
    if (device_base(gateway_of(d), out, err))
        return -1;
    if (!buf_append_char(out, '/') && !device_name(d, out))
        return 0;
    out->len = start;
    return error_set(err, ERR_LIMIT, "the topics of a gateway's child take more than %u bytes", out->cap);
}

void device_seed(const struct device *d, uint32_t salt, struct rng *out)
{
    uint64_t seed = d->group->fleet->config.seed;
    if (d->group->behind) {
        uint64_t number = gateway_number(d);
        seed = hash_bytes(&number, sizeof(number), seed);
    }
    rng_seed_device(out, seed, d->group->config.name, d->index, salt);
}

int device_topic(const struct device *d, const char *topic, size_t n, struct buf *out)
{
    uint32_t start = out->len;
    if (n && topic[0] == '/')
        return buf_append(out, topic + 1, n - 1);
    if (n && memchr(topic, '/', n))
        return buf_append(out, topic, n);
    if (device_base(d, out, NULL) || (n && buf_append_char(out, '/')) || buf_append(out, topic, n)) {
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
    default:
        return NULL;
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

// Sparkplug's will is the death certificate of this connection; its number is the birth's that follows.
static int death(struct device *d, const struct model_sparkplug *s, enum adapter_field field, struct buf *out,
                 struct error *err)
{
    if (field == FIELD_WILL_TOPIC)
        return device_render(d, s->death_topic, NULL, out, err);
    d->sparkplug_birth++;
    return sparkplug_death(d->sparkplug_birth, device_wall_us(d), out)
               ? error_set(err, ERR_LIMIT, "the death certificate takes more than %u bytes", out->cap)
               : 0;
}

static int identity_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    struct device *d = owner;
    const struct model *m = d->group->config.model;
    if (m && m->sparkplug && (field == FIELD_WILL_TOPIC || field == FIELD_WILL_PAYLOAD))
        return death(d, m->sparkplug, field, out, err);
    const struct payload *p = field_template(d->group, field);
    const char *secret = field == FIELD_PASSWORD ? d->group->config.secret : NULL;
    bool proven = credentials_have(d->group->credentials, field);
    int stale = field == FIELD_PASSWORD && d->failures && (p || secret || proven) ? failure_password(d, out, err) : 1;
    if (stale <= 0)
        return stale;
    if (proven)
        return credentials_field(d->group->credentials, d, field, out, err);
    if (!p && secret)
        return buf_append_str(out, secret)
                   ? error_set(err, ERR_LIMIT, "the password takes more than %u bytes", out->cap)
                   : 0;
    if (!p)
        return 0;
    return field == FIELD_WILL_TOPIC ? will_topic(d, p, out, err) : device_render(d, p, NULL, out, err);
}

int device_field(struct device *d, enum adapter_field field, struct buf *out, struct error *err)
{
    return identity_field(d, field, out, err);
}

const struct adapter_identity device_identity = {.field = identity_field};
