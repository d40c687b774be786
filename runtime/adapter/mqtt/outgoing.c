// What goes to the broker: encoded straight into the link's output.
#include <string.h>
#include <stdlib.h>
#include "adapter/mqtt/auth.h"
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/share.h"
#include "adapter/mqtt/topic.h"

void mqtt_sent(struct mqtt_conn *c, size_t n)
{
    link_commit(&c->link, n);
    counter_add(c->target->series.bytes_sent, n);
    c->since_us = loop_now_us(c->target->env.loop);
}

// With a reason: version 5 only.
static int send_ack5(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason, struct error *err)
{
    size_t size = mqtt5_ack_size(reason, NULL, err);
    uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
    if (!p)
        return -1;
    mqtt5_ack_encode(p, type, packet_id, reason, NULL);
    mqtt_sent(c, size);
    return 0;
}

int mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason, struct error *err)
{
    if (reason && mqtt_conn_is5(c))
        return send_ack5(c, type, packet_id, reason, err);
    uint8_t *p = link_reserve(&c->link, MQTT_ACK_SIZE, err);
    if (!p)
        return -1;
    mqtt_ack_encode(p, type, packet_id);
    mqtt_sent(c, MQTT_ACK_SIZE);
    return 0;
}

int mqtt_send_empty(struct mqtt_conn *c, enum mqtt_type type, struct error *err)
{
    uint8_t *p = link_reserve(&c->link, MQTT_EMPTY_SIZE, err);
    if (!p)
        return -1;
    mqtt_empty_encode(p, type);
    mqtt_sent(c, MQTT_EMPTY_SIZE);
    return 0;
}

int mqtt_send_reason(struct mqtt_conn *c, enum mqtt_type type, uint8_t reason,
                     const struct mqtt5_properties *properties, struct error *err)
{
    size_t size = mqtt5_reason_size(reason, properties, err);
    uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
    if (!p)
        return -1;
    mqtt5_reason_encode(p, type, reason, properties);
    mqtt_sent(c, size);
    return 0;
}

// The texts of a CONNECT, one behind the other in the target's scratch buffer.
static int identity_get(struct mqtt_conn *c, struct mqtt_connect *connect, struct error *err)
{
    struct buf *b = &c->target->scratch;
    const struct url *url = &c->target->url;
    struct mqtt_text *const texts[] = {[FIELD_CLIENT_ID] = &connect->client_id,
                                       [FIELD_USERNAME] = &connect->user,
                                       [FIELD_PASSWORD] = &connect->password,
                                       [FIELD_WILL_TOPIC] = &connect->will_topic,
                                       [FIELD_WILL_PAYLOAD] = &connect->will_payload};
    uint32_t ends[FIELD_WILL_PAYLOAD + 1], start = 0;
    buf_clear(b);
    for (unsigned f = 0; f <= FIELD_WILL_PAYLOAD; f++) {
        if (c->identity->field && c->identity->field(c->owner, (enum adapter_field)f, b, err) < 0)
            return -1;
        ends[f] = b->len;
    }
    for (unsigned f = 0; f <= FIELD_WILL_PAYLOAD; f++) {
        if (ends[f] > start)
            *texts[f] = (struct mqtt_text){(const char *)b->data + start, ends[f] - start};
        start = ends[f];
    }
    if (!connect->client_id.data && c->extra && c->extra->client_id)
        connect->client_id = (struct mqtt_text){c->extra->client_id, strlen(c->extra->client_id)};
    if (!connect->user.data && url->user[0])
        connect->user = (struct mqtt_text){url->user, strlen(url->user)};
    if (!connect->password.data && url->password[0])
        connect->password = (struct mqtt_text){url->password, strlen(url->password)};
    return 0;
}

// Writes what was encoded; since_us stays the start of the handshake until CONNACK.
static void connect_sent(struct mqtt_conn *c, size_t size)
{
    link_commit(&c->link, size);
    counter_add(c->target->series.bytes_sent, size);
}

static int send_connect5(struct mqtt_conn *c, struct mqtt_connect *connect, struct error *err)
{
    const struct mqtt_options *o = &c->target->options;
    struct mqtt5_properties properties = o->connect5;
    struct buf data;
    int rc = -1;
    connect->clean_session = c->extra->clean = o->clean_session && !c->extra->resume;
    buf_create(&data, 65536);
    // The owner is asked before the scratch buffer holds the identity: what it does in on_auth may use that too.
    if ((!o->auth_method || mqtt_auth_begin(c, &properties, &data, err) == 0) && identity_get(c, connect, err) == 0) {
        if (!connect->client_id.data)
            connect->client_id = (struct mqtt_text){"", 0}; // the server assigns one (3.1.3.1)
        const struct mqtt5_properties *will = connect->will_topic.data ? &o->will5 : NULL;
        size_t size = mqtt5_connect_size(connect, &properties, will, err);
        uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
        if (p) {
            mqtt5_connect_encode(p, connect, &properties, will);
            connect_sent(c, size);
            rc = 0;
        }
    }
    buf_destroy(&data);
    return rc;
}

