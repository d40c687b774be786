// Request and response over MQTT 5 (4.10): a request is published with a response topic of the connection's own and a
// number as correlation data; what comes back there with that number is its response. The response topic is subscribed
// when first used on a connection; requests made before the server has granted that wait.
#pragma once
#include "adapter/mqtt/extra.h"

#define MQTT_MAX_EXCHANGES 256u // of a connection, under way

// adapter_ops.request: method "PUBLISH" to the topic `path`, or "AUTH": authenticates anew. headers are user
// properties. Options of PUBLISH: qos (default 1), contentType, expiry (whole seconds). The response has status 200,
// its user properties as headers, and "content-type" where it has one.
int mqtt_exchange(struct adapter_conn *conn, const struct adapter_request *request, uint32_t token, struct error *err);
void mqtt_exchange_cancel(struct mqtt_conn *c, uint32_t token);
// The connection has ended.
void mqtt_exchanges_end(struct mqtt_conn *c, const struct error *why);
// SUBACK of the own response topic; why NULL: granted. Here and below: the caller is inside mqtt_conn_enter.
void mqtt_exchange_subscribed(struct mqtt_conn *c, const struct error *why);
// A message came. true: it was on the own response topic, and is done with.
bool mqtt_exchange_response(struct mqtt_conn *c, const struct mqtt_publish *p, const struct mqtt5_properties *with);
// The publish of the request of that number has failed.
void mqtt_exchange_unsent(struct mqtt_conn *c, uint32_t number, const struct error *why);
// A re-authentication begins and has ended (why NULL: well).
int mqtt_exchange_auth_begin(struct mqtt_conn *c, uint32_t token, int64_t timeout_us, struct error *err);
void mqtt_exchange_auth_end(struct mqtt_conn *c, const struct error *why);
size_t mqtt_exchanges_footprint(const struct mqtt_extra *x);
