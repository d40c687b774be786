// The CoAP adapter: RFC 7252, 7641 (observe), 7959 (block-wise), 8132 (FETCH, PATCH), 8323 (TCP), 9176 (directory).
//
// Schemes coap, coaps, coap+tcp, coaps+tcp. Options of a target, camelCase, unknown keys are errors; all of them are
// described in docs/reference/coap.md:
//   timeout, connectTimeout, connectWindow, connectRate, connectPacing, reconnect, source, tls,
//   confirmable, ackTimeout, ackRandomFactor, maxRetransmit, nstart, probingRate, blockSize, maxResponse, probe,
//   keepAlive, queueMax, publish { method, contentFormat }, observe { reregister }, serve { listen, timeout },
//   resourceDirectory { url, endpoint, lifetime, sector }
//
// Of a request (adapter_request.options): confirmable true | false, blockSize.
// Headers are CoAP options by name: "If-Match", "ETag", "If-None-Match", "Content-Format", "Max-Age", "Accept",
// "Uri-Query", "Uri-Host", "Uri-Port", "Location-Path", "Location-Query", "Proxy-Uri", "Proxy-Scheme", "Size1",
// "Size2", "Hop-Limit", "No-Response", "Request-Tag", or a number ("2048"). Values: text; "0x…" is bytes in hex;
// formats are numbers or media types ("application/json").
//
// Attributes of serve(): observable true | false, confirmable true | false (notifications), and those of RFC 6690: rt,
// if, title (text), ct (number or media type), sz (number). A path that ends in "/*" serves what lies below.
#pragma once
#include "adapter/adapter.h"

extern const struct adapter_ops coap_adapter;

// --- for faults, and for tests: the one place through which all bytes of a connection pass, as they are on the wire

struct coap_piece { // a datagram (UDP, DTLS), or some bytes of a stream (TCP, TLS)
    bool down;      // on its way to the network
    bool served;    // of the connection's own endpoint or of a client's connection to it, not of its session
    bool stream;
    const uint8_t *bytes;
    size_t n;
};
struct coap_hook {
    // true: it passes. false: it is gone; what shall come later is copied and given to coap_conn_pass. Of a stream
    // whatever comes behind what was kept has to be kept as well, until that has passed.
    bool (*pass)(struct coap_hook *hook, const struct coap_piece *piece);
};
// NULL: none. The hook must live as long as the connection, or be taken out. ERR_UNSUPPORTED: libcoap is not the
// version whose inside is known.
int coap_conn_hook(struct adapter_conn *conn, struct coap_hook *hook, struct error *err) WARN_UNUSED_RESULT;
// Passes a datagram, or bytes of the stream, of the connection's session that the hook kept, without asking the hook
// again. Not from inside the hook or an event: from the loop. ERR_STATE: no session. ERR_LIMIT: 64 datagrams or 1 MB
// wait to be read already (of a frozen connection), ERR_CLOSED: more waits to be written than there is room for.
int coap_conn_pass(struct adapter_conn *conn, bool down, const uint8_t *bytes, size_t n,
                   struct error *err) WARN_UNUSED_RESULT;