int mqtt_send_connect(struct mqtt_conn *c, struct error *err)
{
    const struct mqtt_options *o = &c->target->options;
    struct mqtt_connect connect = {.keep_alive = o->keep_alive,
                                   .clean_session = o->clean_session,
                                   .will_qos = o->will_qos,
                                   .will_retain = o->will_retain};
    if (mqtt_conn_is5(c))
        return send_connect5(c, &connect, err);
    if (identity_get(c, &connect, err) < 0)
        return -1;
    size_t size = mqtt_connect_size(&connect, err);
    uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
    if (!p)
        return -1;
    mqtt_connect_encode(p, &connect);
    connect_sent(c, size);
    return 0;
}

static bool send_message(struct mqtt_conn *c, const struct mqtt_out *o)
{
    struct mqtt_series *s = &c->target->series;
    if (o->released)
        return mqtt_send_ack(c, MQTT_PUBREL, o->packet_id, 0, NULL) == 0;
    if (mqtt_conn_is5(c))
        return mqtt_send_out5(c, o);
    const struct mqtt_publish m = {.topic = (const char *)o->bytes,
                                   .topic_len = o->topic_len,
                                   .payload = o->bytes + o->topic_len,
                                   .payload_len = o->payload_len,
                                   .packet_id = o->packet_id,
                                   .qos = o->qos,
                                   .retain = o->retain,
                                   .dup = o->resend};
    size_t size = mqtt_publish_size(m.topic_len, m.payload_len, m.qos);
    uint8_t *p = link_reserve(&c->link, size, NULL);
    if (!p)
        return false;
    mqtt_publish_encode(p, &m);
    mqtt_sent(c, size);
    counter_add(o->was_sent ? s->messages_resent : s->messages_sent, 1);
    return true;
}

// Messages that the queue gave up: counted, and told at the end of the turn.
static void dropped(struct mqtt_conn *c, struct mqtt_out *list)
{
    struct mqtt_target *t = c->target;
    for (struct mqtt_out *o = list, *next; o; o = next) {
        next = o->next;
        mqtt_count_reason(t, MQTT_MESSAGES_DROPPED, o->expired ? ERR_TIMEOUT : ERR_LIMIT);
        rate_add(t->series.publish_errors, true);
        if (!o->token) {
            free(o);
            continue;
        }
        o->next = NULL;
        o->conn = c;
        *t->dropped_end = o;
        t->dropped_end = &o->next;
        c->flags |= MQTT_DROPPED;
    }
    mqtt_target_wake(t);
}

void mqtt_send_waiting(struct mqtt_conn *c)
{
    struct mqtt_out *o;
    while ((o = mqtt_session_next(&c->session, mqtt_conn_window(c)))) {
        if (o->expires && mqtt_out_expired(o, loop_now_us(c->target->env.loop))) {
            o = mqtt_session_skip(&c->session);
            o->expired = true;
            dropped(c, o);
        } else if (send_message(c, o)) {
            mqtt_session_sent(&c->session);
        } else {
            break;
        }
    }
}

static int refuse(struct mqtt_conn *c)
{
    rate_add(c->target->series.publish_errors, true);
    return -1;
}

static int publish_now(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt_more *more, size_t size,
                       struct error *err)
{
    struct mqtt_series *s = &c->target->series;
    if (c->state != MQTT_ONLINE) {
        error_set(err, ERR_STATE, "not connected");
        return refuse(c);
    }
    if (mqtt_conn_is5(c)) {
        if (mqtt_send_publish5(c, m, more ? more->properties : NULL, more && more->alias, err) < 0)
            return refuse(c);
    } else {
        uint8_t *p = link_reserve(&c->link, size, err);
        if (!p)
            return refuse(c);
        mqtt_publish_encode(p, m);
        mqtt_sent(c, size);
    }
    counter_add(s->messages_sent, 1);
    rate_add(s->publish_errors, false);
    return 0;
}

