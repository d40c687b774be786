#include "adapter/mqtt/exchange.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/auth.h"
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/topic.h"
#include "core/units.h"

#define CORRELATION_LEN 8u // nonce of the connection object, number of the request
#define DEFAULT_BASE "iotix/responses"

struct mqtt_exchange {
    struct timer timer; // its deadline
    struct mqtt_conn *conn;
    struct mqtt_exchange *next;
    int64_t since_us, timeout_us;
    struct lag lag; // until since_us
    uint32_t token;
    uint32_t number;
    bool auth; // a re-authentication, no message
    bool held; // not published yet: bytes are topic, encoded properties, payload
    uint8_t qos;
    uint16_t topic_len;
    uint32_t properties_len, payload_len;
    uint8_t bytes[];
};

static size_t exchange_bytes(const struct mqtt_exchange *e)
{
    return sizeof *e + e->topic_len + e->properties_len + e->payload_len;
}

size_t mqtt_exchanges_footprint(const struct mqtt_extra *x)
{
    size_t n = 0;
    for (const struct mqtt_exchange *e = x->exchanges; e; e = e->next)
        n += exchange_bytes(e);
    return n;
}

static void unlink_exchange(struct mqtt_exchange **at)
{
    struct mqtt_exchange *e = *at;
    *at = e->next;
    e->conn->extra->n_exchanges--;
    loop_timer_stop(e->conn->target->env.loop, &e->timer);
}

// Takes it out, counts, tells, frees.
static void finish(struct mqtt_exchange **at, struct adapter_response *response, const struct error *why)
{
    struct mqtt_exchange *e = *at;
    struct mqtt_conn *c = e->conn;
    struct mqtt_series *s = &c->target->series;
    uint32_t token = e->token;
    unlink_exchange(at);
    rate_add(s->request_errors, why != NULL);
    if (response) {
        response->latency_us = loop_fresh_us(c->target->env.loop) - e->since_us;
        response->attempts = 1;
        trend_add_lagged(s->request_latency, s->request_latency_raw, response->latency_us, &e->lag);
    }
    free(e);
    if (!(c->flags & MQTT_DOOMED) && c->events->on_response)
        c->events->on_response(c->owner, token, response, why);
}

static void on_deadline(struct timer *timer, void *loop)
{
    struct mqtt_exchange *e = container_of(timer, struct mqtt_exchange, timer);
    struct mqtt_conn *c = e->conn;
    struct error why;
    char limit[32];
    (void)loop;
    struct mqtt_exchange **at = &c->extra->exchanges;
    while (*at != e)
        at = &(*at)->next;
    error_set(&why, ERR_TIMEOUT, "no %s within %s", e->auth ? "end of the authentication" : "response",
              duration_format(e->timeout_us, limit, sizeof limit));
    mqtt_conn_enter(c);
    finish(at, NULL, &why);
    mqtt_conn_leave(c);
}

static struct mqtt_exchange *exchange_new(struct mqtt_conn *c, size_t extra_bytes, uint32_t token, int64_t timeout_us,
                                          struct error *err)
{
    struct mqtt_extra *x = c->extra;
    if (x->n_exchanges >= MQTT_MAX_EXCHANGES) {
        error_set(err, ERR_LIMIT, "%u requests wait for their responses already", MQTT_MAX_EXCHANGES);
        return NULL;
    }
    struct mqtt_exchange *e = calloc(1, sizeof *e + extra_bytes);
    if (!e) {
        error_set(err, ERR_NO_MEMORY, "no memory for a request");
        return NULL;
    }
    e->conn = c;
    e->token = token;
    e->timeout_us = timeout_us > 0 ? timeout_us : c->target->options.timeout_us;
    e->since_us = loop_fresh_us(c->target->env.loop);
    loop_lag(c->target->env.loop, e->since_us, &e->lag);
    return e;
}

static void exchange_start(struct mqtt_exchange *e)
{
    struct mqtt_extra *x = e->conn->extra;
    e->next = x->exchanges;
    x->exchanges = e;
    x->n_exchanges++;
    counter_add(e->conn->target->series.requests, 1);
    loop_timer_start(e->conn->target->env.loop, &e->timer, e->timeout_us, on_deadline);
}

// --- the response topic

