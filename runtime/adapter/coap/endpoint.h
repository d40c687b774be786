// Where a server of libcoap listens.
#pragma once
#include <coap3/coap.h>

// As coap_new_endpoint, but port 0 is a port that nobody has: libcoap sets SO_REUSEADDR before it binds, and then Linux
// may give a datagram socket the port of another such socket. NULL: errno and libcoap's log say why.
coap_endpoint_t *coap_endpoint_open(coap_context_t *context, const coap_address_t *at, coap_proto_t proto);
