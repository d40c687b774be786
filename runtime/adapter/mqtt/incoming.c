// What the broker sends. Every handler returns 0 to go on, 1 when the connection is gone, -1 with err for a violation.
#include <stdlib.h>
#include "adapter/mqtt/conn.h"
#include "core/log.h"

static int unexpected(uint8_t first, const char *why, struct error *err)
{
    return error_set(err, ERR_PROTOCOL, "unexpected %s: %s", mqtt_type_name(first >> 4), why);
}

static int on_connack(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_connack ack;
    if (mqtt_connack_decode(body, n, &ack, err) < 0)
        return -1;
    if (ack.reason) {
        struct error why;
        error_set(&why, ERR_REFUSED, "the broker refused the connection: %s (return code %u)",
                  mqtt_connack_text(ack.reason), ack.reason);
        mqtt_conn_fail(c, &why, true, ack.reason);
        return 1;
    }
    if (ack.session_present && c->target->options.clean_session)
        return error_set(err, ERR_PROTOCOL,
                         "CONNACK says session present after a clean session was asked for "
                         "(MQTT 3.2.2-1)");
    mqtt_conn_online(c, ack.session_present);
    return mqtt_conn_up(c) ? 0 : 1;
}

static void deliver(struct mqtt_conn *c, const struct mqtt_publish *p)
{
    const struct adapter_message m = {.topic = p->topic,
                                      .topic_len = p->topic_len,
                                      .payload = p->payload,
                                      .payload_len = p->payload_len,
                                      .qos = p->qos,
                                      .retain = p->retain,
                                      .duplicate = p->dup};
    counter_add(c->target->series.messages_received, 1);
    if (c->events->on_message)
        c->events->on_message(c->owner, &m);
}

static int on_publish(struct mqtt_conn *c, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_publish p;
    int is_new = 1;
    if (mqtt_publish_decode(first, body, n, &p, err) < 0)
        return -1;
    if (p.qos == 2) {
        is_new = mqtt_session_received(&c->session, p.packet_id);
        if (is_new < 0)
            return error_set(err, ERR_NO_MEMORY, "no memory for the id of a QoS 2 message");
    }
    if (is_new)
        deliver(c, &p);
    if (!mqtt_conn_up(c))
        return 1;
    if (p.qos == 0)
        return 0;
    return mqtt_send_ack(c, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.packet_id, err);
}

// PUBACK, PUBREC, PUBCOMP: of what we published.
static int on_ack(struct mqtt_conn *c, enum mqtt_type type, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_series *s = &c->target->series;
    struct mqtt_ack ack;
    struct mqtt_out *out;
    if (mqtt_ack_decode(type, body, n, &ack, err) < 0)
        return -1;
    switch (mqtt_session_ack(&c->session, type, ack.packet_id, &out)) {
    case MQTT_ACK_UNKNOWN:
        counter_add(s->acks_unknown, 1);
        // Without a PUBREL the broker would keep an id that we know nothing of for ever.
        return type == MQTT_PUBREC ? mqtt_send_ack(c, MQTT_PUBREL, ack.packet_id, err) : 0;
    case MQTT_ACK_RELEASE:
        return mqtt_send_ack(c, MQTT_PUBREL, ack.packet_id, err);
    case MQTT_ACK_DONE:
        break;
    }
    trend_add(s->publish_latency, loop_fresh_us(c->target->env.loop) - out->accepted_us);
    counter_add(s->messages_acked, 1);
    rate_add(s->publish_errors, false);
    uint32_t token = out->token;
    free(out);
    mqtt_session_trim(&c->session);
    if (token && c->events->on_done)
        c->events->on_done(c->owner, token, -1, NULL);
    return mqtt_conn_up(c) ? 0 : 1;
}

static int on_pubrel(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_ack ack;
    if (mqtt_ack_decode(MQTT_PUBREL, body, n, &ack, err) < 0)
        return -1;
    mqtt_session_released(&c->session, ack.packet_id);
    return mqtt_send_ack(c, MQTT_PUBCOMP, ack.packet_id, err);
}

