// What the broker sends. Every handler returns 0 to go on, 1 when the connection is gone, -1 with err for a violation.
#include <stdlib.h>
#include "adapter/mqtt/auth.h"
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"
#include "adapter/mqtt/share.h"
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
        mqtt_conn_refused(c, &why, ack.reason);
        return 1;
    }
    if (ack.session_present && c->target->options.clean_session)
        return error_set(err, ERR_PROTOCOL,
                         "CONNACK says session present after a clean session was asked for "
                         "(MQTT 3.2.2-1)");
    mqtt_conn_online(c, ack.session_present);
    return mqtt_conn_up(c) ? 0 : 1;
}

static void deliver(struct mqtt_conn *c, const struct mqtt_publish *p, const struct adapter_meta *meta)
{
    const struct adapter_message m = {.topic = p->topic,
                                      .topic_len = p->topic_len,
                                      .payload = p->payload,
                                      .payload_len = p->payload_len,
                                      .qos = p->qos,
                                      .retain = p->retain,
                                      .duplicate = p->dup,
                                      .meta = meta};
    counter_add(c->target->series.messages_received, 1);
    if (c->flags & MQTT_WATCHED && c->extra->memberships)
        mqtt_share_delivered(c, p->topic, p->topic_len);
    if (c->events->on_message)
        c->events->on_message(c->owner, &m);
}

// What is behind decoding, alike in both versions. with: NULL or the properties.
static int handle_publish(struct mqtt_conn *c, const struct mqtt_publish *p, const struct mqtt5_properties *with,
                          struct error *err)
{
    int is_new = 1;
    if (p->qos == 2) {
        is_new = mqtt_session_received(&c->session, p->packet_id);
        if (is_new < 0)
            return error_set(err, ERR_NO_MEMORY, "no memory for the id of a QoS 2 message");
    }
    if (is_new && !(c->flags & MQTT_WATCHED && mqtt_exchange_response(c, p, with))) {
        struct adapter_meta meta;
        if (with && with->present)
            mqtt_meta_of(with, &meta);
        deliver(c, p, with && with->present ? &meta : NULL);
    }
    if (!mqtt_conn_up(c))
        return 1;
    if (p->qos == 0)
        return 0;
    return mqtt_send_ack(c, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, 0, err);
}

static int on_publish5(struct mqtt_conn *c, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_publish p;
    struct mqtt5_properties with;
    struct adapter_property user[MQTT5_USER_MAX];
    with.user = user;
    if (mqtt5_publish_decode(first, body, n, &p, &with, &c->extra->reason, err) < 0 ||
        mqtt_publish5_arrived(c, &p, &with, err) < 0)
        return -1;
    return handle_publish(c, &p, &with, err);
}

static int on_publish(struct mqtt_conn *c, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_publish p;
    if (mqtt_conn_is5(c))
        return on_publish5(c, first, body, n, err);
    if (mqtt_publish_decode(first, body, n, &p, err) < 0)
        return -1;
    return handle_publish(c, &p, NULL, err);
}

// text: for the reason string of version 5, cut to fit; "" without.
static int decode_ack(struct mqtt_conn *c, enum mqtt_type type, const uint8_t *body, size_t n, struct mqtt_ack *ack,
                      char *text, size_t size, struct error *err)
{
    struct mqtt5_properties with;
    text[0] = '\0';
    if (!mqtt_conn_is5(c) || n == 2) // nothing but the id: alike in both
        return mqtt_ack_decode(type, body, n, ack, err);
    with.user = NULL;
    if (mqtt5_ack_decode(type, body, n, ack, &with, &c->extra->reason, err) < 0)
        return -1;
    mqtt_reason_string(&with, text, size);
    return 0;
}

// A message has ended: why NULL: it arrived.
static int message_done(struct mqtt_conn *c, struct mqtt_out *out, const struct error *why)
{
    struct mqtt_series *s = &c->target->series;
    trend_add_lagged(s->publish_latency, s->publish_latency_raw, loop_fresh_us(c->target->env.loop) - out->accepted_us,
                     &out->lag);
    if (!why)
        counter_add(s->messages_acked, 1);
    rate_add(s->publish_errors, why);
    mqtt_conn_told(c, out, why);
    return mqtt_conn_up(c) ? 0 : 1;
}

// Not what a message of this QoS is answered with. It would wait for ever: it ends here, so that a broker that
// downgrades QoS 2 without saying so does not get it again on every connection.
static int wrong_ack(struct mqtt_conn *c, enum mqtt_type type, struct mqtt_out *out, struct error *err)
{
    bool early = out->qos == 2 && type == MQTT_PUBCOMP;
    error_set(err, ERR_PROTOCOL, "the broker answered %s to a message of QoS %u%s (MQTT %s)%s", mqtt_type_name(type),
              out->qos, early ? " before its PUBREL" : "", out->qos == 1 ? "4.3.2" : "4.3.3",
              type == MQTT_PUBACK ? ": it seems to have QoS 1 at most" : "");
    if (mqtt_conn_is5(c))
        c->extra->reason = MQTT5_PROTOCOL_ERROR;
    mqtt_conn_lost(c, out, err);
    return mqtt_conn_up(c) ? -1 : 1;
}

