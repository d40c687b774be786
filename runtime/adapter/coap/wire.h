// Whether what a peer sends is CoAP, before libcoap sees it: datagrams (RFC 7252, section 3) and streams (RFC 8323,
// section 3). libcoap 4.3.1 answers other versions, broken acknowledgements and resets with a reset, obeys signalling
// codes in datagrams, drops a message for one elective option of a wrong length, and loses the place in a stream when a
// header comes in two pieces. Pure functions of the bytes; no sockets.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/error.h"

enum coap_verdict {
    COAP_GOOD,     // to be read
    COAP_IGNORED,  // nobody answers it: another version, broken and not confirmable (4.2, 4.3)
    COAP_REJECTED, // answered with a reset: broken, or with an option that must not be there, and confirmable
    COAP_REFUSED,  // an answer in an acknowledgement with such an option, or one that was cut off: the acknowledgement
                   // is made an empty one, the request fails
};

#define COAP_DATAGRAM_MAX 1471u // bytes; of a longer one libcoap reads the beginning, which has one byte more

struct coap_checked {
    const char *why; // not COAP_GOOD: in words, static
    uint16_t option; // the option at fault, 0: none
    uint16_t mid;
    uint8_t code, token_len, token[8];
};

// A datagram of `*n` bytes (more than COAP_DATAGRAM_MAX: it was cut off), which may be changed and become shorter:
// elective options with a length that is none of theirs, or too many of them, are taken out (5.4.1, 5.4.3, 5.4.5). Only
// answers (classes 2 to 5) are judged by their critical options: for requests there is a 4.02.
enum coap_verdict coap_wire_datagram(uint8_t *bytes, size_t *n, struct coap_checked *out);

#define COAP_STREAM_HELD 5u   // bytes of a header that is not complete
#define COAP_STREAM_WORDS 80u // of the diagnostic payload of an Abort or a Release

// One direction of a connection over TCP or TLS. Zeroed but for `cap` is the beginning.
struct coap_stream {
    uint32_t cap;  // bytes of a message (options and payload): what our CSM says
    uint32_t left; // of the message that is coming
    uint32_t skip; // bytes of the token, an option's value or the payload until something is to be looked at
    uint32_t number, length;
    uint8_t state; // of wire.c
    uint8_t delta_need, length_need;
    bool inside, begun, again; // in a message; after the first one; the same option once more
    uint8_t n_held, n_words, n_token;
    uint8_t held[COAP_STREAM_HELD];
    char words[COAP_STREAM_WORDS + 1];
    struct coap_checked message;
};
struct coap_stream_events {
    // A message is complete. message->option: it is an answer with that critical option, which must not be there.
    void (*message)(void *arg, const struct coap_checked *message, const char *words);
    void *arg;
};
// Looks at the next bytes. Returns how many of them may be read: the rest (at most COAP_STREAM_HELD) is kept in `held`
// and is to stand in front of the next ones. -1: it is no CoAP, or larger than the cap; nothing more may be read.
ptrdiff_t coap_stream_next(struct coap_stream *s, const uint8_t *bytes, size_t n,
                           const struct coap_stream_events *events, struct error *err);