static int make_response_topic(struct mqtt_conn *c, struct error *err)
{
    struct mqtt_extra *x = c->extra;
    struct buf *b = &c->target->scratch;
    const char *base = c->target->options.response_topic ? c->target->options.response_topic
                       : x->response_info.data           ? x->response_info.data
                                                         : DEFAULT_BASE;
    buf_clear(b);
    int rc = buf_append_str(b, base);
    if (rc == 0 && b->len && b->data[b->len - 1] != '/')
        rc = buf_append_char(b, '/');
    uint32_t start = b->len;
    if (rc < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory for a response topic");
    if (c->identity->field && c->identity->field(c->owner, FIELD_CLIENT_ID, b, err) < 0)
        return -1;
    if (b->len == start && x->client_id && buf_append_str(b, x->client_id) < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory for a response topic");
    for (uint32_t i = start; i < b->len; i++) // a client id is one level
        if (b->data[i] == '/' || b->data[i] == '+' || b->data[i] == '#')
            b->data[i] = '_';
    if (mqtt_topic_check((const char *)b->data, b->len, err) < 0)
        return error_prefix(err, "the response topic");
    x->response_topic = malloc(b->len);
    if (!x->response_topic)
        return error_set(err, ERR_NO_MEMORY, "no memory for a response topic");
    memcpy(x->response_topic, b->data, b->len);
    x->response_topic_len = b->len;
    c->flags |= MQTT_WATCHED;
    return 0;
}

static int want_responses(struct mqtt_conn *c, struct error *err)
{
    struct mqtt_extra *x = c->extra;
    if (x->response != MQTT_RESPONSE_NONE)
        return 0;
    if (!x->response_topic && make_response_topic(c, err) < 0)
        return -1;
    if (mqtt_send_own_subscription(c, x->response_topic, x->response_topic_len, err) < 0)
        return error_prefix(err, "subscribing to the response topic");
    x->response = MQTT_RESPONSE_ASKED;
    return 0;
}

// --- a request

struct wish { // what a request comes to
    struct mqtt_publish m;
    struct mqtt5_properties p;
    uint8_t correlation[CORRELATION_LEN];
};

static int read_options(const json_t *options, struct wish *w, struct error *err)
{
    static const char *const valid[] = {"qos", "contentType", "expiry", NULL};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)options, key, v)
    {
        double d = json_number_value(v);
        if (strcmp(key, "qos") == 0) {
            if (!json_is_number(v) || (d != 0 && d != 1 && d != 2))
                return error_set(err, ERR_INVALID, "request option qos: expected 0, 1 or 2");
            w->m.qos = (uint8_t)d;
        } else if (strcmp(key, "contentType") == 0) {
            if (!json_is_string(v))
                return error_set(err, ERR_INVALID, "request option contentType: expected a text");
            w->p.content_type = (struct mqtt_text){json_string_value(v), json_string_length(v)};
            mqtt5_set(&w->p, MQTT5_CONTENT_TYPE);
        } else if (strcmp(key, "expiry") == 0) {
            if (!json_is_number(v) || !(d >= 0 && d <= UINT32_MAX) || d != floor(d))
                return error_set(err, ERR_INVALID, "request option expiry: expected a whole number of seconds");
            w->p.message_expiry = (uint32_t)d;
            mqtt5_set(&w->p, MQTT5_MESSAGE_EXPIRY);
        } else {
            return error_unknown(err, "request option", key, valid);
        }
    }
    return 0;
}

static void correlation_of(const struct mqtt_extra *x, uint32_t number, uint8_t out[CORRELATION_LEN])
{
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (uint8_t)(x->nonce >> (24 - 8 * i));
        out[4 + i] = (uint8_t)(number >> (24 - 8 * i));
    }
}

static int make_wish(struct mqtt_conn *c, const struct adapter_request *r, struct wish *w, struct error *err)
{
    struct mqtt_extra *x = c->extra;
    *w = (struct wish){.m = {.topic = r->path,
                             .topic_len = r->path_len,
                             .payload = r->payload,
                             .payload_len = r->payload_len,
                             .qos = 1}};
    if (read_options(r->options, w, err) < 0 || mqtt_topic_check(r->path, r->path_len, err) < 0)
        return -1;
    if (r->n_headers > MQTT5_USER_MAX)
        return error_set(err, ERR_LIMIT, "a request has at most %u headers, this one %u", MQTT5_USER_MAX, r->n_headers);
    if (!x->nonce) // others than those of an earlier run, which a session may have kept
        x->nonce = (uint32_t)loop_wall_us(c->target->env.loop) | 1;
    if (!++x->last_exchange)
        x->last_exchange = 1;
    correlation_of(x, x->last_exchange, w->correlation);
    w->p.correlation_data = (struct mqtt_text){(const char *)w->correlation, CORRELATION_LEN};
    w->p.response_topic = (struct mqtt_text){x->response_topic, x->response_topic_len};
    mqtt5_set(&w->p, MQTT5_CORRELATION_DATA);
    mqtt5_set(&w->p, MQTT5_RESPONSE_TOPIC);
    if (r->n_headers) {
        w->p.user = (struct adapter_property *)(uintptr_t)r->headers; // borrowed for encoding
        w->p.n_user = r->n_headers;
        mqtt5_set(&w->p, MQTT5_USER_PROPERTY);
    }
    return 0;
}

