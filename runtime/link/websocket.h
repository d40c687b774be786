// WebSocket (RFC 6455) of one target, client side, binary messages of one subprotocol.
#pragma once
#include "link/transport_impl.h"

#define WS_HEADER_MAX (16u << 10) // bytes of the server's answer to the upgrade
#define WS_CONTROL_MAX 125u       // payload of a control frame

struct websocket {
    struct buf request;         // the upgrade up to the value of Sec-WebSocket-Key, which is each connection's own
    char *subprotocol, *target; // "mqtt", "/mqtt"
    uint32_t max_frame;
    uint8_t masks[2048]; // random bytes in stock
    unsigned masks_left;
};
struct websocket *websocket_new(const struct transport *t, const struct transport_config *config, struct error *err);
void websocket_delete(struct websocket *w);
// A filter that upgrades when what is below it is open. NULL: no memory.
struct link_filter *websocket_filter_new(struct transport *t, struct error *err);
