// A CoAP server on loopback for tests and for `coap = "embedded"`, to be run by a process of its own. Resources:
//
//   /echo       any method: answers the payload, its content format, and the request's query as payload when there is
//               no other
//   /time       observable: the seconds since it began, a notification every second
//   /large      100 KB, block-wise; /large?size=N gives N bytes (at most 1 MB)
//   /slow?ms=N  an empty acknowledgement at once, the answer N ms later (at most 60 s)
//   /rd         a small resource directory (RFC 9176): POST registers, POST and DELETE at the location, GET lists
//   /anything   PUT and POST store (2.01, 2.04), GET, FETCH and observe read, PATCH and iPATCH replace, DELETE removes
//   /.well-known/core
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

struct coap_echo_config {
    const char *host;   // address to bind; NULL: "127.0.0.1"
    uint16_t udp, dtls; // ports of coap (UDP and TCP) and coaps (DTLS and TLS); 0: any free one
    bool secure;        // serve coaps as well
    // secure, certificate: PEM files. ca: clients' certificates are asked for and checked; NULL: not. All NULL: no
    // certificate.
    const char *cert, *key, *ca;
    // secure, PSK: any identity is taken with this key. NULL: none. Both kinds may be had at once.
    const char *psk_key;    // bytes, not hex
    uint32_t max_resources; // remembered by PUT and POST; 0: 10,000. At the cap: 5.00
};

// What is written to ready_fd, as text, once it listens: "coap=PORT coaps=PORT\n" (coaps=0: none).
// Runs until stop_fd is readable or ends (a parent's pipe), or SIGTERM if stop_fd is -1. 0, or -1 with err when it
// could not start.
int coap_echo_run(const struct coap_echo_config *config, int ready_fd, int stop_fd, struct error *err);
