// Enhanced authentication (MQTT 5 section 4.12): the owner's on_auth makes this side's data.
#pragma once
#include "adapter/mqtt/extra.h"

// The first data, among the CONNECT's properties from here on; `out` is what they point into. -1: the owner gave up.
int mqtt_auth_begin(struct mqtt_conn *c, struct mqtt5_properties *properties, struct buf *out, struct error *err);
// CONNACK accepted: its method and data are checked and handed on. -1: a violation, or the owner has ended it.
int mqtt_auth_connected(struct mqtt_conn *c, const struct mqtt5_properties *with, struct error *err);
// An AUTH packet came. 0; 1: the connection is gone; -1: err.
int mqtt_auth_packet(struct mqtt_conn *c, const uint8_t *body, size_t n, struct error *err);
// Authenticates anew on an open connection; on_response(token) follows.
int mqtt_auth_again(struct mqtt_conn *c, uint32_t token, int64_t timeout_us, struct error *err);
