// libFuzzer: what a WebSocket server sends, in hostile pieces. Input: byte 0: bit 0 the answer to the upgrade comes
// first; maxFrame. Then pieces: a length byte and that many bytes. The same bytes in one piece must be understood in
// the same way.
#include <stdlib.h>
#include <string.h>
#include "link/websocket_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX 65536u

struct seen { // what a parse amounts to
    uint8_t data[TEXT_MAX];
    size_t n;
    unsigned pings, end, code;
};

// Copies end exactly where the piece does, so that a read beyond it is seen.
static void feed(struct ws_parser *p, const uint8_t *bytes, size_t n, struct seen *s)
{
    uint8_t *piece = malloc(n ? n : 1);
    const uint8_t *at = piece;
    struct error err;
    memcpy(piece, bytes, n);
    while (!s->end) {
        struct ws_event e = {0};
        enum ws_found found = ws_parse(p, &at, &n, &e, &err);
        if (found == WS_NEED_MORE) {
            if (n)
                abort(); // stopped early
            break;
        }
        if (found == WS_DATA) {
            if (!e.n || e.bytes < piece)
                abort();
            memcpy(s->data + s->n, e.bytes, e.n);
            s->n += e.n;
        } else if (found == WS_GOT_PING) {
            if (e.n > WS_CONTROL_MAX)
                abort();
            s->pings += 1 + (unsigned)e.n;
        } else {
            if (found == WS_BAD && (err.code != ERR_PROTOCOL && err.code != ERR_LIMIT))
                abort();
            if (e.code < 1000 || e.code > 4999)
                abort();
            s->end = found;
            s->code = e.code;
        }
    }
    free(piece);
}

// The answer to the upgrade, in pieces; returns where the frames begin, or size.
static size_t answer(const uint8_t *data, size_t size, size_t step)
{
    struct buf header;
    struct error err;
    bool done = false;
    size_t at = 0;
    buf_create(&header, WS_HEADER_MAX + 1);
    while (!done && at < size) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *piece = malloc(n);
        memcpy(piece, data + at, n);
        long k = ws_answer_feed(&header, piece, n, &done, &err);
        free(piece);
        if (k < 0 || (size_t)k > n || (!done && (size_t)k != n))
            break;
        at += (size_t)k;
    }
    if (done && ws_answer_check(&header, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "mqtt", "/mqtt", &err) < 0 &&
        (err.code == ERR_NONE || err.code >= ERR_CODE_MAX))
        abort();
    buf_destroy(&header);
    return done ? at : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seen whole, pieces;
    static uint8_t joined[TEXT_MAX];
    struct ws_parser p;
    size_t n = 0;
    if (size < 2 || size > TEXT_MAX)
        return 0;
    uint32_t max_frame = 125u << (data[0] >> 4);
    if (data[0] & 1) {
        size_t begin = answer(data + 1, size - 1, 1 + (data[0] >> 1 & 7));
        if (begin != answer(data + 1, size - 1, size))
            abort();
        data += begin, size -= begin;
    }
    pieces.n = whole.n = 0;
    pieces.pings = whole.pings = pieces.end = whole.end = pieces.code = whole.code = 0;
    ws_parser_create(&p, max_frame);
    for (size_t at = 1; at < size;) {
        size_t k = data[at++];
        k = k < size - at ? k : size - at;
        memcpy(joined + n, data + at, k);
        feed(&p, data + at, k, &pieces);
        n += k;
        at += k;
    }
    ws_parser_create(&p, max_frame);
    feed(&p, joined, n, &whole);
    if (pieces.n != whole.n || memcmp(pieces.data, whole.data, whole.n) != 0 || pieces.pings != whole.pings ||
        pieces.end != whole.end || pieces.code != whole.code)
        abort();
    return 0;
}