static int publish_wish(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt5_properties *p,
                        uint32_t number, struct error *err)
{
    const struct mqtt_more more = {.properties = p, .exchange = true};
    return mqtt_publish_with(c, m, &more, number, err);
}

// Keeps the message until the response topic is subscribed.
static struct mqtt_exchange *hold(struct mqtt_conn *c, const struct wish *w, uint32_t token, int64_t timeout_us,
                                  struct error *err)
{
    size_t properties = mqtt5_properties_size(&w->p, err);
    size_t size = properties ? mqtt5_publish_size(&w->m, &w->p, err) : 0;
    if (!size || mqtt_server_takes(c, w->m.qos, false, size, err) < 0)
        return NULL;
    struct mqtt_exchange *e = exchange_new(c, w->m.topic_len + properties + w->m.payload_len, token, timeout_us, err);
    if (!e)
        return NULL;
    e->held = true;
    e->qos = w->m.qos;
    e->topic_len = (uint16_t)w->m.topic_len;
    e->properties_len = (uint32_t)properties;
    e->payload_len = (uint32_t)w->m.payload_len;
    memcpy(e->bytes, w->m.topic, w->m.topic_len);
    uint8_t *end = mqtt5_properties_encode(e->bytes + w->m.topic_len, &w->p);
    if (w->m.payload_len)
        memcpy(end, w->m.payload, w->m.payload_len);
    return e;
}

int mqtt_exchange(struct adapter_conn *conn, const struct adapter_request *r, uint32_t token, struct error *err)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    struct wish w;
    if (!mqtt_conn_is5(c))
        return error_set(err, ERR_UNSUPPORTED, "requests: only MQTT 5 has them, set version = \"5\"");
    if (c->state != MQTT_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    if (r->method && strcmp(r->method, "AUTH") == 0)
        return mqtt_auth_again(c, token, r->timeout_us, err);
    if (r->method && *r->method && strcmp(r->method, "PUBLISH") != 0)
        return error_set(err, ERR_INVALID, "method \"%.20s\": requests of MQTT are PUBLISH (or AUTH)", r->method);
    if (want_responses(c, err) < 0 || make_wish(c, r, &w, err) < 0)
        return -1;
    uint32_t number = c->extra->last_exchange;
    bool ready = c->extra->response == MQTT_RESPONSE_READY;
    struct mqtt_exchange *e =
        ready ? exchange_new(c, 0, token, r->timeout_us, err) : hold(c, &w, token, r->timeout_us, err);
    if (!e)
        return -1;
    if (ready && publish_wish(c, &w.m, &w.p, number, err) < 0) {
        free(e);
        return -1;
    }
    e->number = number;
    exchange_start(e);
    return 0;
}

void mqtt_exchange_cancel(struct mqtt_conn *c, uint32_t token)
{
    if (!c->extra)
        return;
    for (struct mqtt_exchange **at = &c->extra->exchanges; *at; at = &(*at)->next)
        if ((*at)->token == token) {
            struct mqtt_exchange *e = *at;
            unlink_exchange(at);
            free(e);
            return;
        }
}

void mqtt_exchanges_end(struct mqtt_conn *c, const struct error *why)
{
    // Only those of now: the owner may be told and ask anew.
    unsigned n = c->extra ? c->extra->n_exchanges : 0;
    for (; n && c->extra->exchanges; n--) {
        struct mqtt_exchange **at = &c->extra->exchanges;
        while ((*at)->next) // the oldest first
            at = &(*at)->next;
        finish(at, NULL, why);
    }
}

static struct mqtt_exchange **find_number(struct mqtt_conn *c, uint32_t number)
{
    struct mqtt_exchange **at = &c->extra->exchanges;
    while (*at && ((*at)->auth || (*at)->number != number))
        at = &(*at)->next;
    return at;
}

void mqtt_exchange_unsent(struct mqtt_conn *c, uint32_t number, const struct error *why)
{
    struct mqtt_exchange **at = find_number(c, number);
    if (*at)
        finish(at, NULL, why);
}

