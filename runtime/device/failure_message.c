// What failures do to messages: broken, or late.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/failure_impl.h"
#include "device/meta.h"

// --- broken -------------------------------------------------------------------------------------------------------

// Every scalar becomes one of another type: what a schema would refuse, and JSON all the same.
static json_t *wrong_type(const json_t *v)
{
    char number[40];
    switch (json_typeof(v)) {
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
        return json_string(number);
    case JSON_REAL:
        snprintf(number, sizeof(number), "%.14g", json_real_value(v));
        return json_string(number);
    case JSON_STRING:
        return json_integer((json_int_t)json_string_length(v));
    case JSON_TRUE:
    case JSON_FALSE:
        return json_string(json_is_true(v) ? "yes" : "no");
    default:
        return json_array();
    }
}

static json_t *with_wrong_types(const json_t *v)
{
    const char *key;
    json_t *item, *out;
    size_t i;
    if (json_is_object(v)) {
        out = json_object();
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            json_object_set_new(out, key, with_wrong_types(item));
        }
        return out;
    }
    if (json_is_array(v)) {
        out = json_array();
        json_array_foreach(v, i, item)
        {
            json_array_append_new(out, with_wrong_types(item));
        }
        return out;
    }
    return wrong_type(v);
}

static int break_garbage(struct failure *f, const struct adapter_message *m)
{
    size_t n = m->payload_len ? m->payload_len : 16;
    for (size_t i = 0; i < n; i++) {
        if (buf_append_char(&f->broken, (char)rng_u64(&f->rng)))
            return -1;
    }
    return 0;
}

static int break_types(struct failure *f, const struct adapter_message *m, struct error *err)
{
    json_t *v = json_parse((const char *)m->payload, m->payload_len, "payload", NULL);
    if (!v) // not JSON: its types cannot be told
        return break_garbage(f, m);
    json_t *wrong = with_wrong_types(v);
    int rc = wrong ? json_write(wrong, &f->broken, err) : -1;
    json_decref(wrong);
    json_decref(v);
    return rc;
}

int failure_break(struct failure *f, struct adapter_message *m, struct error *err)
{
    enum failure_mode mode = f->spec.mode;
    int rc = 0;
    if (mode == MODE_ANY)
        mode = (enum failure_mode)(MODE_TRUNCATED + (int)rng_below(&f->rng, 4));
    buf_clear(&f->broken);
    switch (mode) {
    case MODE_TRUNCATED: // at least the last byte is gone
        if (m->payload_len)
            rc = buf_append(&f->broken, m->payload, rng_below(&f->rng, m->payload_len));
        break;
    case MODE_TYPES:
        rc = break_types(f, m, err);
        break;
    case MODE_GARBAGE:
        rc = break_garbage(f, m);
        break;
    default: // empty
        break;
    }
    if (rc)
        return error_set(err, ERR_LIMIT, "a broken message takes more than %u bytes", f->broken.cap);
    m->payload = f->broken.data;
    m->payload_len = f->broken.len;
    return 0;
}

// --- late ---------------------------------------------------------------------------------------------------------

struct delayed {
    struct delayed *next;
    int64_t at_us;
    uint32_t token;
    uint8_t qos;
    bool retain;
    size_t topic_len, payload_len;
    struct adapter_meta *meta; // NULL: none
    char bytes[];              // topic, payload
};

static void delayed_due(struct timer *t, void *arg);

static void arm(struct failure *f)
{
    if (f->first)
        loop_timer_at(failure_loop(f), &f->delay_timer, f->first->at_us, delayed_due);
}

static struct delayed *take_first(struct failure *f)
{
    struct delayed *m = f->first;
    f->first = m->next;
    if (!f->first)
        f->last = &f->first;
    f->n_delayed--;
    f->delayed_bytes -= m->topic_len + m->payload_len;
    return m;
}

static void free_delayed(struct delayed *m)
{
    free(m->meta);
    free(m);
}

// Whoever waits for an acknowledgement is told when there will be none.
static void send_late(struct failure *f, struct delayed *m)
{
    struct device *d = f->device;
    const struct fleet_config *config = &d->group->fleet->config;
    struct error err = {0};
    struct adapter_message out = {.topic = m->bytes,
                                  .topic_len = m->topic_len,
                                  .payload = (const uint8_t *)m->bytes + m->topic_len,
                                  .payload_len = m->payload_len,
                                  .qos = m->qos,
                                  .retain = m->retain,
                                  .meta = m->meta};
    bool failed = device_transmit(d, &out, m->token, &err) != 0;
    if (failed && m->token && d->flags & FLAG_BEHAVIOUR)
        config->ops->done(config->ops_arg, d, m->token, -1, &err);
    free_delayed(m);
}

static void delayed_due(struct timer *t, void *arg)
{
    struct failure *f = container_of(t, struct failure, delay_timer);
    int64_t now_us = loop_now_us(arg);
    f->busy++;
    while (f->first && f->first->at_us <= now_us)
        send_late(f, take_first(f));
    f->busy--;
    if (f->over)
        failure_free(f);
    else
        arm(f);
}

int failure_delay(struct failure *f, const struct adapter_message *m, uint32_t token, struct error *err)
{
    size_t n = m->topic_len + m->payload_len;
    if (f->n_delayed == FAILURE_MAX_DELAYED || f->delayed_bytes + n > FAILURE_MAX_DELAYED_BYTES)
        return error_set(err, ERR_LIMIT, "%u messages are late already, which is all that a slow device keeps",
                         f->n_delayed);
    struct delayed *late = malloc(sizeof(*late) + n);
    struct adapter_meta *meta = meta_copy(m->meta);
    if (!late || (m->meta && !meta)) {
        free(late);
        free(meta);
        return error_set(err, ERR_NO_MEMORY, "no memory for a message that waits");
    }
    *late = (struct delayed){.at_us = loop_now_us(failure_loop(f)) + f->spec.delay_us,
                             .token = token,
                             .qos = m->qos,
                             .retain = m->retain,
                             .meta = meta,
                             .topic_len = m->topic_len,
                             .payload_len = m->payload_len};
    memcpy(late->bytes, m->topic, m->topic_len);
    if (m->payload_len)
        memcpy(late->bytes + m->topic_len, m->payload, m->payload_len);
    *f->last = late;
    f->last = &late->next;
    f->n_delayed++;
    f->delayed_bytes += n;
    if (f->n_delayed == 1)
        arm(f);
    return 0;
}

void failure_flush(struct failure *f)
{
    loop_timer_stop(failure_loop(f), &f->delay_timer);
    while (f->first)
        send_late(f, take_first(f));
}

void failure_forget(struct failure *f)
{
    loop_timer_stop(failure_loop(f), &f->delay_timer);
    while (f->first)
        free_delayed(take_first(f));
}

size_t failure_message_footprint(const struct failure *f)
{
    return f->n_delayed * sizeof(struct delayed) + f->delayed_bytes + f->broken.size;
}
