// PUBLISH of version 5 on its way out: properties, topic aliases, what the server takes.
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/topic.h"

int mqtt_meta_unsupported(const struct adapter_meta *m, struct error *err)
{
    const char *what = m->n_user           ? "user properties"
                       : m->content_type   ? "content_type"
                       : m->response_topic ? "response_topic"
                       : m->correlation    ? "correlation"
                       : m->has_expiry     ? "expiry"
                       : m->payload_text   ? "payload_text"
                       : m->alias          ? "alias"
                                           : NULL;
    return what ? error_set(err, ERR_UNSUPPORTED, "%s: only MQTT 5 has it, set version = \"5\"", what) : 0;
}

static void set_text(struct mqtt5_properties *p, enum mqtt5_property id, struct mqtt_text *to, const char *data,
                     size_t len)
{
    if (!data)
        return;
    *to = (struct mqtt_text){data, len};
    mqtt5_set(p, id);
}

int mqtt_meta_properties(const struct adapter_meta *m, struct mqtt5_properties *p, struct error *err)
{
    *p = (struct mqtt5_properties){0};
    if (m->n_user > MQTT5_USER_MAX)
        return error_set(err, ERR_LIMIT, "a message has at most %u user properties, this one %u", MQTT5_USER_MAX,
                         m->n_user);
    if (m->response_topic && mqtt_topic_check(m->response_topic, m->response_topic_len, err) < 0)
        return error_prefix(err, "response_topic");
    set_text(p, MQTT5_CONTENT_TYPE, &p->content_type, m->content_type, m->content_type_len);
    set_text(p, MQTT5_RESPONSE_TOPIC, &p->response_topic, m->response_topic, m->response_topic_len);
    set_text(p, MQTT5_CORRELATION_DATA, &p->correlation_data, (const char *)m->correlation, m->correlation_len);
    if (m->n_user) {
        p->user = (struct adapter_property *)(uintptr_t)m->user; // borrowed for encoding
        p->n_user = m->n_user;
        mqtt5_set(p, MQTT5_USER_PROPERTY);
    }
    if (m->has_expiry) {
        p->message_expiry = m->expiry_s;
        mqtt5_set(p, MQTT5_MESSAGE_EXPIRY);
    }
    if (m->payload_text) {
        p->payload_format = 1;
        mqtt5_set(p, MQTT5_PAYLOAD_FORMAT);
    }
    return 0;
}

int mqtt_server_takes(const struct mqtt_conn *c, uint8_t qos, bool retain, size_t size, struct error *err)
{
    const struct mqtt_extra *x = c->extra;
    if (!(c->flags & MQTT_LIMITED))
        return 0;
    if (qos > x->max_qos)
        return error_set(err, ERR_UNSUPPORTED, "QoS %u: the broker takes at most QoS %u, says its CONNACK", qos,
                         x->max_qos);
    if (retain && !(x->can & MQTT_CAN_RETAIN))
        return error_set(err, ERR_UNSUPPORTED, "retain: the broker keeps no messages, says its CONNACK");
    if (size > x->max_packet)
        return error_set(err, ERR_LIMIT, "a packet of %zu bytes: the broker takes at most %u, says its CONNACK", size,
                         x->max_packet);
    return 0;
}

static bool wants_alias(const struct mqtt_conn *c, bool wished)
{
    return c->flags & MQTT_ALIASES && (wished || c->target->options.topic_aliases);
}

// The number for the topic of m; *known: the server knows it already, so that the topic can be left out. 0: none.
static uint16_t alias_for(struct mqtt_conn *c, const struct mqtt_publish *m, bool *known)
{
    struct mqtt_extra *x = c->extra;
    if (!x->aliases_out)
        x->aliases_out = mqtt_aliases_out_new(x->alias_max);
    if (!x->aliases_out)
        return 0;
    uint16_t alias = mqtt_alias_out_find(x->aliases_out, m->topic, m->topic_len);
    *known = alias;
    return alias ? alias : mqtt_alias_out_assign(x->aliases_out, m->topic, m->topic_len);
}

static int send_plain(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                      struct error *err)
{
    size_t size = mqtt5_publish_size(m, properties, err);
    uint8_t *p = size ? link_reserve(&c->link, size, err) : NULL;
    if (!p)
        return -1;
    mqtt5_publish_encode(p, m, properties);
    mqtt_sent(c, size);
    return 0;
}