static int publish_held(struct mqtt_conn *c, struct mqtt_exchange *e, struct error *err)
{
    struct adapter_property user[MQTT5_USER_MAX];
    struct mqtt5_properties p = {.user = user};
    const struct mqtt_publish m = {.topic = (const char *)e->bytes,
                                   .topic_len = e->topic_len,
                                   .payload = e->bytes + e->topic_len + e->properties_len,
                                   .payload_len = e->payload_len,
                                   .qos = e->qos};
    const uint8_t *at = e->bytes + e->topic_len;
    uint8_t reason;
    int64_t waited_us = loop_now_us(c->target->env.loop) - e->since_us;
    e->held = false;
    if (mqtt5_properties_decode(MQTT_PUBLISH, false, &at, at + e->properties_len, &p, &reason, err) < 0)
        return -1;
    if (mqtt5_has(&p, MQTT5_MESSAGE_EXPIRY)) {
        if (waited_us > 0 && waited_us >= p.message_expiry * (int64_t)1000000)
            return error_set(err, ERR_TIMEOUT, "its expiry of %u s passed before the response topic was subscribed",
                             p.message_expiry);
        p.message_expiry = mqtt_expiry_left(p.message_expiry, waited_us);
    }
    return publish_wish(c, &m, &p, e->number, err);
}

// The oldest one that is held.
static struct mqtt_exchange **find_held(struct mqtt_conn *c)
{
    struct mqtt_exchange **oldest = NULL;
    for (struct mqtt_exchange **at = &c->extra->exchanges; *at; at = &(*at)->next)
        if ((*at)->held)
            oldest = at;
    return oldest;
}

void mqtt_exchange_subscribed(struct mqtt_conn *c, const struct error *why)
{
    struct mqtt_exchange **at;
    struct error err;
    c->extra->response = why ? MQTT_RESPONSE_NONE : MQTT_RESPONSE_READY;
    while (mqtt_conn_up(c) && (at = find_held(c)))
        if (why)
            finish(at, NULL, why);
        else if (publish_held(c, *at, &err) < 0)
            finish(at, NULL, &err);
}

bool mqtt_exchange_response(struct mqtt_conn *c, const struct mqtt_publish *p, const struct mqtt5_properties *with)
{
    struct mqtt_extra *x = c->extra;
    if (!x->response_topic || p->topic_len != x->response_topic_len ||
        memcmp(p->topic, x->response_topic, p->topic_len) != 0)
        return false;
    struct mqtt_exchange **at = NULL;
    uint8_t expected[CORRELATION_LEN];
    counter_add(c->target->series.messages_received, 1);
    if (mqtt5_has(with, MQTT5_CORRELATION_DATA) && with->correlation_data.len == CORRELATION_LEN) {
        const uint8_t *d = (const uint8_t *)with->correlation_data.data;
        uint32_t number = (uint32_t)d[4] << 24 | (uint32_t)d[5] << 16 | (uint32_t)d[6] << 8 | d[7];
        correlation_of(x, number, expected);
        at = memcmp(d, expected, CORRELATION_LEN) == 0 ? find_number(c, number) : NULL;
    }
    if (!at || !*at || (*at)->held) {
        counter_add(c->target->series.responses_unknown, 1);
        return true;
    }
    unsigned n = mqtt5_has(with, MQTT5_USER_PROPERTY) ? with->n_user : 0;
    if (mqtt5_has(with, MQTT5_CONTENT_TYPE) && n < MQTT5_USER_MAX)
        with->user[n++] =
            (struct adapter_property){"content-type", 12, with->content_type.data, with->content_type.len};
    struct adapter_response response = {.status = 200,
                                        .payload = p->payload,
                                        .payload_len = p->payload_len,
                                        .headers = n ? with->user : NULL,
                                        .n_headers = n};
    finish(at, &response, NULL);
    return true;
}

int mqtt_exchange_auth_begin(struct mqtt_conn *c, uint32_t token, int64_t timeout_us, struct error *err)
{
    struct mqtt_exchange *e = exchange_new(c, 0, token, timeout_us, err);
    if (!e)
        return -1;
    e->auth = true;
    exchange_start(e);
    return 0;
}

void mqtt_exchange_auth_end(struct mqtt_conn *c, const struct error *why)
{
    struct adapter_response done = {.status = 200};
    struct mqtt_exchange **at = &c->extra->exchanges;
    while (*at && !(*at)->auth)
        at = &(*at)->next;
    if (*at)
        finish(at, why ? NULL : &done, why);
}
