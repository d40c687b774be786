#include "device/gateway_batch.h"

#include <string.h>
#include "device/gateway.h"
#include "device/internal.h"
#include "telemetry/json_text.h"

void batch_writer_create(struct batch_writer *w)
{
    buf_create(&w->element, GATEWAY_MAX_PENDING);
    buf_create(&w->message, GATEWAY_MAX_PENDING + 2);
    buf_create(&w->topic, FLEET_MAX_TEXT);
}

void batch_writer_destroy(struct batch_writer *w)
{
    buf_destroy(&w->element);
    buf_destroy(&w->message);
    buf_destroy(&w->topic);
}

void batch_create(struct batch *b, struct batch_writer *w, struct device *gateway)
{
    b->writer = w;
    b->gateway = gateway;
    buf_create(&b->waiting, 2 * GATEWAY_MAX_PENDING); // of which the front is free as soon as it is the larger part
}

void batch_destroy(struct batch *b)
{
    loop_timer_stop(b->gateway->group->fleet->config.env.loop, &b->timer);
    buf_destroy(&b->waiting);
}

// --- what waits ---------------------------------------------------------------------------------------------------

static uint32_t length_at(const struct batch *b, uint32_t at)
{
    uint32_t n;
    memcpy(&n, b->waiting.data + at, sizeof(n));
    return n;
}

static void take_oldest(struct batch *b)
{
    b->head += length_at(b, b->head) + (uint32_t)sizeof(uint32_t);
    if (--b->n)
        return;
    b->head = 0;
    buf_clear(&b->waiting);
}

static int store(struct batch *b, const struct buf *element, struct error *err)
{
    uint32_t n = element->len, need = n + (uint32_t)sizeof(n);
    if (need > GATEWAY_MAX_PENDING) {
        counter_add(b->writer->dropped, 1);
        return error_set(err, ERR_LIMIT, "a message of a gateway's child takes more than %d bytes",
                         GATEWAY_MAX_PENDING);
    }
    while (b->n && b->waiting.len - b->head + need > GATEWAY_MAX_PENDING) {
        take_oldest(b);
        counter_add(b->writer->dropped, 1);
    }
    if (b->head > GATEWAY_MAX_PENDING / 2) {
        buf_consume(&b->waiting, b->head);
        b->head = 0;
    }
    if (!buf_reserve(&b->waiting, need) || buf_append(&b->waiting, &n, sizeof(n)) ||
        buf_append(&b->waiting, element->data, n)) {
        counter_add(b->writer->dropped, 1);
        return error_set(err, ERR_NO_MEMORY, "no memory for the messages of a gateway's children");
    }
    b->n++;
    return 0;
}

// --- sending ------------------------------------------------------------------------------------------------------

static const struct model_children *spec_of(const struct batch *b)
{
    return b->gateway->group->config.model->children;
}

// At most maxMessages of the oldest into writer->message; how many.
static unsigned compose(const struct batch *b, uint32_t *end)
{
    struct buf *out = &b->writer->message;
    unsigned n = 0, most = spec_of(b)->max_messages;
    uint32_t at = b->head;
    buf_clear(out);
    while (n < b->n && n < most) {
        uint32_t len = length_at(b, at);
        // An element is shorter than what it takes while it waits: all that waits fits, with its commas and brackets.
        if (buf_append_char(out, n ? ',' : '[') || buf_append(out, b->waiting.data + at + sizeof(len), len))
            return 0;
        at += len + (uint32_t)sizeof(len);
        n++;
    }
    *end = at;
    return buf_append_char(out, ']') ? 0 : n;
}

static bool online(const struct device *d)
{
    return device_online(d);
}

