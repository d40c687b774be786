#include "link/openssl.h"
#include "link/websocket_parse.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// --- the answer to the upgrade

void ws_accept_of(const char *key, char out[WS_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3
    char both[128];
    uint8_t digest[20];
    int n = snprintf(both, sizeof both, "%s%s", key, guid);
    (void)EVP_Digest(both, (size_t)n, digest, NULL, EVP_sha1(), NULL);
    (void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

long ws_answer_feed(struct buf *header, const uint8_t *bytes, size_t n, bool *done, struct error *err)
{
    static const char begin[] = "HTTP/1.";
    *done = false;
    for (size_t i = 0; i < n; i++) {
        if (header->len < sizeof begin - 1 && bytes[i] != (uint8_t)begin[header->len]) {
            size_t text = 0;
            while (i + text < n && text < 40 && isprint(bytes[i + text]))
                text++;
            error_set(err, ERR_PROTOCOL, "expected the HTTP answer to a WebSocket upgrade, got %s%.*s%.*s",
                      text || header->len ? "the text " : "bytes that are no text", (int)header->len,
                      header->len ? (const char *)header->data : "", (int)text, (const char *)bytes + i);
            return -1;
        }
        if (buf_append_char(header, (char)bytes[i]) < 0) {
            error_set(err, ERR_LIMIT, "the server's answer to the WebSocket upgrade has a header of more than %u bytes",
                      header->cap - 1);
            return -1;
        }
        // An empty line ends it; bare newlines are taken too.
        uint32_t len = header->len;
        if (bytes[i] == '\n' && ((len >= 2 && header->data[len - 2] == '\n') ||
                                 (len >= 3 && header->data[len - 2] == '\r' && header->data[len - 3] == '\n'))) {
            *done = true;
            return (long)i + 1;
        }
    }
    return (long)n;
}

struct slice {
    const char *at;
    size_t n;
};

static struct slice trimmed(const char *at, size_t n)
{
    while (n && (*at == ' ' || *at == '\t'))
        at++, n--;
    while (n && strchr(" \t\r\n", at[n - 1]))
        n--;
    return (struct slice){at, n};
}

static bool same(struct slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.at, word, s.n) == 0;
}

// The next line of text (without its end) from *rest; false at the end.
static bool next_line(struct slice *rest, struct slice *line)
{
    const char *end = memchr(rest->at, '\n', rest->n);
    if (!rest->n || !end)
        return false;
    *line = trimmed(rest->at, (size_t)(end - rest->at));
    rest->n -= (size_t)(end + 1 - rest->at);
    rest->at = end + 1;
    return true;
}

// Whether a comma-separated list has a word.
static bool has_word(struct slice list, const char *word)
{
    while (list.n) {
        const char *comma = memchr(list.at, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.at) : list.n;
        if (same(trimmed(list.at, n), word))
            return true;
        n += comma ? 1 : 0;
        list.at += n;
        list.n -= n;
    }
    return false;
}

struct answer {
    struct slice accept, protocol, extensions, location;
    bool upgrade, connection;
    unsigned n_accept, n_protocol;
};

static int read_fields(struct slice rest, struct answer *a, struct error *err)
{
    struct slice line;
    memset(a, 0, sizeof *a);
    while (next_line(&rest, &line) && line.n) {
        const char *colon = memchr(line.at, ':', line.n);
        if (!colon || colon == line.at)
            return error_set(err, ERR_PROTOCOL, "the answer to the WebSocket upgrade has a broken header line \"%.*s\"",
                             line.n > 60 ? 60 : (int)line.n, line.at);
        struct slice name = {line.at, (size_t)(colon - line.at)};
        struct slice value = trimmed(colon + 1, line.n - name.n - 1);
        if (same(name, "Upgrade"))
            a->upgrade |= has_word(value, "websocket");
        else if (same(name, "Connection"))
            a->connection |= has_word(value, "upgrade");
        else if (same(name, "Sec-WebSocket-Accept"))
            a->accept = value, a->n_accept++;
        else if (same(name, "Sec-WebSocket-Protocol"))
            a->protocol = value, a->n_protocol++;
        else if (same(name, "Sec-WebSocket-Extensions") && value.n)
            a->extensions = value;
        else if (same(name, "Location"))
            a->location = value;
    }
    return 0;
}

static int refused(struct slice status, int code, const struct answer *a, const char *target, struct error *err)
{
    int shown = status.n > 80 ? 80 : (int)status.n;
    const char *hint = code == 404                  ? ": websocket.path names another path"
                       : code == 401 || code == 403 ? ": does it want other credentials or websocket.headers?"
                       : code >= 200 && code < 300  ? ": it serves HTTP there, no WebSocket"
                       : code == 400 || code == 426 ? ": is it a WebSocket server?"
                                                    : "";
    if (code >= 300 && code < 400 && a->location.n)
        return error_set(
            err, ERR_REFUSED,
            "the server answered \"%.*s\" to the WebSocket upgrade of %s, to %.*s; redirects are not followed", shown,
            status.at, target, a->location.n > 150 ? 150 : (int)a->location.n, a->location.at);
    return error_set(err, ERR_REFUSED, "the server answered \"%.*s\" to the WebSocket upgrade of %s%s", shown,
                     status.at, target, hint);
}

int ws_answer_check(const struct buf *header, const char *accept, const char *subprotocol, const char *target,
                    struct error *err)
{
    struct slice rest = {(const char *)header->data, header->len}, line;
    struct answer a;
    // "HTTP/1.1 101 Switching Protocols"
    if (!next_line(&rest, &line) || line.n < 12 || line.at[8] != ' ' || !isdigit((uint8_t)line.at[9]) ||
        !isdigit((uint8_t)line.at[10]) || !isdigit((uint8_t)line.at[11]) || (line.n > 12 && line.at[12] != ' '))
        return error_set(err, ERR_PROTOCOL, "the answer to the WebSocket upgrade begins with \"%.*s\"",
                         line.n > 60 ? 60 : (int)line.n, line.at);
    int code = (line.at[9] - '0') * 100 + (line.at[10] - '0') * 10 + (line.at[11] - '0');
    if (read_fields(rest, &a, err) < 0)
        return -1;
    if (code != 101)
        return refused((struct slice){line.at + 9, line.n - 9}, code, &a, target, err);
    if (!a.upgrade || !a.connection)
        return error_set(err, ERR_PROTOCOL, "the answer to the WebSocket upgrade has no \"%s\"",
                         a.upgrade ? "Connection: Upgrade" : "Upgrade: websocket");
    if (a.n_accept != 1 || a.accept.n != strlen(accept) || memcmp(a.accept.at, accept, a.accept.n) != 0)
        return error_set(
            err, ERR_PROTOCOL,
            "the answer to the WebSocket upgrade has %s Sec-WebSocket-Accept: no WebSocket server, or a cache",
            a.n_accept ? "a wrong" : "no");
    if (a.extensions.n)
        return error_set(err, ERR_PROTOCOL, "the server uses a WebSocket extension nobody asked for: %.*s",
                         a.extensions.n > 60 ? 60 : (int)a.extensions.n, a.extensions.at);
    if (a.n_protocol != 1 || a.protocol.n != strlen(subprotocol) ||
        memcmp(a.protocol.at, subprotocol, a.protocol.n) != 0)
        return error_set(err, ERR_PROTOCOL, "the server chose %s%.*s as WebSocket subprotocol, expected %s",
                         a.n_protocol ? "" : "none", a.protocol.n > 60 ? 60 : (int)a.protocol.n,
                         a.protocol.n ? a.protocol.at : "", subprotocol);
    return 0;
}

// --- frames

void ws_parser_create(struct ws_parser *p, uint32_t max_frame)
{
    memset(p, 0, sizeof *p);
    p->max_frame = max_frame;
}

static enum ws_found bad(struct ws_event *out, unsigned code)
{
    out->code = code;
    return WS_BAD;
}

static const char *opcode_name(unsigned opcode)
{
    return opcode == WS_CLOSE ? "close" : opcode == WS_PING ? "ping" : opcode == WS_PONG ? "pong" : "data";
}

// Bytes of the header that its first two announce.
static unsigned header_size(const struct ws_parser *p)
{
    unsigned n = p->header_len < 2 ? 0 : p->header[1] & 0x7f;
    return n == 126 ? 4 : n == 127 ? 10 : 2;
}

static uint64_t big_endian(const uint8_t *at, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | at[i];
    return v;
}

// 5.2 to 5.5: what a frame's first two bytes may be.
static enum ws_found check_start(const struct ws_parser *p, struct ws_event *out, struct error *err)
{
    unsigned first = p->header[0], opcode = first & 0xf;
    bool control = opcode >= 8;
    if (first & 0x70)
        error_set(err, ERR_PROTOCOL, "WebSocket frame with reserved bits %x set: an extension nobody asked for",
                  (first >> 4) & 7);
    else if (opcode > WS_PONG || (opcode > WS_BINARY && opcode < WS_CLOSE))
        error_set(err, ERR_PROTOCOL, "WebSocket frame with reserved opcode %u", opcode);
    else if (p->header[1] & 0x80)
        error_set(err, ERR_PROTOCOL, "masked WebSocket frame from the server");
    else if (control && !(first & 0x80))
        error_set(err, ERR_PROTOCOL, "WebSocket %s frame in fragments", opcode_name(opcode));
    else if (control && (p->header[1] & 0x7f) > WS_CONTROL_MAX)
        error_set(err, ERR_PROTOCOL, "WebSocket %s frame of more than 125 bytes", opcode_name(opcode));
    else if (opcode == WS_CONTINUATION && !p->fragmented)
        error_set(err, ERR_PROTOCOL, "WebSocket continuation frame without a message to continue");
    else if ((opcode == WS_TEXT || opcode == WS_BINARY) && p->fragmented)
        error_set(err, ERR_PROTOCOL, "a new WebSocket message begins within a fragmented one");
    else if (opcode == WS_TEXT) {
        error_set(err, ERR_PROTOCOL, "WebSocket text frame: expected binary ones");
        return bad(out, WS_CLOSE_UNSUPPORTED);
    } else
        return WS_NEED_MORE;
    return bad(out, WS_CLOSE_PROTOCOL);
}

static enum ws_found begin_payload(struct ws_parser *p, struct ws_event *out, struct error *err)
{
    unsigned n = p->header[1] & 0x7f, opcode = p->header[0] & 0xf;
    p->left = n < 126 ? n : big_endian(p->header + 2, n == 126 ? 2 : 8);
    if ((n == 126 && p->left < 126) || (n == 127 && p->left < 65536) || p->left >> 63) {
        error_set(err, ERR_PROTOCOL, "WebSocket frame whose length is not in its shortest form");
        return bad(out, WS_CLOSE_PROTOCOL);
    }
    if (p->left > p->max_frame) {
        error_set(err, ERR_LIMIT, "WebSocket frame of %llu bytes: more than websocket.maxFrame, %u",
                  (unsigned long long)p->left, p->max_frame);
        return bad(out, WS_CLOSE_TOO_BIG);
    }
    p->opcode = (uint8_t)opcode;
    p->in_payload = true;
    p->control_len = 0;
    if (opcode < WS_CLOSE)
        p->fragmented = !(p->header[0] & 0x80);
    return WS_NEED_MORE;
}

static bool close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum ws_found got_close(struct ws_parser *p, struct ws_event *out, struct error *err)
{
    size_t n = p->control_len;
    out->code = n >= 2 ? (unsigned)big_endian(p->control, 2) : WS_CLOSE_NONE;
    out->bytes = p->control + (n >= 2 ? 2 : 0);
    out->n = n >= 2 ? n - 2 : 0;
    if (n == 1 || (n >= 2 && !close_code_valid(out->code))) {
        error_set(err, ERR_PROTOCOL, "WebSocket close frame with %s", n == 1 ? "half a code" : "a code that is none");
        return bad(out, WS_CLOSE_PROTOCOL);
    }
    for (size_t i = 0, k; i < out->n; i += k) {
        k = utf8_length(out->bytes + i, out->n - i);
        if (!k) {
            error_set(err, ERR_PROTOCOL, "WebSocket close frame whose reason is no UTF-8");
            return bad(out, WS_CLOSE_TEXT);
        }
    }
    return WS_GOT_CLOSE;
}

static enum ws_found end_frame(struct ws_parser *p, struct ws_event *out, struct error *err)
{
    p->in_payload = false;
    p->header_len = 0;
    if (p->opcode == WS_CLOSE)
        return got_close(p, out, err);
    if (p->opcode != WS_PING)
        return WS_NEED_MORE; // a pong nobody waits for, or the end of data already handed out
    out->bytes = p->control;
    out->n = p->control_len;
    return WS_GOT_PING;
}

static enum ws_found take_payload(struct ws_parser *p, const uint8_t **bytes, size_t *n, struct ws_event *out,
                                  struct error *err)
{
    size_t k = p->left < *n ? (size_t)p->left : *n;
    const uint8_t *at = *bytes;
    *bytes += k;
    *n -= k;
    p->left -= k;
    if (p->opcode < WS_CLOSE) {
        if (!p->left)
            (void)end_frame(p, out, err);
        out->bytes = at;
        out->n = k;
        return k ? WS_DATA : WS_NEED_MORE;
    }
    memcpy(p->control + p->control_len, at, k);
    p->control_len = (uint8_t)(p->control_len + k);
    return p->left ? WS_NEED_MORE : end_frame(p, out, err);
}

enum ws_found ws_parse(struct ws_parser *p, const uint8_t **bytes, size_t *n, struct ws_event *out, struct error *err)
{
    while (*n || (p->in_payload && !p->left)) {
        enum ws_found found = WS_NEED_MORE;
        if (p->in_payload) {
            found = take_payload(p, bytes, n, out, err);
        } else {
            p->header[p->header_len++] = *(*bytes)++;
            --*n;
            if (p->header_len == 2)
                found = check_start(p, out, err);
            if (found == WS_NEED_MORE && p->header_len >= 2 && p->header_len == header_size(p))
                found = begin_payload(p, out, err);
        }
        if (found != WS_NEED_MORE)
            return found;
    }
    return WS_NEED_MORE;
}

// --- sending

size_t ws_frame_header(uint8_t dst[WS_FRAME_HEADER_MAX], enum ws_opcode opcode, size_t n, const uint8_t mask[4])
{
    unsigned extra = n < 126 ? 0 : n < 65536 ? 2 : 8;
    dst[0] = (uint8_t)(0x80u | opcode);
    dst[1] = (uint8_t)(0x80u | (extra == 0 ? n : extra == 2 ? 126 : 127));
    for (unsigned i = 0; i < extra; i++)
        dst[2 + i] = (uint8_t)((uint64_t)n >> (8 * (extra - 1 - i)));
    memcpy(dst + 2 + extra, mask, 4);
    return 6 + extra;
}

void ws_mask(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t mask[4], size_t at)
{
    uint8_t turned[8];
    uint64_t wide, word;
    for (size_t i = 0; i < 8; i++)
        turned[i] = mask[(at + i) % 4];
    memcpy(&wide, turned, 8);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, src + i, 8);
        word ^= wide;
        memcpy(dst + i, &word, 8);
    }
    for (; i < n; i++)
        dst[i] = src[i] ^ turned[i % 8];
}