static int publish_kept(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt_more *more, uint32_t token,
                        struct error *err)
{
    struct mqtt_target *t = c->target;
    struct mqtt_queue_limits limits = t->options.queue;
    struct mqtt_out *victims;
    int64_t now_us = loop_fresh_us(t->env.loop);
    limits.window = mqtt_conn_window(c);
    if (c->state == MQTT_OFFLINE || c->state == MQTT_CLOSING) {
        error_set(err, ERR_STATE, "not connected");
        return refuse(c);
    }
    int rc = mqtt_session_queue(&c->session, &limits, m, more, token, now_us, c->state == MQTT_ONLINE, &victims, err);
    if (victims)
        dropped(c, victims);
    if (rc < 0)
        return refuse(c);
    loop_lag(t->env.loop, now_us, &mqtt_session_last(&c->session)->lag);
    if (c->state == MQTT_ONLINE)
        mqtt_send_waiting(c);
    return 0;
}

int mqtt_publish_with(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt_more *more, uint32_t token,
                      struct error *err)
{
    bool is5 = mqtt_conn_is5(c);
    if (m->qos > 2)
        return error_set(err, ERR_INVALID, "qos must be 0, 1 or 2, is %u", m->qos), refuse(c);
    if (mqtt_topic_check(m->topic, m->topic_len, err) < 0)
        return refuse(c);
    size_t size = is5 ? mqtt5_publish_size(m, more ? more->properties : NULL, err)
                      : mqtt_publish_size(m->topic_len, m->payload_len, m->qos);
    if (is5 && !size)
        return refuse(c);
    if (!size || size > link_env_max_out(c->target->env.links)) {
        error_set(err, ERR_LIMIT, "a message of %zu bytes is larger than the output of a connection may be (%u)",
                  m->payload_len, link_env_max_out(c->target->env.links));
        return refuse(c);
    }
    if (is5 && c->state == MQTT_ONLINE && mqtt_server_takes(c, m->qos, m->retain, size, err) < 0)
        return refuse(c);
    return m->qos ? publish_kept(c, m, more, token, err) : publish_now(c, m, more, size, err);
}

int mqtt_publish(struct adapter_conn *conn, const struct adapter_message *message, uint32_t token, struct error *err)
{
    struct mqtt_conn *c = mqtt_conn_of(conn);
    const struct mqtt_publish m = {.topic = message->topic,
                                   .topic_len = message->topic_len,
                                   .payload = message->payload,
                                   .payload_len = message->payload_len,
                                   .qos = message->qos,
                                   .retain = message->retain};
    if (!message->meta)
        return mqtt_publish_with(c, &m, NULL, token, err);
    if (!mqtt_conn_is5(c))
        return mqtt_meta_unsupported(message->meta, err) < 0 ? refuse(c) : mqtt_publish_with(c, &m, NULL, token, err);
    struct mqtt5_properties properties;
    const struct mqtt_more more = {.properties = &properties, .alias = message->meta->alias};
    if (mqtt_meta_properties(message->meta, &properties, err) < 0)
        return refuse(c);
    return mqtt_publish_with(c, &m, &more, token, err);
}

static size_t request_size(const struct mqtt_conn *c, enum mqtt_type type, size_t len,
                           const struct mqtt5_properties *properties, struct error *err)
{
    return mqtt_conn_is5(c) ? mqtt5_subscribe_size(type, len, properties, err) : mqtt_subscribe_size(type, len);
}

static struct mqtt_request *send_request(struct mqtt_conn *c, enum mqtt_type type, const char *filter, size_t len,
                                         const struct mqtt_sub_options *with, struct error *err)
{
    struct mqtt5_properties properties = {.n_subscription_ids = 1, .subscription_ids = {with->identifier}};
    const struct mqtt5_properties *more = with->identifier ? &properties : NULL;
    mqtt5_set(&properties, MQTT5_SUBSCRIPTION_ID);
    size_t size = request_size(c, type, len, more, err);
    if (!size)
        return NULL;
    if (c->extra && size > c->extra->max_packet) {
        error_set(err, ERR_LIMIT, "a filter of %zu bytes: the broker takes packets of at most %u bytes", len,
                  c->extra->max_packet);
        return NULL;
    }
    struct mqtt_request *r = mqtt_session_request(&c->session, type, filter, len, with, err);
    if (!r)
        return NULL;
    uint8_t *p = link_reserve(&c->link, size, err);
    if (!p) {
        mqtt_session_forget(&c->session, r);
        return NULL;
    }
    if (mqtt_conn_is5(c))
        mqtt5_subscribe_encode(p, type, r->packet_id, filter, len, &with->options, more);
    else
        mqtt_subscribe_encode(p, type, r->packet_id, filter, len, with->options.qos);
    mqtt_sent(c, size);
    r->started_us = loop_fresh_us(c->target->env.loop);
    return r;
}

