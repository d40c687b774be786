// A device's side (loop, links, adapter, a recording owner) and a scripted fake broker in one process on one loop.
// Header only: every test is its own executable.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adapter/adapter.h"
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/mqtt.h"
#include "adapter/mqtt/parser.h"
#include "core/loop.h"

#define MAYBE __attribute__((unused))
#define MAX_PEERS 64
#define MAX_RECORDS 512

// ---- one room for everything a test needs ----

struct packet { // what the broker got
    uint8_t first;
    uint16_t id;
    char topic[64];
    char payload[64];
    uint8_t body[256]; // beginning
    size_t n;
    // version 5
    uint8_t reason, sub_options;
    uint16_t alias;
    char content_type[32], response_topic[64];
    uint8_t correlation[16];
    size_t correlation_len;
    unsigned n_user;
    bool has_expiry;
    uint32_t expiry;
};

struct peer {
    struct broker *broker;
    ev_io io;
    int fd; // -1: gone
    struct mqtt_parser parser;
    unsigned closed; // EOF or error seen
};

struct broker {
    struct loop *loop;
    ev_io io;
    uint16_t port;
    struct peer peers[MAX_PEERS];
    unsigned n_peers;
    struct packet packets[MAX_RECORDS];
    unsigned n_packets;
    // The script.
    int connack; // return code, -1: no answer
    bool session_present;
    bool is5;
    const char *connack_properties; // encoded, without their length
    uint8_t connack_properties_len;
    uint8_t puback_reason, pubrec_reason, suback_reason; // not 0: refused
    bool no_puback, no_pubrec, no_pubcomp, no_suback, no_pingresp, deaf;
    uint8_t suback; // code to grant
};

struct record { // on_done or on_message
    uint32_t token;
    int qos;
    enum error_code code;
    char topic[64];
    char payload[64];
    bool retain, duplicate;
};

struct heard {                                           // what a message had beside it, version 5
    char content_type[32], response_topic[64], user[64]; // user: NAME=VALUE;NAME=VALUE;
    uint8_t correlation[16];
    size_t correlation_len;
    unsigned n_ids;
    uint32_t ids[ADAPTER_SUBSCRIPTION_IDS];
    uint32_t expiry;
    bool payload_text;
};

struct answer { // on_response
    uint32_t token;
    unsigned status;
    char payload[64], header[64]; // the first: NAME=VALUE
    unsigned n_headers;
    struct error why;
};

struct client {
    struct adapter_conn *conn;
    const char *client_id, *user, *password, *will_topic, *will_payload;
    unsigned online, offline, retries;
    bool session_present;
    struct error why;
    struct record done[MAX_RECORDS], messages[MAX_RECORDS];
    unsigned n_done, n_messages;
    char done_text[200];    // of the error on_done was told last
    struct heard heard[16]; // of the messages, by their number
    struct answer answers[64];
    unsigned n_answers;
    const char *auth_reply; // to every question
    char auth_asked[64];    // what was asked last, "(begin)" at the beginning
    unsigned n_auth;
    bool auth_fails;
    int identity_fails;
    unsigned identity_asked;
    void (*hook)(struct client *cl, const char *event); // runs inside events
};

struct world {
    struct clock clock;
    struct loop *loop;
    struct adapter_env env;
    struct broker broker;
    struct adapter_target *target;
    struct client client;
};

#define DEADLINE_US (10 * 1000000)
// Turns the loop until cond; fails the test after a deadline.
#define WAIT(w, cond)                                                                                                  \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + DEADLINE_US;                                                       \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            loop_turn((w)->loop, 20000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)
// A few turns in which something might (wrongly) happen.
#define SETTLE(w)                                                                                                      \
    do {                                                                                                               \
        for (int i_ = 0; i_ < 6; i_++)                                                                                 \
            loop_turn((w)->loop, 2000);                                                                                \
    } while (0)

// ---- the broker ----

