// What only a server of version 5 says: CONNACK's properties, DISCONNECT, topic aliases and quotas of its messages.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/auth.h"
#include "adapter/mqtt/conn.h"

const char *mqtt_reason_string(const struct mqtt5_properties *with, char *out, size_t size)
{
    out[0] = '\0';
    if (mqtt5_has(with, MQTT5_REASON_STRING) && with->reason_string.len)
        snprintf(out, size, ": %.*s", (int)(with->reason_string.len < size ? with->reason_string.len : size),
                 with->reason_string.data);
    return out;
}

static int violation(struct mqtt_conn *c, uint8_t reason, enum error_code code, struct error *err, const char *text)
{
    c->extra->reason = reason;
    return error_set(err, code, "%s", text);
}

static int keep_client_id(struct mqtt_extra *x, const struct mqtt5_properties *with, struct error *err)
{
    if (!mqtt5_has(with, MQTT5_ASSIGNED_CLIENT_ID))
        return 0;
    char *id = strndup(with->assigned_client_id.data, with->assigned_client_id.len);
    if (!id)
        return error_set(err, ERR_NO_MEMORY, "no memory for a client id");
    free(x->client_id);
    x->client_id = id;
    return 0;
}

// What the server can and wants (3.2.2.3).
static int keep_limits(struct mqtt_conn *c, const struct mqtt5_properties *with, struct error *err)
{
    struct mqtt_extra *x = c->extra;
    if (mqtt5_has(with, MQTT5_MAXIMUM_PACKET_SIZE))
        x->max_packet = with->maximum_packet_size;
    if (mqtt5_has(with, MQTT5_RECEIVE_MAXIMUM) && with->receive_maximum < x->window)
        x->window = with->receive_maximum;
    if (mqtt5_has(with, MQTT5_SERVER_KEEP_ALIVE))
        x->keep_alive = with->server_keep_alive;
    if (mqtt5_has(with, MQTT5_TOPIC_ALIAS_MAXIMUM))
        x->alias_max = with->topic_alias_maximum;
    if (mqtt5_has(with, MQTT5_MAXIMUM_QOS))
        x->max_qos = with->maximum_qos;
    if (mqtt5_has(with, MQTT5_RETAIN_AVAILABLE) && !with->retain_available)
        x->can &= (uint8_t)~MQTT_CAN_RETAIN;
    if (mqtt5_has(with, MQTT5_WILDCARD_AVAILABLE) && !with->wildcard_available)
        x->can &= (uint8_t)~MQTT_CAN_WILDCARD;
    if (mqtt5_has(with, MQTT5_SUBSCRIPTION_ID_AVAILABLE) && !with->subscription_id_available)
        x->can &= (uint8_t)~MQTT_CAN_SUBSCRIPTION_ID;
    if (mqtt5_has(with, MQTT5_SHARED_AVAILABLE) && !with->shared_available)
        x->can &= (uint8_t)~MQTT_CAN_SHARED;
    if (mqtt5_has(with, MQTT5_RESPONSE_INFO) && with->response_info.len) {
        char *copy = strndup(with->response_info.data, with->response_info.len);
        if (!copy)
            return error_set(err, ERR_NO_MEMORY, "no memory for the response information");
        free((char *)(uintptr_t)x->response_info.data);
        x->response_info = (struct mqtt_text){copy, with->response_info.len};
    }
    const struct mqtt_options *o = &c->target->options;
    if (x->max_qos < 2 || !(x->can & MQTT_CAN_RETAIN) || x->max_packet != UINT32_MAX)
        c->flags |= MQTT_LIMITED;
    if (x->alias_max)
        c->flags |= MQTT_ALIASES;
    if (x->window != o->queue.window || x->keep_alive != o->keep_alive)
        c->flags |= MQTT_NARROW;
    return keep_client_id(x, with, err);
}

// A reference to another server that is to be followed: goes there. true: the connection is gone.
static bool redirected(struct mqtt_conn *c, uint8_t reason, const struct mqtt5_properties *with, struct error *why)
{
    struct error bad;
    if ((reason != 0x9c && reason != 0x9d) || !c->target->options.follow_redirect ||
        !mqtt5_has(with, MQTT5_SERVER_REFERENCE))
        return false;
    struct mqtt_site *site =
        mqtt_site_of_reference(c->target, with->server_reference.data, with->server_reference.len, &bad);
    if (!site) {
        *why = bad;
        return false;
    }
    mqtt_conn_redirect(c, site, why, reason);
    return true;
}

static void reference_text(const struct mqtt5_properties *with, char *out, size_t size)
{
    out[0] = '\0';
    if (mqtt5_has(with, MQTT5_SERVER_REFERENCE))
        snprintf(out, size, ", server reference \"%.*s\"",
                 (int)(with->server_reference.len < 100 ? with->server_reference.len : 100),
                 with->server_reference.data);
}

// For events: reason string and server reference of a refusal.
static int refused(struct mqtt_conn *c, const char *what, uint8_t reason, const struct mqtt5_properties *with)
{
    struct error why;
    char text[200], reference[140];
    reference_text(with, reference, sizeof reference);
    error_set(&why, reason >= 0x80 && c->state == MQTT_HANDSHAKE ? ERR_REFUSED : ERR_CLOSED,
              "%s: %s (reason 0x%02x)%s%s", what, mqtt5_reason_text(reason), reason, reference,
              mqtt_reason_string(with, text, sizeof text));
    if (!redirected(c, reason, with, &why))
        mqtt_conn_refused(c, &why, reason);
    return 1;
}

