// The MQTT adapter as the adapter interface sees it.
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"
#include "adapter/mqtt/mqtt.h"

static int subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err)
{
    const struct adapter_subscription s = {.filter = filter, .qos = qos};
    return mqtt_request(mqtt_conn_of(conn), MQTT_SUBSCRIBE, &s, token, err);
}

static int subscribe_with(struct adapter_conn *conn, const struct adapter_subscription *s, uint32_t token,
                          struct error *err)
{
    return mqtt_request(mqtt_conn_of(conn), MQTT_SUBSCRIBE, s, token, err);
}

static int unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err)
{
    const struct adapter_subscription s = {.filter = filter};
    return mqtt_request(mqtt_conn_of(conn), MQTT_UNSUBSCRIBE, &s, token, err);
}

static void request_cancel(struct adapter_conn *conn, uint32_t token)
{
    mqtt_exchange_cancel(mqtt_conn_of(conn), token);
}

static size_t footprint(const struct adapter_conn *conn)
{
    const struct mqtt_conn *c = (const void *)conn;
    return sizeof *c + mqtt_parser_footprint(&c->parser) + mqtt_session_footprint(&c->session) +
           link_footprint(&c->link) + mqtt_extra_footprint(c->extra);
}

static const char *const schemes[] = {"mqtt", "mqtts", "ws", "wss", NULL};

const struct adapter_ops mqtt_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "mqtt",
    .schemes = schemes,
    .target_new = mqtt_target_new,
    .target_delete = mqtt_target_delete,
    .conn_new = mqtt_conn_new,
    .conn_delete = mqtt_conn_delete,
    .conn_open = mqtt_conn_open,
    .conn_close = mqtt_conn_close,
    .publish = mqtt_publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .pending = mqtt_pending,
    .footprint = footprint,
    .conn_freeze = mqtt_conn_freeze,
    .subscribe_with = subscribe_with,
    .request = mqtt_exchange,
    .request_cancel = request_cancel,
    .conn_renew = mqtt_conn_renew,
    .conn_path = mqtt_conn_path,
};