// One batch. false: it could not go out; what waits stays.
static bool send_one(struct batch *b)
{
    struct device *d = b->gateway;
    struct batch_writer *w = b->writer;
    struct error err = {0};
    uint32_t end;
    unsigned n = online(d) ? compose(b, &end) : 0;
    buf_clear(&w->topic);
    if (!n)
        return false;
    struct adapter_message m = {
        .payload = w->message.data, .payload_len = w->message.len, .qos = (uint8_t)d->group->config.model->qos};
    int failed = device_render(d, spec_of(b)->topic, NULL, &w->topic, &err);
    m.topic = (const char *)w->topic.data;
    m.topic_len = w->topic.len;
    if (failed || tap_forward(d, &m, &err)) {
        if (failed || err.code == ERR_INVALID)
            device_fail(d, err.text);
        return false;
    }
    counter_add(w->sent, 1);
    // device_publish may have told somebody who stopped the gateway: then nothing waits any more.
    while (n-- && b->n)
        take_oldest(b);
    return true;
}

static void due(struct timer *t, void *arg)
{
    struct batch *b = container_of(t, struct batch, timer);
    (void)arg;
    batch_flush(b);
}

static void arm(struct batch *b)
{
    loop_timer_start(b->gateway->group->fleet->config.env.loop, &b->timer, spec_of(b)->interval_us, due);
}

static void disarm(struct batch *b)
{
    loop_timer_stop(b->gateway->group->fleet->config.env.loop, &b->timer);
}

void batch_flush(struct batch *b)
{
    while (b->n && send_one(b))
        ;
    if (b->n)
        arm(b); // refused: tried again
    else
        disarm(b);
}

void batch_end(struct batch *b)
{
    while (b->n && b->gateway->state == DEVICE_STOPPING && send_one(b))
        ;
    counter_add(b->writer->dropped, b->n);
    b->n = 0;
    b->head = 0;
    buf_clear(&b->waiting);
    disarm(b);
}

// --- one message --------------------------------------------------------------------------------------------------

static bool is_text(const uint8_t *s, size_t n)
{
    while (n) {
        size_t k = utf8_length(s, n);
        if (!k)
            return false;
        s += k;
        n -= k;
    }
    return true;
}

static int write_payload(struct buf *out, const struct adapter_message *m)
{
    if (json_text_valid(m->payload, m->payload_len))
        return buf_append_str(out, ",\"payload\":") || buf_append(out, m->payload, m->payload_len) ? -1 : 0;
    if (is_text(m->payload, m->payload_len))
        return buf_append_str(out, ",\"payload\":") ||
                       buf_append_json_string(out, (const char *)m->payload, m->payload_len)
                   ? -1
                   : 0;
    return buf_append_str(out, ",\"encoding\":\"base64\",\"payload\":\"") ||
                   buf_append_base64(out, m->payload, m->payload_len) || buf_append_char(out, '"')
               ? -1
               : 0;
}

static int write_element(struct batch_writer *w, const struct device *child, const struct adapter_message *m)
{
    struct buf *out = &w->element;
    buf_clear(out);
    buf_clear(&w->topic);
    return device_name(child, &w->topic) || buf_append_str(out, "{\"device\":") ||
                   buf_append_json_string(out, (const char *)w->topic.data, w->topic.len) ||
                   buf_append_str(out, ",\"topic\":") || buf_append_json_string(out, m->topic, m->topic_len) ||
                   buf_append_str(out, ",\"at\":") || buf_append_int(out, device_wall_us(child) / 1000) ||
                   write_payload(out, m) || buf_append_char(out, '}')
               ? -1
               : 0;
}

int batch_add(struct batch *b, struct device *child, const struct adapter_message *m, struct error *err)
{
    struct batch_writer *w = b->writer;
    if (write_element(w, child, m)) {
        counter_add(w->dropped, 1);
        return error_set(err, ERR_LIMIT, "a message of a gateway's child takes more than %d bytes",
                         GATEWAY_MAX_PENDING);
    }
    // Sent before it would push the oldest out.
    if (b->n && b->waiting.len - b->head + w->element.len + sizeof(uint32_t) > GATEWAY_MAX_PENDING)
        batch_flush(b);
    bool first = !b->n;
    if (store(b, &w->element, err))
        return -1;
    if (first)
        arm(b);
    if (b->n >= spec_of(b)->max_messages && online(b->gateway))
        batch_flush(b);
    return 0;
}
