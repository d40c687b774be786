// What goes to the broker: encoded straight into the link's output.
#include <string.h>
#include <stdlib.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/topic.h"

static void sent(struct mqtt_conn *c, size_t n)
{
    link_commit(&c->link, n);
    counter_add(c->target->series.bytes_sent, n);
    c->since_us = loop_now_us(c->target->env.loop);
}

int mqtt_send_ack(struct mqtt_conn *c, enum mqtt_type type, uint16_t packet_id, struct error *err)
{
    uint8_t *p = link_reserve(&c->link, MQTT_ACK_SIZE, err);
    if (!p)
        return -1;
    mqtt_ack_encode(p, type, packet_id);
    sent(c, MQTT_ACK_SIZE);
    return 0;
}

int mqtt_send_empty(struct mqtt_conn *c, enum mqtt_type type, struct error *err)
{
    uint8_t *p = link_reserve(&c->link, MQTT_EMPTY_SIZE, err);
    if (!p)
        return -1;
    mqtt_empty_encode(p, type);
    sent(c, MQTT_EMPTY_SIZE);
    return 0;
}

// The texts of a CONNECT, one behind the other in the target's scratch buffer.
static int identity_get(struct mqtt_conn *c, struct mqtt_connect *connect, struct error *err)
{
    struct buf *b = &c->target->identity;
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
    if (!connect->user.data && url->user[0])
        connect->user = (struct mqtt_text){url->user, strlen(url->user)};
    if (!connect->password.data && url->password[0])
        connect->password = (struct mqtt_text){url->password, strlen(url->password)};
    return 0;
}

int mqtt_send_connect(struct mqtt_conn *c, struct error *err)
{
    const struct mqtt_options *o = &c->target->options;
    struct mqtt_connect connect = {.keep_alive = o->keep_alive,
                                   .clean_session = o->clean_session,
                                   .will_qos = o->will_qos,
                                   .will_retain = o->will_retain};
    if (identity_get(c, &connect, err) < 0)
        return -1;
    size_t size = mqtt_connect_size(&connect, err);
    uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
    if (!p)
        return -1;
    mqtt_connect_encode(p, &connect);
    // Not sent(): since_us is the start of the handshake until CONNACK.
    link_commit(&c->link, size);
    counter_add(c->target->series.bytes_sent, size);
    return 0;
}

static bool send_message(struct mqtt_conn *c, const struct mqtt_out *o)
{
    struct mqtt_series *s = &c->target->series;
    if (o->released)
        return mqtt_send_ack(c, MQTT_PUBREL, o->packet_id, NULL) == 0;
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
    sent(c, size);
    counter_add(o->was_sent ? s->messages_resent : s->messages_sent, 1);
    return true;
}

void mqtt_send_waiting(struct mqtt_conn *c)
{
    struct mqtt_out *o;
    while ((o = mqtt_session_next(&c->session, c->target->options.queue.window)) && send_message(c, o))
        mqtt_session_sent(&c->session);
}

static int refuse(struct mqtt_conn *c)
{
    rate_add(c->target->series.publish_errors, true);
    return -1;
}

static int publish_now(struct mqtt_conn *c, const struct mqtt_publish *m, size_t size, struct error *err)
{
    struct mqtt_series *s = &c->target->series;
    if (c->state != MQTT_ONLINE) {
        error_set(err, ERR_STATE, "not connected");
        return refuse(c);
    }
    uint8_t *p = link_reserve(&c->link, size, err);
    if (!p)
        return refuse(c);
    mqtt_publish_encode(p, m);
    sent(c, size);
    counter_add(s->messages_sent, 1);
    rate_add(s->publish_errors, false);
    return 0;
}