int mqtt_send_publish5(struct mqtt_conn *c, const struct mqtt_publish *m, const struct mqtt5_properties *properties,
                       bool alias, struct error *err)
{
    bool known = false;
    uint16_t number = wants_alias(c, alias) ? alias_for(c, m, &known) : 0;
    if (!number)
        return send_plain(c, m, properties, err);
    struct mqtt_publish with = *m;
    struct mqtt5_properties all = properties ? *properties : (struct mqtt5_properties){0};
    all.topic_alias = number;
    mqtt5_set(&all, MQTT5_TOPIC_ALIAS);
    if (known)
        with.topic_len = 0;
    else if (mqtt5_publish_size(&with, &all, NULL) > c->extra->max_packet) {
        mqtt_alias_out_forget(c->extra->aliases_out, number); // the three bytes are too many
        return send_plain(c, m, properties, err);
    }
    if (send_plain(c, &with, &all, err) == 0)
        return 0;
    if (!known)
        mqtt_alias_out_forget(c->extra->aliases_out, number);
    return -1;
}

// The properties that are kept with a message, encoded.
static bool stored_properties(const struct mqtt_out *o, struct mqtt5_properties *p, struct adapter_property *user)
{
    const uint8_t *at = o->bytes + o->topic_len, *end = at + o->properties_len;
    uint8_t reason;
    p->user = user;
    return mqtt5_properties_decode(MQTT_PUBLISH, false, &at, end, p, &reason, NULL) == 0;
}

static struct mqtt_publish publish_of(const struct mqtt_out *o)
{
    return (struct mqtt_publish){.topic = (const char *)o->bytes,
                                 .topic_len = o->topic_len,
                                 .payload = o->bytes + o->topic_len + o->properties_len,
                                 .payload_len = o->payload_len,
                                 .packet_id = o->packet_id,
                                 .qos = o->qos,
                                 .retain = o->retain,
                                 .dup = o->resend};
}

uint32_t mqtt_expiry_left(uint32_t expiry_s, int64_t waited_us)
{
    int64_t waited_s = waited_us / 1000000;
    if (waited_s <= 0)
        return expiry_s;
    return waited_s < expiry_s ? expiry_s - (uint32_t)waited_s : 1;
}

bool mqtt_send_out5(struct mqtt_conn *c, const struct mqtt_out *o)
{
    const struct mqtt_publish m = publish_of(o);
    struct mqtt_series *s = &c->target->series;
    bool alias = !o->was_sent && wants_alias(c, o->alias);
    int rc;
    if (o->properties_len) {
        struct adapter_property user[MQTT5_USER_MAX];
        struct mqtt5_properties p;
        if (!stored_properties(o, &p, user))
            return false;
        if (o->expires)
            p.message_expiry = mqtt_expiry_left(o->expiry_s, loop_now_us(c->target->env.loop) - o->accepted_us);
        rc = alias ? mqtt_send_publish5(c, &m, &p, true, NULL) : send_plain(c, &m, &p, NULL);
    } else {
        rc = alias ? mqtt_send_publish5(c, &m, NULL, true, NULL) : send_plain(c, &m, NULL, NULL);
    }
    if (rc == 0)
        counter_add(o->was_sent ? s->messages_resent : s->messages_sent, 1);
    return rc == 0;
}

static size_t out_size(const struct mqtt_out *o)
{
    return mqtt_packet_size(2u + o->topic_len + 2u + (o->properties_len ? o->properties_len : 1u) + o->payload_len);
}

static bool untakable(void *arg, const struct mqtt_out *o)
{
    return mqtt_server_takes(arg, o->qos, o->retain, out_size(o), NULL) < 0;
}

void mqtt_drop_untakable(struct mqtt_conn *c)
{
    struct error why;
    if (!(c->flags & MQTT_LIMITED))
        return;
    for (struct mqtt_out *o; mqtt_conn_up(c) && (o = mqtt_session_reject(&c->session, untakable, c));) {
        (void)mqtt_server_takes(c, o->qos, o->retain, out_size(o), &why);
        mqtt_conn_lost(c, o, &why);
    }
}