static MAYBE void peer_write(struct peer *p, const void *bytes, size_t n)
{
    const uint8_t *b = bytes;
    while (n && p->fd >= 0) {
        ssize_t sent = send(p->fd, b, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return;
        if (sent > 0) {
            b += sent;
            n -= (size_t)sent;
        }
    }
}

static MAYBE void peer_close(struct peer *p, bool rst)
{
    if (p->fd < 0)
        return;
    struct linger linger = {1, 0};
    if (rst)
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    ev_io_stop(loop_ev(p->broker->loop), &p->io);
    close(p->fd);
    p->fd = -1;
    mqtt_parser_reset(&p->parser);
}

static MAYBE void peer_ack(struct peer *p, enum mqtt_type type, uint16_t id)
{
    uint8_t b[MQTT_ACK_SIZE];
    mqtt_ack_encode(b, type, id);
    peer_write(p, b, sizeof b);
}

static MAYBE void peer_publish(struct peer *p, const char *topic, const char *payload, uint8_t qos, uint16_t id,
                               bool dup)
{
    uint8_t b[512];
    struct mqtt_publish m = {.topic = topic,
                             .topic_len = strlen(topic),
                             .payload = (const uint8_t *)payload,
                             .payload_len = strlen(payload),
                             .qos = qos,
                             .packet_id = id,
                             .dup = dup};
    peer_write(p, b, (size_t)(mqtt_publish_encode(b, &m) - b));
}

static MAYBE void peer_ack5(struct peer *p, enum mqtt_type type, uint16_t id, uint8_t reason)
{
    uint8_t b[16];
    peer_write(p, b, (size_t)(mqtt5_ack_encode(b, type, id, reason, NULL) - b));
}

static MAYBE void peer_publish5(struct peer *p, const char *topic, const char *payload, uint8_t qos, uint16_t id,
                                const struct mqtt5_properties *properties)
{
    uint8_t b[1024];
    struct mqtt_publish m = {.topic = topic,
                             .topic_len = strlen(topic),
                             .payload = (const uint8_t *)payload,
                             .payload_len = strlen(payload),
                             .qos = qos,
                             .packet_id = id};
    assert_true(mqtt5_publish_size(&m, properties, NULL) <= sizeof b);
    peer_write(p, b, (size_t)(mqtt5_publish_encode(b, &m, properties) - b));
}

static void copy_text(char *to, size_t size, const struct mqtt_text *text)
{
    snprintf(to, size, "%.*s", (int)text->len, text->data);
}

static void record_properties(struct packet *r, const struct mqtt5_properties *p)
{
    if (mqtt5_has(p, MQTT5_TOPIC_ALIAS))
        r->alias = p->topic_alias;
    if (mqtt5_has(p, MQTT5_CONTENT_TYPE))
        copy_text(r->content_type, sizeof r->content_type, &p->content_type);
    if (mqtt5_has(p, MQTT5_RESPONSE_TOPIC))
        copy_text(r->response_topic, sizeof r->response_topic, &p->response_topic);
    if (mqtt5_has(p, MQTT5_CORRELATION_DATA)) {
        r->correlation_len = p->correlation_data.len;
        memcpy(r->correlation, p->correlation_data.data, p->correlation_data.len < 16 ? p->correlation_data.len : 16);
    }
    r->n_user = mqtt5_has(p, MQTT5_USER_PROPERTY) ? p->n_user : 0;
    r->has_expiry = mqtt5_has(p, MQTT5_MESSAGE_EXPIRY);
    r->expiry = r->has_expiry ? p->message_expiry : 0;
}

// The same as broker_packet for version 5.
static int broker_packet5(struct peer *p, struct packet *r, uint8_t first, const uint8_t *body, size_t n,
                          struct error *err)
{
    struct broker *b = p->broker;
    struct mqtt_publish m;
    struct mqtt_ack ack = {0, 0};
    struct adapter_property user[MQTT5_USER_MAX];
    struct mqtt5_properties with = {.user = user};
    uint8_t reason;
    switch (first >> 4) {
    case MQTT_CONNECT:
        if (b->connack >= 0) {
            uint8_t answer[256] = {0x20, (uint8_t)(3 + b->connack_properties_len), b->session_present && !b->connack,
                                   (uint8_t)b->connack, b->connack_properties_len};
            if (b->connack_properties_len)
                memcpy(answer + 5, b->connack_properties, b->connack_properties_len);
            peer_write(p, answer, 5u + b->connack_properties_len);
        }
        break;
    case MQTT_PUBLISH:
        assert_int_equal(mqtt5_publish_decode(first, body, n, &m, &with, &reason, err), 0);
        r->id = m.packet_id;
        snprintf(r->topic, sizeof r->topic, "%.*s", (int)m.topic_len, m.topic);
        snprintf(r->payload, sizeof r->payload, "%.*s", (int)(m.payload_len < 60 ? m.payload_len : 60),
                 (const char *)m.payload);
        record_properties(r, &with);
        if (m.qos == 1 && !b->no_puback)
            peer_ack5(p, MQTT_PUBACK, m.packet_id, b->puback_reason);
        if (m.qos == 2 && !b->no_pubrec)
            peer_ack5(p, MQTT_PUBREC, m.packet_id, b->pubrec_reason);
        break;
    case MQTT_PUBREL:
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        assert_int_equal(mqtt5_ack_decode((enum mqtt_type)(first >> 4), body, n, &ack, &with, &reason, err), 0);
        r->id = ack.packet_id;
        r->reason = ack.reason;
        if (first >> 4 == MQTT_PUBREL && !b->no_pubcomp)
            peer_ack5(p, MQTT_PUBCOMP, ack.packet_id, 0);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: {
        size_t at = 3u + body[2]; // properties are shorter than 128 bytes here
        size_t len = (size_t)(body[at] << 8 | body[at + 1]);
        r->id = (uint16_t)(body[0] << 8 | body[1]);
        snprintf(r->topic, sizeof r->topic, "%.*s", (int)len, (const char *)body + at + 2);
        if (first >> 4 == MQTT_SUBSCRIBE)
            r->sub_options = body[at + 2 + len];
        if (!b->no_suback) {
            uint8_t answer[] = {first >> 4 == MQTT_SUBSCRIBE ? 0x90 : 0xb0,     4, body[0], body[1], 0,
                                b->suback_reason ? b->suback_reason : b->suback};
            peer_write(p, answer, sizeof answer);
        }
        break;
    }
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        r->reason = n ? body[0] : 0;
        break;
    case MQTT_PINGREQ:
        if (!b->no_pingresp)
            peer_write(p, "\xd0\x00", 2);
        break;
    default:
        break;
    }
    return p->fd < 0;
}

static int broker_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct peer *p = arg;
    struct broker *b = p->broker;
    struct packet *r = &b->packets[b->n_packets % MAX_RECORDS];
    struct mqtt_publish m;
    struct mqtt_ack ack = {0, 0};
    b->n_packets++;
    memset(r, 0, sizeof *r);
    r->first = first;
    r->n = n;
    memcpy(r->body, body, n < sizeof r->body ? n : sizeof r->body);
    if (b->is5)
        return broker_packet5(p, r, first, body, n, err);
    switch (first >> 4) {
    case MQTT_CONNECT:
        if (b->connack >= 0) {
            uint8_t answer[] = {0x20, 2, b->session_present && !b->connack, (uint8_t)b->connack};
            peer_write(p, answer, sizeof answer);
        }
        break;
    case MQTT_PUBLISH:
        assert_int_equal(mqtt_publish_decode(first, body, n, &m, err), 0);
        r->id = m.packet_id;
        snprintf(r->topic, sizeof r->topic, "%.*s", (int)m.topic_len, m.topic);
        snprintf(r->payload, sizeof r->payload, "%.*s", (int)(m.payload_len < 60 ? m.payload_len : 60),
                 (const char *)m.payload);
        if (m.qos == 1 && !b->no_puback)
            peer_ack(p, MQTT_PUBACK, m.packet_id);
        if (m.qos == 2 && !b->no_pubrec)
            peer_ack(p, MQTT_PUBREC, m.packet_id);
        break;
    case MQTT_PUBREL:
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        assert_int_equal(mqtt_ack_decode((enum mqtt_type)(first >> 4), body, n, &ack, err), 0);
        r->id = ack.packet_id;
        if (first >> 4 == MQTT_PUBREL && !b->no_pubcomp)
            peer_ack(p, MQTT_PUBCOMP, ack.packet_id);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        r->id = (uint16_t)(body[0] << 8 | body[1]);
        snprintf(r->topic, sizeof r->topic, "%.*s", (int)((body[2] << 8 | body[3]) & 63), (const char *)body + 4);
        if (!b->no_suback) {
            uint8_t answer[] = {0x90, 3, body[0], body[1], b->suback};
            if (first >> 4 == MQTT_UNSUBSCRIBE)
                peer_ack(p, MQTT_UNSUBACK, r->id);
            else
                peer_write(p, answer, sizeof answer);
        }
        break;
    case MQTT_PINGREQ:
        if (!b->no_pingresp)
            peer_write(p, "\xd0\x00", 2);
        break;
    default:
        break;
    }
    return p->fd < 0;
}