// Victims of drop_oldest: counted, and told at the end of the turn.
static void dropped(struct mqtt_conn *c, struct mqtt_out *list)
{
    struct mqtt_target *t = c->target;
    for (struct mqtt_out *o = list, *next; o; o = next) {
        next = o->next;
        mqtt_count_reason(t, MQTT_MESSAGES_DROPPED, ERR_LIMIT);
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

static int publish_kept(struct mqtt_conn *c, const struct mqtt_publish *m, uint32_t token, struct error *err)
{
    struct mqtt_target *t = c->target;
    struct mqtt_out *victims;
    if (c->state == MQTT_OFFLINE || c->state == MQTT_CLOSING) {
        error_set(err, ERR_STATE, "not connected");
        return refuse(c);
    }
    if (mqtt_session_queue(&c->session, &t->options.queue, m, token, loop_fresh_us(t->env.loop),
                           c->state == MQTT_ONLINE, &victims, err) < 0)
        return refuse(c);
    if (victims)
        dropped(c, victims);
    if (c->state == MQTT_ONLINE)
        mqtt_send_waiting(c);
    return 0;
}

int mqtt_publish(struct mqtt_conn *c, const struct adapter_message *message, uint32_t token, struct error *err)
{
    const struct mqtt_publish m = {.topic = message->topic,
                                   .topic_len = message->topic_len,
                                   .payload = message->payload,
                                   .payload_len = message->payload_len,
                                   .qos = message->qos,
                                   .retain = message->retain};
    if (m.qos > 2) {
        error_set(err, ERR_INVALID, "qos must be 0, 1 or 2, is %u", m.qos);
        return refuse(c);
    }
    if (mqtt_topic_check(m.topic, m.topic_len, err) < 0)
        return refuse(c);
    size_t size = mqtt_publish_size(m.topic_len, m.payload_len, m.qos);
    if (!size || size > link_env_max_out(c->target->env.links)) {
        error_set(err, ERR_LIMIT, "a message of %zu bytes is larger than the output of a connection may be (%u)",
                  m.payload_len, link_env_max_out(c->target->env.links));
        return refuse(c);
    }
    return m.qos ? publish_kept(c, &m, token, err) : publish_now(c, &m, size, err);
}

static int send_request(struct mqtt_conn *c, enum mqtt_type type, const char *filter, size_t len, uint8_t qos,
                        uint32_t token, bool again, struct error *err)
{
    size_t size = mqtt_subscribe_size(type, len);
    struct mqtt_request *r = mqtt_session_request(&c->session, type, filter, len, qos, err);
    if (!r)
        return -1;
    uint8_t *p = link_reserve(&c->link, size, err);
    if (!p) {
        mqtt_session_forget(&c->session, r);
        return -1;
    }
    mqtt_subscribe_encode(p, type, r->packet_id, filter, len, qos);
    sent(c, size);
    r->token = token;
    r->again = again;
    r->started_us = loop_fresh_us(c->target->env.loop);
    return 0;
}

int mqtt_request(struct mqtt_conn *c, enum mqtt_type type, const char *filter, int qos, uint32_t token,
                 struct error *err)
{
    size_t len = strlen(filter);
    if (c->state != MQTT_ONLINE)
        return error_set(err, ERR_STATE, "not connected");
    if (qos < 0 || qos > 2)
        return error_set(err, ERR_INVALID, "qos must be 0, 1 or 2, is %d", qos);
    if (mqtt_filter_check(filter, len, err) < 0)
        return -1;
    if (c->session.state && c->session.state->n_requests >= MQTT_MAX_REQUESTS)
        return error_set(err, ERR_LIMIT, "%u subscribe and unsubscribe requests wait for their answers already",
                         MQTT_MAX_REQUESTS);
    if (type == MQTT_SUBSCRIBE && !mqtt_session_sub_room(&c->session, filter, len))
        return error_set(err, ERR_LIMIT, "a connection holds at most %u subscriptions and %u bytes of filters",
                         MQTT_MAX_SUBS, MQTT_MAX_SUB_BYTES);
    return send_request(c, type, filter, len, (uint8_t)qos, token, false, err);
}

int mqtt_send_subscriptions(struct mqtt_conn *c, struct error *err)
{
    if (!c->session.state)
        return 0;
    for (const struct mqtt_sub *sub = c->session.state->subs; sub; sub = sub->next)
        if (send_request(c, MQTT_SUBSCRIBE, sub->filter, sub->filter_len, sub->qos, 0, true, err) < 0)
            return error_prefix(err, "subscribing again after a reconnect");
    return 0;
}

unsigned mqtt_pending(const struct mqtt_conn *c)
{
    const struct mqtt_state *st = c->session.state;
    return mqtt_session_count(&c->session) + (st ? st->n_requests : 0) + (link_unsent(&c->link) ? 1 : 0);
}
