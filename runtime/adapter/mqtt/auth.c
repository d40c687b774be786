#include "adapter/mqtt/auth.h"
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"

#define DATA_MAX 65535u

static int violation(struct mqtt_conn *c, uint8_t reason, struct error *err, const char *text)
{
    c->extra->reason = reason;
    return error_set(err, ERR_PROTOCOL, "%s", text);
}

// Asks the owner. NULL data: the beginning. -1: it says no, or has closed or deleted the connection.
static int ask(struct mqtt_conn *c, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    if (!c->events->on_auth)
        return 0;
    mqtt_conn_enter(c);
    int rc = c->events->on_auth(c->owner, data, n, reply, err);
    bool up = mqtt_conn_up(c);
    if (rc == 0 && !up)
        rc = error_set(err, ERR_CANCELLED, "closed while authenticating");
    if (rc < 0 && up && c->extra->auth != MQTT_AUTH_NONE)
        c->extra->reason = 0x87; // not authorized: this side does not believe the server
    if (rc < 0)
        error_prefix(err, "authentication");
    mqtt_conn_leave(c); // may free it, where the caller is not inside too
    return rc;
}

static void set_data(struct mqtt5_properties *p, const struct buf *data)
{
    if (!data->len)
        return;
    p->auth_data = (struct mqtt_text){(const char *)data->data, data->len};
    mqtt5_set(p, MQTT5_AUTH_DATA);
}

int mqtt_auth_begin(struct mqtt_conn *c, struct mqtt5_properties *properties, struct buf *out, struct error *err)
{
    c->extra->auth = MQTT_AUTH_CONNECT;
    if (ask(c, NULL, 0, out, err) < 0)
        return -1;
    set_data(properties, out);
    return 0;
}

static bool is_method(const struct mqtt_conn *c, const struct mqtt5_properties *with)
{
    const struct mqtt_text *ours = &c->target->options.connect5.auth_method;
    return mqtt5_has(with, MQTT5_AUTH_METHOD) && with->auth_method.len == ours->len &&
           memcmp(with->auth_method.data, ours->data, ours->len) == 0;
}

// The server's last data are the owner's to judge; it has nothing to answer.
static int last_data(struct mqtt_conn *c, const struct mqtt5_properties *with, struct error *err)
{
    struct buf ignored;
    if (!mqtt5_has(with, MQTT5_AUTH_DATA))
        return 0;
    buf_create(&ignored, DATA_MAX);
    int rc = ask(c, (const uint8_t *)with->auth_data.data, with->auth_data.len, &ignored, err);
    buf_destroy(&ignored);
    return rc;
}

int mqtt_auth_connected(struct mqtt_conn *c, const struct mqtt5_properties *with, struct error *err)
{
    if (!c->target->options.auth_method) {
        if (mqtt5_has(with, MQTT5_AUTH_METHOD))
            return violation(c, 0x82, err, "CONNACK with an authentication method that CONNECT had not (MQTT 5, 4.12)");
        return 0;
    }
    if (!is_method(c, with))
        return violation(c, 0x82, err, "CONNACK without the authentication method of CONNECT (MQTT 5, 4.12.0-5)");
    c->extra->auth = MQTT_AUTH_NONE;
    return last_data(c, with, err);
}

static int send_auth(struct mqtt_conn *c, uint8_t reason, const struct buf *data, struct error *err)
{
    struct mqtt5_properties p = {.auth_method = c->target->options.connect5.auth_method};
    mqtt5_set(&p, MQTT5_AUTH_METHOD);
    set_data(&p, data);
    return mqtt_send_reason(c, MQTT_AUTH, reason, &p, err);
}

static int go_on(struct mqtt_conn *c, const struct mqtt5_properties *with, struct error *err)
{
    struct buf reply;
    bool has = mqtt5_has(with, MQTT5_AUTH_DATA);
    if (!c->events->on_auth) {
        c->extra->reason = 0x8c; // bad authentication method
        return error_set(err, ERR_UNSUPPORTED,
                         "the broker goes on with the authentication, and the device has no "
                         "handler for it: dev:on(\"auth\", function(data) ... end)");
    }
    buf_create(&reply, DATA_MAX);
    int rc = ask(c, has ? (const uint8_t *)with->auth_data.data : (const uint8_t *)"", has ? with->auth_data.len : 0,
                 &reply, err);
    if (rc == 0)
        rc = send_auth(c, 0x18, &reply, err);
    buf_destroy(&reply);
    return rc < 0 && !mqtt_conn_up(c) ? 1 : rc;
}

int mqtt_auth_packet(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err)
{
    struct mqtt5_properties with;
    uint8_t code;
    with.user = NULL;
    if (mqtt5_reason_decode(MQTT_AUTH, body, n, &code, &with, &c->extra->reason, err) < 0)
        return -1;
    if (c->extra->auth == MQTT_AUTH_NONE)
        return violation(c, 0x82, err, "AUTH though no authentication is under way (MQTT 5, 4.12.0-6)");
    if (!is_method(c, &with))
        return violation(c, 0x82, err, "AUTH without the authentication method of CONNECT (MQTT 5, 4.12.0-5)");
    if (code == 0x18)
        return go_on(c, &with, err);
    if (code != 0 || c->extra->auth != MQTT_AUTH_AGAIN)
        return violation(c, 0x82, err, "AUTH with a reason that has no place here (MQTT 5, 4.12.0-2)");
    c->extra->auth = MQTT_AUTH_NONE;
    if (last_data(c, &with, err) < 0)
        return mqtt_conn_up(c) ? -1 : 1;
    mqtt_exchange_auth_end(c, NULL);
    return mqtt_conn_up(c) ? 0 : 1;
}

int mqtt_auth_again(struct mqtt_conn *c, uint32_t token, int64_t timeout_us, struct error *err)
{
    struct buf data;
    if (!c->target->options.auth_method)
        return error_set(err, ERR_INVALID, "AUTH: the connection has no authMethod");
    if (c->extra->auth != MQTT_AUTH_NONE)
        return error_set(err, ERR_STATE, "AUTH: an authentication is under way already");
    buf_create(&data, DATA_MAX);
    // The one function of the interface that asks its owner inside a call: the answer is part of the request.
    int rc = ask(c, NULL, 0, &data, err);
    if (rc == 0)
        rc = mqtt_exchange_auth_begin(c, token, timeout_us, err);
    if (rc == 0) {
        c->extra->auth = MQTT_AUTH_AGAIN;
        if ((rc = send_auth(c, 0x19, &data, err)) < 0) {
            c->extra->auth = MQTT_AUTH_NONE;
            mqtt_exchange_cancel(c, token);
        }
    }
    buf_destroy(&data);
    return rc;
}
