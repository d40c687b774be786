#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/session.h"

static struct mqtt_state *state_get(struct mqtt_session *s)
{
    if (s->state)
        return s->state;
    struct mqtt_state *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    st->tail = st->cursor = &st->head;
    st->requests_tail = &st->requests;
    st->bytes = sizeof *st;
    return s->state = st;
}

static size_t out_bytes(const struct mqtt_out *out)
{
    return sizeof *out + out->topic_len + out->properties_len + out->payload_len;
}

static uint32_t content_bytes(const struct mqtt_out *out)
{
    return out->topic_len + out->properties_len + out->payload_len;
}

void mqtt_session_destroy(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    if (!st)
        return;
    for (struct mqtt_out *o = st->head, *next; o; o = next) {
        next = o->next;
        free(o);
    }
    for (struct mqtt_request *r = st->requests, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    for (struct mqtt_sub *sub = st->subs, *next; sub; sub = next) {
        next = sub->next;
        free(sub);
    }
    free(st->received);
    free(st);
    s->state = NULL;
}

void mqtt_session_trim(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    if (st && !st->head && !st->requests && !st->subs && !st->n_received)
        mqtt_session_destroy(s);
}

static bool id_in_use(const struct mqtt_state *st, uint16_t id)
{
    for (const struct mqtt_out *o = st->head; o && o->packet_id; o = o->next)
        if (o->packet_id == id)
            return true;
    for (const struct mqtt_request *r = st->requests; r; r = r->next)
        if (r->packet_id == id)
            return true;
    return false;
}

// There are always free ones: the window is below 65,535 - MQTT_MAX_REQUESTS - MQTT_MAX_SUBS.
static uint16_t id_next(struct mqtt_session *s)
{
    do
        s->last_id = (uint16_t)(s->last_id + 1);
    while (!s->last_id || id_in_use(s->state, s->last_id));
    return s->last_id;
}

// Takes the message out of the list at *at.
static struct mqtt_out *take(struct mqtt_state *st, struct mqtt_out **at, bool sent)
{
    struct mqtt_out *o = *at;
    *at = o->next;
    if (st->tail == &o->next)
        st->tail = at;
    if (st->cursor == &o->next)
        st->cursor = at;
    o->next = NULL;
    st->n_out--;
    if (sent)
        st->n_sent--;
    if (o->packet_id)
        st->n_ids--;
    else
        st->queued_bytes -= content_bytes(o);
    st->bytes -= out_bytes(o);
    return o;
}

static bool fits(const struct mqtt_queue_limits *limits, uint32_t n, uint32_t queued, uint32_t bytes)
{
    return n < limits->max_messages && queued <= limits->max_bytes && bytes <= limits->max_bytes - queued;
}

// Is there room, after dropping so many of the oldest that were never sent?
static bool room(const struct mqtt_state *st, const struct mqtt_queue_limits *limits, uint32_t bytes, uint32_t *drops)
{
    const struct mqtt_out *o = st->head;
    uint32_t n = st->n_out - st->n_ids, queued = st->queued_bytes;
    *drops = 0;
    while (o && o->packet_id)
        o = o->next;
    while (!fits(limits, n, queued, bytes)) {
        if (!limits->drop_oldest || !o)
            return false;
        n--;
        queued -= content_bytes(o);
        (*drops)++;
        o = o->next;
    }
    return true;
}

static void drop(struct mqtt_state *st, uint32_t n, struct mqtt_out **dropped)
{
    struct mqtt_out **at = &st->head;
    while (n && (*at)->packet_id)
        at = &(*at)->next;
    while (n--) {
        *dropped = take(st, at, false);
        dropped = &(*dropped)->next;
    }
}

// Takes out those without a packet id that have expired; returns the end of the list.
static struct mqtt_out **drop_expired(struct mqtt_state *st, int64_t now_us, struct mqtt_out **dropped)
{
    struct mqtt_out **at = &st->head;
    while (*at && (*at)->packet_id)
        at = &(*at)->next;
    while (*at)
        if (mqtt_out_expired(*at, now_us)) {
            *dropped = take(st, at, false);
            (*dropped)->expired = true;
            dropped = &(*dropped)->next;
        } else {
            at = &(*at)->next;
        }
    return dropped;
}

int mqtt_session_queue(struct mqtt_session *s, const struct mqtt_queue_limits *limits, const struct mqtt_publish *m,
                       const struct mqtt_more *more, uint32_t token, int64_t now_us, bool sendable,
                       struct mqtt_out **dropped, struct error *err)
{
    const struct mqtt5_properties *properties =
        more && more->properties && more->properties->present ? more->properties : NULL;
    size_t properties_len = properties ? mqtt5_properties_size(properties, err) : 0;
    if (properties && !properties_len)
        return -1;
    struct mqtt_state *st = state_get(s);
    uint32_t drops = 0;
    *dropped = NULL;
    if (!st)
        return error_set(err, ERR_NO_MEMORY, "no memory for a message");
    if (m->payload_len > MQTT_MAX_REMAINING)
        return error_set(err, ERR_LIMIT, "a payload of %zu bytes does not fit into a packet", m->payload_len);
    bool direct = sendable && !*st->cursor && st->n_sent < limits->window;
    uint32_t bytes = (uint32_t)(m->topic_len + properties_len + m->payload_len);
    if (!direct && !fits(limits, st->n_out - st->n_ids, st->queued_bytes, bytes))
        dropped = drop_expired(st, now_us, dropped);
    if (!direct && !room(st, limits, bytes, &drops)) {
        error_set(err, ERR_LIMIT, "the queue is full: %u messages, %u bytes wait (at most %u and %u)",
                  st->n_out - st->n_ids, st->queued_bytes, limits->max_messages, limits->max_bytes);
        mqtt_session_trim(s);
        return -1;
    }
    struct mqtt_out *o = malloc(sizeof *o + bytes);
    if (!o) {
        mqtt_session_trim(s);
        return error_set(err, ERR_NO_MEMORY, "no memory for a message");
    }
    *o = (struct mqtt_out){.accepted_us = now_us,
                           .token = token,
                           .payload_len = (uint32_t)m->payload_len,
                           .properties_len = (uint32_t)properties_len,
                           .alias = more && more->alias,
                           .exchange = more && more->exchange,
                           .expires = properties && mqtt5_has(properties, MQTT5_MESSAGE_EXPIRY),
                           .topic_len = (uint16_t)m->topic_len,
                           .qos = m->qos,
                           .retain = m->retain};
    if (o->expires)
        o->expiry_s = properties->message_expiry;
    memcpy(o->bytes, m->topic, m->topic_len);
    if (properties)
        mqtt5_properties_encode(o->bytes + m->topic_len, properties);
    if (m->payload_len)
        memcpy(o->bytes + m->topic_len + properties_len, m->payload, m->payload_len);
    drop(st, drops, dropped);
    *st->tail = o;
    st->tail = &o->next;
    st->n_out++;
    st->queued_bytes += bytes;
    st->bytes += out_bytes(o);
    return 0;
}

struct mqtt_out *mqtt_session_next(struct mqtt_session *s, uint32_t window)
{
    struct mqtt_state *st = s->state;
    if (!st || !*st->cursor || st->n_sent >= window)
        return NULL;
    struct mqtt_out *o = *st->cursor;
    if (!o->packet_id) {
        o->packet_id = id_next(s);
        st->n_ids++;
        st->queued_bytes -= content_bytes(o);
    }
    return o;
}

struct mqtt_out *mqtt_session_skip(struct mqtt_session *s)
{
    return take(s->state, s->state->cursor, false);
}

void mqtt_session_sent(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    (*st->cursor)->resend = (*st->cursor)->was_sent = true;
    st->cursor = &(*st->cursor)->next;
    st->n_sent++;
}

void mqtt_session_rewind(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    if (!st)
        return;
    st->cursor = &st->head;
    st->n_sent = 0;
}

void mqtt_session_renew(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    if (!st)
        return;
    for (struct mqtt_out *o = st->head; o && o->packet_id; o = o->next)
        o->resend = o->released = false;
    free(st->received);
    st->received = NULL;
    st->bytes -= st->received_size * sizeof *st->received;
    st->n_received = st->received_size = 0;
    mqtt_session_trim(s);
}

struct mqtt_out *mqtt_session_reject(struct mqtt_session *s, bool (*fn)(void *arg, const struct mqtt_out *out),
                                     void *arg)
{
    struct mqtt_state *st = s->state;
    if (!st)
        return NULL;
    bool sent = true; // in front of the cursor
    for (struct mqtt_out **at = &st->head; *at; at = &(*at)->next) {
        if (at == st->cursor)
            sent = false;
        if (!(*at)->released && fn(arg, *at))
            return take(st, at, sent);
    }
    return NULL;
}

enum mqtt_acked mqtt_session_ack(struct mqtt_session *s, enum mqtt_type type, uint16_t packet_id, bool failed,
                                 struct mqtt_out **out)
{
    struct mqtt_state *st = s->state;
    *out = NULL;
    if (!st)
        return MQTT_ACK_UNKNOWN;
    bool sent = true; // in front of the cursor
    struct mqtt_out **at = &st->head;
    for (; *at && (*at)->packet_id; at = &(*at)->next) {
        if (at == st->cursor)
            sent = false;
        if ((*at)->packet_id == packet_id)
            break;
    }
    struct mqtt_out *o = *at;
    if (!o || o->packet_id != packet_id)
        return MQTT_ACK_UNKNOWN;
    bool wrong = (type == MQTT_PUBACK) != (o->qos == 1) || (type == MQTT_PUBCOMP && !o->released);
    if (wrong && !sent)
        return MQTT_ACK_UNKNOWN; // meant for whoever had the id before
    if (!wrong && type == MQTT_PUBREC && !failed) {
        o->released = true;
        return MQTT_ACK_RELEASE;
    }
    *out = take(st, at, sent);
    return wrong ? MQTT_ACK_WRONG : MQTT_ACK_DONE;
}

struct mqtt_out *mqtt_session_pop(struct mqtt_session *s)
{
    struct mqtt_state *st = s->state;
    return st && st->head ? take(st, &st->head, st->cursor != &st->head) : NULL;
}

uint32_t mqtt_session_count(const struct mqtt_session *s)
{
    return s->state ? s->state->n_out : 0;
}

struct mqtt_request *mqtt_session_request(struct mqtt_session *s, enum mqtt_type type, const char *filter, size_t len,
                                          const struct mqtt_sub_options *with, struct error *err)
{
    struct mqtt_state *st = state_get(s);
    struct mqtt_request *r = st ? malloc(sizeof *r + len) : NULL;
    if (!r) {
        mqtt_session_trim(s);
        error_set(err, ERR_NO_MEMORY, "no memory for a subscription");
        return NULL;
    }
    *r = (struct mqtt_request){
        .type = (uint8_t)type, .with = *with, .filter_len = (uint16_t)len, .packet_id = id_next(s)};
    memcpy(r->filter, filter, len);
    *st->requests_tail = r;
    st->requests_tail = &r->next;
    st->n_requests++;
    st->bytes += sizeof *r + len;
    return r;
}

static struct mqtt_request *request_take(struct mqtt_state *st, struct mqtt_request **at)
{
    struct mqtt_request *r = *at;
    *at = r->next;
    if (st->requests_tail == &r->next)
        st->requests_tail = at;
    r->next = NULL;
    st->n_requests--;
    st->bytes -= sizeof *r + r->filter_len;
    return r;
}

struct mqtt_request *mqtt_session_answer(struct mqtt_session *s, enum mqtt_type type, uint16_t packet_id)
{
    struct mqtt_state *st = s->state;
    if (!st)
        return NULL;
    for (struct mqtt_request **at = &st->requests; *at; at = &(*at)->next)
        if (!packet_id || ((*at)->packet_id == packet_id && (*at)->type == type))
            return request_take(st, at);
    return NULL;
}

void mqtt_session_forget(struct mqtt_session *s, struct mqtt_request *r)
{
    for (struct mqtt_request **at = &s->state->requests; *at; at = &(*at)->next)
        if (*at == r) {
            free(request_take(s->state, at));
            break;
        }
    mqtt_session_trim(s);
}

static struct mqtt_sub **sub_find(const struct mqtt_state *st, const char *filter, size_t len)
{
    struct mqtt_sub **at = (struct mqtt_sub **)&st->subs;
    while (*at && ((*at)->filter_len != len || memcmp((*at)->filter, filter, len) != 0))
        at = &(*at)->next;
    return at;
}

bool mqtt_session_sub_room(const struct mqtt_session *s, const char *filter, size_t len)
{
    const struct mqtt_state *st = s->state;
    return !st || *sub_find(st, filter, len) ||
           (st->n_subs < MQTT_MAX_SUBS && st->sub_bytes + len <= MQTT_MAX_SUB_BYTES);
}

int mqtt_session_subscribed(struct mqtt_session *s, const char *filter, size_t len, const struct mqtt_sub_options *with,
                            struct error *err)
{
    struct mqtt_state *st = state_get(s);
    if (!st)
        return error_set(err, ERR_NO_MEMORY, "no memory for a subscription");
    struct mqtt_sub **at = sub_find(st, filter, len);
    if (*at) {
        (*at)->with = *with;
        return 0;
    }
    if (!mqtt_session_sub_room(s, filter, len))
        return error_set(err, ERR_LIMIT, "more than %u subscriptions or %u bytes of filters", MQTT_MAX_SUBS,
                         MQTT_MAX_SUB_BYTES);
    struct mqtt_sub *sub = malloc(sizeof *sub + len);
    if (!sub)
        return error_set(err, ERR_NO_MEMORY, "no memory for a subscription");
    *sub = (struct mqtt_sub){.filter_len = (uint16_t)len, .with = *with};
    memcpy(sub->filter, filter, len);
    *at = sub;
    st->n_subs++;
    st->sub_bytes += (uint32_t)len;
    st->bytes += sizeof *sub + len;
    return 0;
}

void mqtt_session_unsubscribed(struct mqtt_session *s, const char *filter, size_t len)
{
    struct mqtt_state *st = s->state;
    struct mqtt_sub **at = st ? sub_find(st, filter, len) : NULL;
    if (!at || !*at)
        return;
    struct mqtt_sub *sub = *at;
    *at = sub->next;
    st->n_subs--;
    st->sub_bytes -= (uint32_t)len;
    st->bytes -= sizeof *sub + len;
    free(sub);
    mqtt_session_trim(s);
}

// Place of the id, or where it would be.
static uint32_t received_place(const struct mqtt_state *st, uint16_t id)
{
    uint32_t low = 0, high = st->n_received;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (st->received[mid] < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int mqtt_session_received(struct mqtt_session *s, uint16_t packet_id)
{
    struct mqtt_state *st = state_get(s);
    if (!st)
        return -1;
    uint32_t at = received_place(st, packet_id);
    if (at < st->n_received && st->received[at] == packet_id)
        return 0;
    if (st->n_received == st->received_size) {
        uint32_t size = st->received_size ? st->received_size * 2 : 8;
        uint16_t *grown = realloc(st->received, size * sizeof *grown);
        if (!grown)
            return -1;
        st->bytes += (size - st->received_size) * sizeof *grown;
        st->received = grown;
        st->received_size = size;
    }
    memmove(st->received + at + 1, st->received + at, (st->n_received - at) * sizeof *st->received);
    st->received[at] = packet_id;
    st->n_received++;
    return 1;
}

bool mqtt_session_released(struct mqtt_session *s, uint16_t packet_id)
{
    struct mqtt_state *st = s->state;
    uint32_t at = st ? received_place(st, packet_id) : 0;
    if (!st || at == st->n_received || st->received[at] != packet_id)
        return false;
    st->n_received--;
    memmove(st->received + at, st->received + at + 1, (st->n_received - at) * sizeof *st->received);
    mqtt_session_trim(s);
    return true;
}

size_t mqtt_session_footprint(const struct mqtt_session *s)
{
    return s->state ? s->state->bytes : 0;
}