// PUBACK, PUBREC, PUBCOMP: of what we published.
static int on_ack(struct mqtt_conn *c, enum mqtt_type type, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_series *s = &c->target->series;
    struct mqtt_ack ack;
    struct mqtt_out *out;
    struct error why;
    char text[256];
    if (decode_ack(c, type, body, n, &ack, text, sizeof text, err) < 0)
        return -1;
    // PUBCOMP with an error: the server had the message already, only its id is gone (4.3.3).
    bool failed = ack.reason >= 0x80 && type != MQTT_PUBCOMP;
    switch (mqtt_session_ack(&c->session, type, ack.packet_id, failed, &out)) {
    case MQTT_ACK_UNKNOWN:
        counter_add(s->acks_unknown, 1);
        // Without a PUBREL the broker would keep an id that we know nothing of for ever.
        return type == MQTT_PUBREC && !failed ? mqtt_send_ack(c, MQTT_PUBREL, ack.packet_id, 0x92, err) : 0;
    case MQTT_ACK_RELEASE:
        return mqtt_send_ack(c, MQTT_PUBREL, ack.packet_id, 0, err);
    case MQTT_ACK_WRONG:
        return wrong_ack(c, type, out, err);
    case MQTT_ACK_DONE:
        break;
    }
    if (failed)
        error_set(&why, ERR_REFUSED, "the broker refused the message: %s (reason 0x%02x)%s",
                  mqtt5_reason_text(ack.reason), ack.reason, text);
    else if (ack.reason == 0x10 && out->exchange)
        error_set(&why, ERR_NOT_FOUND, "nobody has subscribed to the topic of the request (reason 0x10)%s", text);
    else
        return message_done(c, out, NULL);
    return message_done(c, out, &why);
}

static int on_pubrel(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_ack ack;
    char text[8];
    if (decode_ack(c, MQTT_PUBREL, body, n, &ack, text, sizeof text, err) < 0)
        return -1;
    if (c->extra && c->extra->receiving)
        c->extra->receiving--;
    bool known = mqtt_session_released(&c->session, ack.packet_id);
    return mqtt_send_ack(c, MQTT_PUBCOMP, ack.packet_id, known ? 0 : 0x92, err);
}

// Keeps the session's list of subscriptions.
static void remember(struct mqtt_conn *c, const struct mqtt_request *r, const struct error *refused)
{
    bool shared = mqtt_is_share(r->filter, r->filter_len);
    if (r->type == MQTT_UNSUBSCRIBE) {
        if (refused)
            return;
        mqtt_session_unsubscribed(&c->session, r->filter, r->filter_len);
        if (shared)
            mqtt_share_left(c, r->filter, r->filter_len);
    } else if (refused) {
        if (!r->again)
            return;
        mqtt_session_unsubscribed(&c->session, r->filter, r->filter_len);
        log_write(c->target->env.log, LOG_WARN, NULL, "%s: %s after a reconnect", c->target->shown, refused->text);
    } else {
        // mqtt_request has made sure of the room; without memory it only is not renewed after a clean reconnect.
        if (!r->again)
            (void)mqtt_session_subscribed(&c->session, r->filter, r->filter_len, &r->with, NULL);
        if (shared)
            mqtt_share_joined(c, r->filter, r->filter_len);
    }
}

// Ends a request, and tells. code: of its filter; text: what the server said about it.
static int request_done(struct mqtt_conn *c, struct mqtt_request *r, uint8_t code, const char *text)
{
    struct error why, *refused = code >= 0x80 ? &why : NULL;
    int granted = r->type == MQTT_SUBSCRIBE && !refused ? code : -1;
    const char *what = r->type == MQTT_SUBSCRIBE ? "subscription to" : "end of the subscription to";
    if (refused && mqtt_conn_is5(c))
        error_set(&why, ERR_REFUSED, "the broker refused the %s %.*s: %s (reason 0x%02x)%s", what,
                  (int)(r->filter_len > 200 ? 200 : r->filter_len), r->filter, mqtt5_reason_text(code), code, text);
    else if (refused)
        error_set(&why, ERR_REFUSED, "the broker refused the %s %.*s", what, (int)r->filter_len, r->filter);
    if (r->type == MQTT_SUBSCRIBE && !r->again)
        trend_add(c->target->series.subscribe_latency, loop_fresh_us(c->target->env.loop) - r->started_us);
    if (r->own) {
        free(r);
        mqtt_session_trim(&c->session);
        mqtt_exchange_subscribed(c, refused);
        return mqtt_conn_up(c) ? 0 : 1;
    }
    remember(c, r, refused);
    uint32_t token = r->again ? 0 : r->token;
    free(r);
    mqtt_session_trim(&c->session);
    if (token && c->events->on_done)
        c->events->on_done(c->owner, token, granted, refused);
    return mqtt_conn_up(c) ? 0 : 1;
}