static int unsupported_by(const char *what, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "%s, says the broker's CONNACK", what);
}

// What the version, or this server, does not have.
static int check_options(const struct mqtt_conn *c, const struct adapter_subscription *s, size_t len, struct error *err)
{
    uint8_t can = c->extra ? c->extra->can : 0xff;
    const char *lacks = s->no_local              ? "no_local"
                        : s->retain_as_published ? "retain_as_published"
                        : s->retain_handling     ? "retain_handling"
                        : s->identifier          ? "a subscription identifier"
                                                 : NULL;
    if (!mqtt_conn_is5(c))
        return lacks ? error_set(err, ERR_UNSUPPORTED, "%s: only MQTT 5 has it, set version = \"5\"", lacks) : 0;
    if (s->retain_handling > 2)
        return error_set(err, ERR_INVALID, "retain_handling must be 0, 1 or 2, is %u", s->retain_handling);
    if (s->identifier > MQTT_MAX_REMAINING)
        return error_set(err, ERR_INVALID, "a subscription identifier must be from 1 to 268435455, is %u",
                         s->identifier);
    if (mqtt_share_check(s->filter, len, err) < 0)
        return -1;
    bool shared = mqtt_is_share(s->filter, len);
    if (shared && s->no_local)
        return error_set(err, ERR_INVALID, "a shared subscription cannot have no_local (MQTT 3.8.3-4)");
    if (s->identifier && !(can & MQTT_CAN_SUBSCRIPTION_ID))
        return unsupported_by("no subscription identifiers here", err);
    if (shared && !(can & MQTT_CAN_SHARED))
        return unsupported_by("no shared subscriptions here", err);
    if (!(can & MQTT_CAN_WILDCARD) && (memchr(s->filter, '+', len) || memchr(s->filter, '#', len)))
        return unsupported_by("no wildcards in filters here", err);
    return 0;
}

int mqtt_request(struct mqtt_conn *c, enum mqtt_type type, const struct adapter_subscription *s, uint32_t token,
                 struct error *err)
{
    const char *filter = s->filter;
    size_t len = strlen(filter);
    if (c->state != MQTT_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    if (s->qos < 0 || s->qos > 2)
        return error_set(err, ERR_INVALID, "qos must be 0, 1 or 2, is %d", s->qos);
    if (mqtt_filter_check(filter, len, err) < 0 || (type == MQTT_SUBSCRIBE && check_options(c, s, len, err) < 0))
        return -1;
    if (c->session.state && c->session.state->n_requests >= MQTT_MAX_REQUESTS)
        return error_set(err, ERR_LIMIT, "%u subscribe and unsubscribe requests wait for their answers already",
                         MQTT_MAX_REQUESTS);
    if (type == MQTT_SUBSCRIBE && !mqtt_session_sub_room(&c->session, filter, len))
        return error_set(err, ERR_LIMIT, "a connection holds at most %u subscriptions and %u bytes of filters",
                         MQTT_MAX_SUBS, MQTT_MAX_SUB_BYTES);
    const struct mqtt_sub_options with = {.options = {.qos = (uint8_t)s->qos,
                                                      .retain_handling = s->retain_handling,
                                                      .no_local = s->no_local,
                                                      .retain_as_published = s->retain_as_published},
                                          .identifier = s->identifier};
    struct mqtt_request *r = send_request(c, type, filter, len, &with, err);
    if (r)
        r->token = token;
    return r ? 0 : -1;
}

int mqtt_send_own_subscription(struct mqtt_conn *c, const char *filter, size_t len, struct error *err)
{
    const struct mqtt_sub_options with = {.options = {.qos = 1}};
    struct mqtt_request *r = send_request(c, MQTT_SUBSCRIBE, filter, len, &with, err);
    if (r)
        r->own = true;
    return r ? 0 : -1;
}

int mqtt_send_subscriptions(struct mqtt_conn *c, struct error *err)
{
    if (!c->session.state)
        return 0;
    for (const struct mqtt_sub *sub = c->session.state->subs; sub; sub = sub->next) {
        struct mqtt_request *r = send_request(c, MQTT_SUBSCRIBE, sub->filter, sub->filter_len, &sub->with, err);
        if (!r)
            return error_prefix(err, "subscribing again after a reconnect");
        r->again = true;
    }
    return 0;
}

unsigned mqtt_pending(const struct adapter_conn *conn)
{
    const struct mqtt_conn *c = (const void *)conn;
    const struct mqtt_state *st = c->session.state;
    return mqtt_session_count(&c->session) + (st ? st->n_requests : 0) + (link_unsent(&c->link) ? 1 : 0);
}