int mqtt_connack5(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt_connack ack;
    struct mqtt5_properties with;
    with.user = NULL;
    if (mqtt5_connack_decode(body, n, &ack, &with, &c->extra->reason, err) < 0)
        return -1;
    if (ack.reason)
        return refused(c, "the broker refused the connection", ack.reason, &with);
    if (ack.session_present && c->extra->clean)
        return violation(c, 0x82, ERR_PROTOCOL, err,
                         "CONNACK says session present after a clean start was asked for (MQTT 5, 3.1.2-4)");
    if (mqtt_auth_connected(c, &with, err) < 0)
        return mqtt_conn_up(c) ? -1 : 1;
    if (!mqtt_conn_up(c))
        return 1;
    if (keep_limits(c, &with, err) < 0)
        return -1;
    mqtt_conn_online(c, ack.session_present);
    if (mqtt_conn_up(c) && mqtt5_has(&with, MQTT5_SESSION_EXPIRY) && !with.session_expiry)
        c->extra->resume = false; // the server keeps no session
    return mqtt_conn_up(c) ? 0 : 1;
}

int mqtt_disconnect5(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt5_properties with;
    uint8_t reason;
    with.user = NULL;
    if (mqtt5_reason_decode(MQTT_DISCONNECT, body, n, &reason, &with, &c->extra->reason, err) < 0)
        return -1;
    return refused(c, "the broker disconnected", reason, &with);
}

static int alias_arrived(struct mqtt_conn *c, struct mqtt_publish *p, uint16_t alias, struct error *err)
{
    struct mqtt_extra *x = c->extra;
    if (alias > c->target->options.topic_alias_maximum)
        return violation(c, 0x94, ERR_PROTOCOL, err,
                         "PUBLISH with a topic alias over topicAliasMaximum (MQTT 5, 3.1.2-26)");
    if (!x->aliases_in && !(x->aliases_in = mqtt_aliases_in_new()))
        return error_set(err, ERR_NO_MEMORY, "no memory for topic aliases");
    if (p->topic_len) {
        int rc = mqtt_alias_in_set(x->aliases_in, alias, p->topic, p->topic_len);
        if (rc == -1)
            return violation(c, 0x97, ERR_LIMIT, err, "the topics of the broker's aliases are over 1 MB together");
        return rc < 0 ? error_set(err, ERR_NO_MEMORY, "no memory for a topic alias") : 0;
    }
    p->topic = mqtt_alias_in_get(x->aliases_in, alias, &p->topic_len);
    return p->topic ? 0
                    : violation(c, 0x82, ERR_PROTOCOL, err,
                                "PUBLISH with a topic alias that was never set (MQTT 5, 3.3.2.3.4)");
}

int mqtt_publish5_arrived(struct mqtt_conn *c, struct mqtt_publish *p, const struct mqtt5_properties *with,
                          struct error *err)
{
    if (mqtt5_has(with, MQTT5_TOPIC_ALIAS)) {
        if (alias_arrived(c, p, with->topic_alias, err) < 0)
            return -1;
    } else if (!p->topic_len) {
        return violation(c, 0x82, ERR_PROTOCOL, err, "PUBLISH without topic and topic alias (MQTT 5, 3.3.2.1)");
    }
    if (p->qos < 2)
        return 0; // QoS 1 is acknowledged before the next packet is looked at
    if (c->extra->receiving >= c->target->options.receive_maximum)
        return violation(c, 0x93, ERR_PROTOCOL, err,
                         "more QoS 2 messages without PUBREL than receiveMaximum (MQTT 5, 3.3.4-7)");
    c->extra->receiving++;
    return 0;
}

void mqtt_meta_of(const struct mqtt5_properties *with, struct adapter_meta *out)
{
    *out = (struct adapter_meta){.n_user = mqtt5_has(with, MQTT5_USER_PROPERTY) ? with->n_user : 0};
    out->user = out->n_user ? with->user : NULL;
    if (mqtt5_has(with, MQTT5_CONTENT_TYPE)) {
        out->content_type = with->content_type.data;
        out->content_type_len = with->content_type.len;
    }
    if (mqtt5_has(with, MQTT5_RESPONSE_TOPIC)) {
        out->response_topic = with->response_topic.data;
        out->response_topic_len = with->response_topic.len;
    }
    if (mqtt5_has(with, MQTT5_CORRELATION_DATA)) {
        out->correlation = (const uint8_t *)with->correlation_data.data;
        out->correlation_len = with->correlation_data.len;
    }
    if (mqtt5_has(with, MQTT5_MESSAGE_EXPIRY)) {
        out->has_expiry = true;
        out->expiry_s = with->message_expiry;
    }
    out->payload_text = mqtt5_has(with, MQTT5_PAYLOAD_FORMAT) && with->payload_format == 1;
    out->alias = mqtt5_has(with, MQTT5_TOPIC_ALIAS);
    for (unsigned i = 0; i < with->n_subscription_ids && i < ADAPTER_SUBSCRIPTION_IDS; i++)
        out->subscription_ids[out->n_subscription_ids++] = with->subscription_ids[i];
}
