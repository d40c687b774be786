// What the files of the transport share. Nobody outside of this room includes it.
#pragma once
#include "link/openssl.h"
#include "link/transport.h"

#define SCRATCH_BYTES 16384u // one TLS record's worth

struct tls_context; // tls_context.h
struct websocket;   // websocket.h

struct transport {
    unsigned refs; // the owner's and one for each filter
    struct loop *loop;
    char *host;
    uint16_t port;
    int (*credential)(void *owner, enum transport_credential what, struct buf *out, struct error *err);
    struct metric *tls_latency, *tls_resumed, *tls_full;
    struct tls_context *tls;  // NULL: none
    struct websocket *ws;     // NULL: none
    uint8_t *plain_in;        // what a record decrypts to, on its way up
    uint8_t *masked_out;      // a WebSocket frame on its way down
    unsigned pushed, sampled; // connections so far; those whose memory is measured
    size_t tls_bytes;         // OpenSSL's memory of an open connection, as last measured
};
struct transport *transport_ref(struct transport *t);

// The common form of errors about options: "tls.ca: expected a string, got a number". Returns -1.
int transport_expected(const char *key, const char *what, const json_t *got, struct error *err);
// Checks the keys of an options object; prefix "tls." for the text. NULL and null are fine.
int transport_check_keys(const json_t *options, const char *prefix, const char *const *valid, struct error *err);