// Ends a request: keeps the session's list of subscriptions and tells.
static int request_done(struct mqtt_conn *c, struct mqtt_request *r, int granted)
{
    struct error refused;
    bool failed = granted == (int)MQTT_SUBSCRIBE_REFUSED;
    if (failed)
        error_set(&refused, ERR_REFUSED, "the broker refused the subscription to %.*s", (int)r->filter_len, r->filter);
    if (failed && r->again) {
        mqtt_session_unsubscribed(&c->session, r->filter, r->filter_len);
        log_write(c->target->env.log, LOG_WARN, NULL, "%s: %s after a reconnect", c->target->shown, refused.text);
    } else if (!failed && r->type == MQTT_SUBSCRIBE && !r->again) {
        // mqtt_request has made sure of the room; without memory it only is not renewed after a clean reconnect.
        (void)mqtt_session_subscribed(&c->session, r->filter, r->filter_len, r->qos, NULL);
    } else if (r->type == MQTT_UNSUBSCRIBE) {
        mqtt_session_unsubscribed(&c->session, r->filter, r->filter_len);
    }
    if (r->type == MQTT_SUBSCRIBE && !r->again)
        trend_add(c->target->series.subscribe_latency, loop_fresh_us(c->target->env.loop) - r->started_us);
    uint32_t token = r->again ? 0 : r->token;
    free(r);
    mqtt_session_trim(&c->session);
    if (token && c->events->on_done)
        c->events->on_done(c->owner, token, failed ? -1 : granted, failed ? &refused : NULL);
    return mqtt_conn_up(c) ? 0 : 1;
}

static int on_suback(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_suback ack;
    if (mqtt_suback_decode(body, n, &ack, err) < 0)
        return -1;
    struct mqtt_request *r = mqtt_session_answer(&c->session, MQTT_SUBSCRIBE, ack.packet_id);
    if (!r) {
        counter_add(c->target->series.acks_unknown, 1);
        return 0;
    }
    if (ack.n_codes == 1)
        return request_done(c, r, ack.codes[0]);
    struct error lost;
    error_set(&lost, ERR_PROTOCOL, "SUBACK with %zu return codes for 1 filter (MQTT 3.9.3-1)", ack.n_codes);
    uint32_t token = r->again ? 0 : r->token;
    free(r);
    if (token && c->events->on_done)
        c->events->on_done(c->owner, token, -1, &lost);
    *err = lost;
    return mqtt_conn_up(c) ? -1 : 1;
}

static int on_unsuback(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_ack ack;
    if (mqtt_ack_decode(MQTT_UNSUBACK, body, n, &ack, err) < 0)
        return -1;
    struct mqtt_request *r = mqtt_session_answer(&c->session, MQTT_UNSUBSCRIBE, ack.packet_id);
    if (r)
        return request_done(c, r, -1);
    counter_add(c->target->series.acks_unknown, 1);
    return 0;
}

static int on_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_conn *c = arg;
    enum mqtt_type type = (enum mqtt_type)(first >> 4);
    if (c->state == MQTT_HANDSHAKE)
        return type == MQTT_CONNACK ? on_connack(c, body, n, err)
                                    : unexpected(first, "the first packet must be CONNACK (MQTT 3.2.0-1)", err);
    switch (type) {
    case MQTT_PUBLISH:
        return on_publish(c, first, body, n, err);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        return on_ack(c, type, body, n, err);
    case MQTT_PUBREL:
        return on_pubrel(c, body, n, err);
    case MQTT_SUBACK:
        return on_suback(c, body, n, err);
    case MQTT_UNSUBACK:
        return on_unsuback(c, body, n, err);
    case MQTT_PINGRESP:
        if (mqtt_empty_decode(type, n, err) < 0)
            return -1;
        mqtt_conn_pong(c);
        return 0;
    case MQTT_CONNACK:
        return unexpected(first, "a connection has only one (MQTT 3.2)", err);
    default:
        return unexpected(first, "only clients send it (MQTT 2.2.1)", err);
    }
}

void mqtt_incoming(struct mqtt_conn *c, const uint8_t *bytes, size_t n)
{
    struct error err;
    counter_add(c->target->series.bytes_received, n);
    int rc = mqtt_parser_feed(&c->parser, bytes, n, c->target->options.max_packet, on_packet, c, &err);
    if (rc < 0 && mqtt_conn_up(c))
        mqtt_conn_fail(c, &err, true, 0);
    else if (c->state == MQTT_ONLINE)
        mqtt_send_waiting(c);
}
