// The MQTT adapter as the adapter interface sees it: casts between its opaque types and ours.
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"
#include "adapter/mqtt/mqtt.h"

static struct mqtt_conn *conn_of(struct adapter_conn *conn)
{
    return (struct mqtt_conn *)(void *)conn;
}

static const struct mqtt_conn *const_conn_of(const struct adapter_conn *conn)
{
    return (const struct mqtt_conn *)(const void *)conn;
}

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    return (struct adapter_target *)(void *)mqtt_target_new(env, url, options, group, err);
}

static void target_delete(struct adapter_target *target)
{
    mqtt_target_delete((struct mqtt_target *)(void *)target);
}

static struct adapter_conn *conn_new(struct adapter_target *target, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    struct mqtt_target *t = (struct mqtt_target *)(void *)target;
    return (struct adapter_conn *)(void *)mqtt_conn_new(t, events, identity, owner, seed, err);
}

static void conn_delete(struct adapter_conn *conn)
{
    mqtt_conn_delete(conn_of(conn));
}

static int conn_open(struct adapter_conn *conn, struct error *err)
{
    return mqtt_conn_open(conn_of(conn), err);
}

static void conn_close(struct adapter_conn *conn, enum adapter_close mode)
{
    mqtt_conn_close(conn_of(conn), mode);
}

static int publish(struct adapter_conn *conn, const struct adapter_message *message, uint32_t token, struct error *err)
{
    return mqtt_publish(conn_of(conn), message, token, err);
}

static int subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err)
{
    const struct adapter_subscription s = {.filter = filter, .qos = qos};
    return mqtt_request(conn_of(conn), MQTT_SUBSCRIBE, &s, token, err);
}

static int subscribe_with(struct adapter_conn *conn, const struct adapter_subscription *s, uint32_t token,
                          struct error *err)
{
    return mqtt_request(conn_of(conn), MQTT_SUBSCRIBE, s, token, err);
}

static int unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err)
{
    const struct adapter_subscription s = {.filter = filter};
    return mqtt_request(conn_of(conn), MQTT_UNSUBSCRIBE, &s, token, err);
}

static int request(struct adapter_conn *conn, const struct adapter_request *r, uint32_t token, struct error *err)
{
    return mqtt_exchange(conn_of(conn), r, token, err);
}

static void request_cancel(struct adapter_conn *conn, uint32_t token)
{
    mqtt_exchange_cancel(conn_of(conn), token);
}

static unsigned pending(const struct adapter_conn *conn)
{
    return mqtt_pending(const_conn_of(conn));
}

static size_t footprint(const struct adapter_conn *conn)
{
    const struct mqtt_conn *c = const_conn_of(conn);
    return sizeof *c + mqtt_parser_footprint(&c->parser) + mqtt_session_footprint(&c->session) +
           link_footprint(&c->link) + mqtt_extra_footprint(c->extra);
}

static void conn_freeze(struct adapter_conn *conn, bool frozen)
{
    mqtt_conn_freeze(conn_of(conn), frozen);
}

static int conn_renew(struct adapter_conn *conn, struct error *err)
{
    return mqtt_conn_renew(conn_of(conn), err);
}

static const char *const schemes[] = {"mqtt", "mqtts", "ws", "wss", NULL};

const struct adapter_ops mqtt_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "mqtt",
    .schemes = schemes,
    .target_new = target_new,
    .target_delete = target_delete,
    .conn_new = conn_new,
    .conn_delete = conn_delete,
    .conn_open = conn_open,
    .conn_close = conn_close,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .pending = pending,
    .footprint = footprint,
    .conn_freeze = conn_freeze,
    .subscribe_with = subscribe_with,
    .request = request,
    .request_cancel = request_cancel,
    .conn_renew = conn_renew,
};