static void peer_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct peer *p = container_of(io, struct peer, io);
    uint8_t bytes[16384];
    struct error err;
    (void)ev;
    (void)revents;
    if (p->broker->deaf) {
        ev_io_stop(ev, io);
        return;
    }
    ssize_t n = read(p->fd, bytes, sizeof bytes);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        p->closed++;
        peer_close(p, false);
        return;
    }
    uint8_t reason;
    int rc = p->broker->is5 ? mqtt5_parser_feed(&p->parser, bytes, (size_t)n, 64 << 20, broker_packet, p, &reason, &err)
                            : mqtt_parser_feed(&p->parser, bytes, (size_t)n, 64 << 20, broker_packet, p, &err);
    if (rc < 0)
        fail_msg("%s", err.text);
}

static void broker_accept(struct ev_loop *ev, ev_io *io, int revents)
{
    struct broker *b = container_of(io, struct broker, io);
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)revents;
    if (fd < 0)
        return;
    assert_true(b->n_peers < MAX_PEERS);
    fcntl(fd, F_SETFL, 0); // writes of the script may block for a moment, reads follow readiness
    struct peer *p = &b->peers[b->n_peers++];
    *p = (struct peer){.broker = b, .fd = fd};
    ev_io_init(&p->io, peer_io, fd, EV_READ);
    ev_io_start(ev, &p->io);
}