// SUBACK and, with version 5, UNSUBACK: one code for each filter.
static int on_codes(struct mqtt_conn *c, enum mqtt_type type, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_suback ack;
    struct mqtt5_properties with = {.present = 0};
    char text[256];
    int rc = mqtt_conn_is5(c) ? mqtt5_suback_decode(type, body, n, &ack, &with, &c->extra->reason, err)
                              : mqtt_suback_decode(body, n, &ack, err);
    if (rc < 0)
        return -1;
    struct mqtt_request *r =
        mqtt_session_answer(&c->session, type == MQTT_SUBACK ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE, ack.packet_id);
    if (!r) {
        counter_add(c->target->series.acks_unknown, 1);
        return 0;
    }
    if (ack.n_codes == 1)
        return request_done(c, r, ack.codes[0], mqtt_reason_string(&with, text, sizeof text));
    struct error lost;
    error_set(&lost, ERR_PROTOCOL, "%s with %zu return codes for 1 filter (MQTT 3.9.3-1)", mqtt_type_name(type),
              ack.n_codes);
    uint32_t token = r->again || r->own ? 0 : r->token;
    free(r);
    if (token && c->events->on_done)
        c->events->on_done(c->owner, token, -1, &lost);
    *err = lost;
    return mqtt_conn_up(c) ? -1 : 1;
}

static int on_unsuback(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_ack ack;
    if (mqtt_conn_is5(c))
        return on_codes(c, MQTT_UNSUBACK, body, n, err);
    if (mqtt_ack_decode(MQTT_UNSUBACK, body, n, &ack, err) < 0)
        return -1;
    struct mqtt_request *r = mqtt_session_answer(&c->session, MQTT_UNSUBSCRIBE, ack.packet_id);
    if (r)
        return request_done(c, r, 0, "");
    counter_add(c->target->series.acks_unknown, 1);
    return 0;
}

// Before CONNACK.
static int on_first_packet(struct mqtt_conn *c, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    bool is5 = mqtt_conn_is5(c);
    if (first >> 4 == MQTT_CONNACK)
        return is5 ? mqtt_connack5(c, body, n, err) : on_connack(c, body, n, err);
    if (is5 && first >> 4 == MQTT_AUTH)
        return mqtt_auth_packet(c, body, n, err);
    return unexpected(first, "the first packet must be CONNACK (MQTT 3.2.0-1)", err);
}

static int on_pingresp(struct mqtt_conn *c, size_t n, struct error *err)
{
    if (mqtt_empty_decode(MQTT_PINGRESP, n, err) < 0) {
        if (c->extra)
            c->extra->reason = 0x81; // malformed packet
        return -1;
    }
    mqtt_conn_pong(c);
    return 0;
}

static int on_packet(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_conn *c = arg;
    enum mqtt_type type = (enum mqtt_type)(first >> 4);
    if (c->state == MQTT_HANDSHAKE)
        return on_first_packet(c, first, body, n, err);
    switch ((int)type) {
    case MQTT_PUBLISH:
        return on_publish(c, first, body, n, err);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        return on_ack(c, type, body, n, err);
    case MQTT_PUBREL:
        return on_pubrel(c, body, n, err);
    case MQTT_SUBACK:
        return on_codes(c, MQTT_SUBACK, body, n, err);
    case MQTT_UNSUBACK:
        return on_unsuback(c, body, n, err);
    case MQTT_PINGRESP:
        return on_pingresp(c, n, err);
    case MQTT_CONNACK:
        return unexpected(first, "a connection has only one (MQTT 3.2)", err);
    case MQTT_DISCONNECT:
        if (mqtt_conn_is5(c))
            return mqtt_disconnect5(c, body, n, err);
        return unexpected(first, "only clients send it (MQTT 2.2.1)", err);
    case MQTT_AUTH:
        if (mqtt_conn_is5(c))
            return mqtt_auth_packet(c, body, n, err);
        // fall through
    default:
        return unexpected(first, "only clients send it (MQTT 2.2.1)", err);
    }
}

void mqtt_incoming(struct mqtt_conn *c, const uint8_t *bytes, size_t n)
{
    struct error err;
    uint32_t max = c->target->options.max_packet;
    counter_add(c->target->series.bytes_received, n);
    int rc = mqtt_conn_is5(c) ? mqtt5_parser_feed(&c->parser, bytes, n, max, on_packet, c, &c->extra->reason, &err)
                              : mqtt_parser_feed(&c->parser, bytes, n, max, on_packet, c, &err);
    if (rc < 0 && mqtt_conn_up(c))
        mqtt_conn_violated(c, &err);
    else if (c->state == MQTT_ONLINE)
        mqtt_send_waiting(c);
}
