// What a WebSocket server sends: the answer to the upgrade, and frames. Pure parsers: bytes may come in any pieces.
#pragma once
#include "core/buf.h"
#include "link/websocket.h"

enum ws_close { // RFC 6455, 7.4.1
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_NONE = 1005, // a close frame without a code
    WS_CLOSE_TEXT = 1007,
    WS_CLOSE_TOO_BIG = 1009
};
enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

// Sec-WebSocket-Accept for a Sec-WebSocket-Key: 28 bytes and a NUL.
#define WS_ACCEPT_SIZE 29u
void ws_accept_of(const char *key, char out[WS_ACCEPT_SIZE]);

// The answer is collected in *header until its end. Returns how many of the n bytes belong to it, *done says whether
// it is complete. -1: it is longer than header's cap, or no HTTP.
long ws_answer_feed(struct buf *header, const uint8_t *bytes, size_t n, bool *done, struct error *err);
// Whether a complete answer says yes: 101, Upgrade, Connection, the accept value and the subprotocol expected, no
// extension. -1: err says what it said instead; target: of the request, for the text.
int ws_answer_check(const struct buf *header, const char *accept, const char *subprotocol, const char *target,
                    struct error *err);

struct ws_parser {
    uint64_t left; // payload bytes of this frame still to come
    uint32_t max_frame;
    uint8_t header[10];
    uint8_t header_len; // bytes of it so far
    uint8_t opcode;     // of the frame whose payload comes
    bool fragmented;    // a message has begun and not ended
    bool in_payload;
    uint8_t control_len;
    uint8_t control[WS_CONTROL_MAX];
};
// What was found. DATA: bytes/n point into the piece that was fed. CLOSE: code and reason (in the parser's control
// buffer). BAD: code is what to close with, err says why; nothing may be fed after it.
enum ws_found { WS_NEED_MORE, WS_DATA, WS_GOT_PING, WS_GOT_CLOSE, WS_BAD };
struct ws_event {
    const uint8_t *bytes; // DATA, PING: payload; CLOSE: reason
    size_t n;
    unsigned code;
};
void ws_parser_create(struct ws_parser *p, uint32_t max_frame);
// Takes bytes from *bytes/*n until something is found.
enum ws_found ws_parse(struct ws_parser *p, const uint8_t **bytes, size_t *n, struct ws_event *out, struct error *err);

// Header of a masked frame of n bytes into dst. Returns its length.
#define WS_FRAME_HEADER_MAX 14u
size_t ws_frame_header(uint8_t dst[WS_FRAME_HEADER_MAX], enum ws_opcode opcode, size_t n, const uint8_t mask[4]);
// dst[i] = src[i] ^ mask[(at + i) % 4]
void ws_mask(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t mask[4], size_t at);