static MAYBE void broker_start(struct broker *b, struct loop *loop)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int one = 1;
    b->loop = loop;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    addr.sin_port = htons(b->port);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    b->port = ntohs(addr.sin_port);
    ev_io_init(&b->io, broker_accept, fd, EV_READ);
    ev_io_start(loop_ev(loop), &b->io);
}

static MAYBE void broker_stop(struct broker *b)
{
    if (!ev_is_active(&b->io))
        return;
    ev_io_stop(loop_ev(b->loop), &b->io);
    close(b->io.fd);
    for (unsigned i = 0; i < b->n_peers; i++)
        peer_close(&b->peers[i], false);
}

static MAYBE struct peer *last_peer(struct world *w)
{
    return &w->broker.peers[w->broker.n_peers - 1];
}

static MAYBE unsigned broker_count(const struct broker *b, enum mqtt_type type)
{
    unsigned n = 0;
    for (unsigned i = 0; i < b->n_packets && i < MAX_RECORDS; i++)
        n += b->packets[i].first >> 4 == type;
    return n;
}

// The k-th packet of a type (from 0).
static MAYBE const struct packet *broker_got(const struct broker *b, enum mqtt_type type, unsigned k)
{
    for (unsigned i = 0; i < b->n_packets && i < MAX_RECORDS; i++)
        if (b->packets[i].first >> 4 == type && k-- == 0)
            return &b->packets[i];
    return NULL;
}

// ---- the owner of a connection ----

static void own_online(void *owner, bool session_present)
{
    struct client *cl = owner;
    cl->online++;
    cl->session_present = session_present;
    if (cl->hook)
        cl->hook(cl, "online");
}

static void own_offline(void *owner, const struct error *why, bool will_retry)
{
    struct client *cl = owner;
    cl->offline++;
    cl->retries += will_retry;
    cl->why = *why;
    if (cl->hook)
        cl->hook(cl, "offline");
}

static void record_meta(struct heard *r, const struct adapter_meta *meta)
{
    memset(r, 0, sizeof *r);
    if (!meta)
        return;
    snprintf(r->content_type, sizeof r->content_type, "%.*s", (int)meta->content_type_len, meta->content_type);
    snprintf(r->response_topic, sizeof r->response_topic, "%.*s", (int)meta->response_topic_len, meta->response_topic);
    r->correlation_len = meta->correlation_len;
    memcpy(r->correlation, meta->correlation ? meta->correlation : (const uint8_t *)"",
           meta->correlation_len < 16 ? meta->correlation_len : 16);
    for (unsigned i = 0; i < meta->n_user; i++) {
        size_t used = strlen(r->user);
        snprintf(r->user + used, sizeof r->user - used, "%.*s=%.*s;", (int)meta->user[i].name_len, meta->user[i].name,
                 (int)meta->user[i].value_len, meta->user[i].value);
    }
    r->n_ids = meta->n_subscription_ids;
    memcpy(r->ids, meta->subscription_ids, sizeof r->ids);
    r->expiry = meta->has_expiry ? meta->expiry_s : 0;
    r->payload_text = meta->payload_text;
}

static void own_message(void *owner, const struct adapter_message *m)
{
    struct client *cl = owner;
    struct record *r = &cl->messages[cl->n_messages++ % MAX_RECORDS];
    snprintf(r->topic, sizeof r->topic, "%.*s", (int)m->topic_len, m->topic);
    snprintf(r->payload, sizeof r->payload, "%.*s", (int)(m->payload_len < 60 ? m->payload_len : 60),
             (const char *)m->payload);
    r->qos = m->qos;
    r->retain = m->retain;
    r->duplicate = m->duplicate;
    record_meta(&cl->heard[(cl->n_messages - 1) % 16], m->meta);
    if (cl->hook)
        cl->hook(cl, "message");
}

static void own_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct client *cl = owner;
    struct record *r = &cl->done[cl->n_done++ % MAX_RECORDS];
    r->token = token;
    r->qos = granted_qos;
    r->code = err ? err->code : ERR_NONE;
    snprintf(cl->done_text, sizeof cl->done_text, "%.190s", err ? err->text : "");
    if (cl->hook)
        cl->hook(cl, "done");
}

static void own_response(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err)
{
    struct client *cl = owner;
    struct answer *a = &cl->answers[cl->n_answers++ % 64];
    memset(a, 0, sizeof *a);
    a->token = token;
    if (err)
        a->why = *err;
    if (response) {
        a->status = response->status;
        a->n_headers = response->n_headers;
        snprintf(a->payload, sizeof a->payload, "%.*s", (int)response->payload_len, (const char *)response->payload);
        if (response->n_headers)
            snprintf(a->header, sizeof a->header, "%.*s=%.*s", (int)response->headers->name_len,
                     response->headers->name, (int)response->headers->value_len, response->headers->value);
    }
    if (cl->hook)
        cl->hook(cl, "response");
}

static int own_auth(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct client *cl = owner;
    cl->n_auth++;
    snprintf(cl->auth_asked, sizeof cl->auth_asked, "%.*s", data ? (int)n : 7, data ? (const char *)data : "(begin)");
    if (cl->hook)
        cl->hook(cl, "auth");
    if (cl->auth_fails)
        return error_set(err, ERR_REFUSED, "the broker cannot prove itself");
    return cl->auth_reply ? buf_append_str(reply, cl->auth_reply) : 0;
}

static const struct adapter_events own_events = {.on_online = own_online,
                                                 .on_offline = own_offline,
                                                 .on_message = own_message,
                                                 .on_done = own_done,
                                                 .on_response = own_response,
                                                 .on_auth = own_auth};

static int own_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    struct client *cl = owner;
    const char *const texts[] = {[FIELD_CLIENT_ID] = cl->client_id,
                                 [FIELD_USERNAME] = cl->user,
                                 [FIELD_PASSWORD] = cl->password,
                                 [FIELD_WILL_TOPIC] = cl->will_topic,
                                 [FIELD_WILL_PAYLOAD] = cl->will_payload};
    cl->identity_asked++;
    if (cl->identity_fails)
        return error_set(err, ERR_INVALID, "the identity template is broken");
    return field < sizeof texts / sizeof *texts && texts[field] ? buf_append_str(out, texts[field]) : 0;
}

static const struct adapter_identity own_identity = {own_field};

static MAYBE void client_create(struct world *w, struct client *cl, const char *client_id)
{
    struct error err;
    memset(cl, 0, sizeof *cl);
    cl->client_id = client_id;
    cl->conn = (&mqtt_adapter)->conn_new(w->target, &own_events, &own_identity, cl, 42, &err);
    assert_non_null(cl->conn);
}

static MAYBE int client_publish(struct client *cl, const char *topic, const char *payload, uint8_t qos, uint32_t token,
                                struct error *err)
{
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload),
                                .qos = qos};
    return (&mqtt_adapter)->publish(cl->conn, &m, token, err);
}

static MAYBE struct adapter_target *make_target(struct world *w, const char *json)
{
    struct error err;
    char url[64];
    snprintf(url, sizeof url, "mqtt://127.0.0.1:%u", w->broker.port);
    json_t *options = json ? json_loads(json, 0, NULL) : NULL;
    assert_true(!json || options);
    error_clear(&err);
    struct adapter_target *t = (&mqtt_adapter)->target_new(&w->env, url, options, "g", &err);
    if (!t)
        fail_msg("%s", err.text);
    json_decref(options);
    return t;
}

static MAYBE void world_loop(struct world *w, const struct link_env_config *links)
{
    struct error err;
    memset(w, 0, sizeof *w);
    clock_create_real(&w->clock);
    w->loop = loop_new(&w->clock, &err);
    assert_non_null(w->loop);
    w->env.loop = w->loop;
    w->env.links = link_env_new(w->loop, links, &err);
    w->env.resolver = resolver_new(w->loop, &err);
    w->env.metrics = metrics_new(1000);
    assert_non_null(w->env.links);
    assert_non_null(w->env.resolver);
    assert_non_null(w->env.metrics);
}

// Loop, broker, target with these options, one client (not opened).
static MAYBE void world_create(struct world *w, const char *options)
{
    world_loop(w, NULL);
    broker_start(&w->broker, w->loop);
    w->target = make_target(w, options);
    client_create(w, &w->client, "dev-1");
}

static MAYBE void world_destroy(struct world *w)
{
    struct link_totals totals;
    if (w->client.conn)
        (&mqtt_adapter)->conn_delete(w->client.conn);
    if (w->target)
        (&mqtt_adapter)->target_delete(w->target);
    broker_stop(&w->broker);
    link_env_totals(w->env.links, &totals);
    assert_int_equal(totals.open, 0); // no socket left
    resolver_delete(w->env.resolver);
    link_env_delete(w->env.links);
    metrics_delete(w->env.metrics);
    loop_delete(w->loop);
}

static MAYBE void client_connect(struct world *w)
{
    struct error err;
    unsigned before = w->client.online;
    assert_int_equal((&mqtt_adapter)->conn_open(w->client.conn, &err), 0);
    WAIT(w, w->client.online == before + 1);
}

// Sum of the series of a name whose tags hold the text.
struct sum {
    const char *name, *tag;
    uint64_t count, hits;
    double value;
};
static void sum_series(void *arg, const struct metric *s)
{
    struct sum *sum = arg;
    if (strcmp(s->name, sum->name) != 0 || (sum->tag && !strstr(s->tags, sum->tag)))
        return;
    sum->count += s->type == METRIC_TREND ? hist_count(s->hist) : s->count;
    sum->hits += s->hits;
    sum->value += s->value;
}
static MAYBE struct sum metric(struct world *w, const char *name, const char *tag)
{
    struct sum sum = {.name = name, .tag = tag};
    metrics_each(w->env.metrics, sum_series, &sum);
    return sum;
}
