// WebSocket as a filter: an HTTP upgrade, then frames. What the server sends is handed up as it comes, frame by frame
// and piece by piece (MQTT packets may be cut anywhere, [MQTT-6.0.0-2]); nothing is collected but control frames. What
// goes down is masked in a scratch buffer of the transport, a TLS record's worth at a time.
#include "link/openssl.h"
#include "link/websocket.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "link/websocket_parse.h"

#define REQUEST_MAX (16u << 10)
#define MAX_FRAME_DEFAULT (1u << 20)
#define MAX_FRAME_CEILING (256u << 20)

// --- the target's part

static bool is_token(const char *s)
{
    size_t n = strlen(s);
    return n && strspn(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == n;
}

static bool is_line(const char *s)
{
    for (; *s; s++)
        if ((uint8_t)*s < 0x20 ? *s != '\t' : *s == 0x7f)
            return false;
    return true;
}

static int append_header(struct buf *b, const char *name, const json_t *value, struct error *err)
{
    static const char *const ours[] = {"Upgrade",
                                       "Connection",
                                       "Sec-WebSocket-Key",
                                       "Sec-WebSocket-Version",
                                       "Sec-WebSocket-Protocol",
                                       "Sec-WebSocket-Extensions",
                                       "Content-Length",
                                       "Transfer-Encoding",
                                       NULL};
    for (const char *const *o = ours; *o; o++)
        if (strcasecmp(name, *o) == 0)
            return error_set(err, ERR_INVALID, "websocket.headers: %s cannot be set, the upgrade has its own", *o);
    if (!is_token(name))
        return error_set(err, ERR_INVALID, "websocket.headers: \"%s\" is no name of a header", name);
    if (!json_is_string(value))
        return transport_expected("websocket.headers", "texts", value, err);
    if (strlen(json_string_value(value)) != json_string_length(value) || !is_line(json_string_value(value)))
        return error_set(err, ERR_INVALID, "websocket.headers: the value of %s has control characters", name);
    if (buf_printf(b, "%s: %s\r\n", name, json_string_value(value)) < 0)
        return error_set(err, ERR_LIMIT, "websocket.headers: more than %u bytes", REQUEST_MAX);
    return 0;
}

static bool has_header(const json_t *headers, const char *wanted)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)headers, name, value) if (strcasecmp(name, wanted) == 0) return true;
    return false;
}

static int append_host(struct buf *b, const struct transport *t, bool tls)
{
    bool v6 = strchr(t->host, ':') != NULL;
    if (buf_printf(b, "Host: %s%s%s", v6 ? "[" : "", t->host, v6 ? "]" : "") < 0)
        return -1;
    return t->port == (tls ? 443 : 80) ? buf_append_str(b, "\r\n") : buf_printf(b, ":%u\r\n", t->port);
}

static int build_request(struct websocket *w, const struct transport *t, bool tls, const json_t *headers,
                         struct error *err)
{
    const char *name;
    json_t *value;
    struct buf *b = &w->request;
    if (headers && !json_is_null(headers) && !json_is_object(headers))
        return transport_expected("websocket.headers", "an object of names and values", headers, err);
    if (buf_printf(b, "GET %s HTTP/1.1\r\n", w->target) < 0 ||
        (!has_header(headers, "Host") && append_host(b, t, tls) < 0) ||
        buf_printf(b,
                   "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: %s\r\n",
                   w->subprotocol) < 0)
        return error_set(err, ERR_LIMIT, "the WebSocket upgrade is longer than %u bytes", REQUEST_MAX);
    json_object_foreach((json_t *)headers, name, value) if (append_header(b, name, value, err) < 0) return -1;
    if (buf_append_str(b, "Sec-WebSocket-Key: ") < 0)
        return error_set(err, ERR_LIMIT, "the WebSocket upgrade is longer than %u bytes", REQUEST_MAX);
    return 0;
}

static int read_max_frame(const json_t *v, uint32_t *out, struct error *err)
{
    uint64_t n = MAX_FRAME_DEFAULT;
    if (json_is_string(v) && size_parse(json_string_value(v), &n, err) < 0)
        return error_prefix(err, "websocket.maxFrame");
    if (json_is_integer(v))
        n = json_integer_value(v) < 0 ? 0 : (uint64_t)json_integer_value(v);
    else if (v && !json_is_null(v) && !json_is_string(v))
        return transport_expected("websocket.maxFrame", "bytes", v, err);
    if (n < 125 || n > MAX_FRAME_CEILING)
        return error_set(err, ERR_INVALID, "websocket.maxFrame: expected 125 bytes to 256 MB");
    *out = (uint32_t)n;
    return 0;
}

static int from_options(struct websocket *w, const struct transport *t, const struct transport_config *config,
                        struct error *err)
{
    static const char *const keys[] = {"headers", "maxFrame", "path", NULL};
    const json_t *o = config->ws_options;
    const char *path = config->path && *config->path ? config->path : "/mqtt";
    const char *subprotocol = config->subprotocol ? config->subprotocol : "mqtt";
    if (o && !json_is_null(o) && !json_is_object(o))
        return transport_expected("websocket", "an object", o, err);
    if (transport_check_keys(o, "websocket.", keys, err) < 0)
        return -1;
    if (json_is_object(o) && json_get_str(o, "path", path, &path, err) < 0)
        return error_prefix(err, "websocket");
    if (path[0] != '/' || strchr(path, ' ') || strchr(path, '#') || !is_line(path) || strlen(path) > 4096)
        return error_set(err, ERR_INVALID,
                         "websocket.path: expected a path such as \"/mqtt\", without spaces and #, at most 4096 bytes");
    if (!is_token(subprotocol))
        return error_set(err, ERR_INVALID, "the WebSocket subprotocol \"%s\" is no token", subprotocol);
    w->target = strdup(path);
    w->subprotocol = strdup(subprotocol);
    if (!w->target || !w->subprotocol)
        return error_set(err, ERR_NO_MEMORY, "no memory for WebSocket");
    if (read_max_frame(json_object_get(o, "maxFrame"), &w->max_frame, err) < 0)
        return -1;
    return build_request(w, t, config->tls, json_object_get(o, "headers"), err);
}

struct websocket *websocket_new(const struct transport *t, const struct transport_config *config, struct error *err)
{
    struct websocket *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(err, ERR_NO_MEMORY, "no memory for WebSocket");
        return NULL;
    }
    buf_create(&w->request, REQUEST_MAX);
    if (from_options(w, t, config, err) == 0)
        return w;
    websocket_delete(w);
    return NULL;
}

void websocket_delete(struct websocket *w)
{
    if (!w)
        return;
    buf_destroy(&w->request);
    free(w->subprotocol);
    free(w->target);
    free(w);
}

// 5.3: from a strong source of entropy. Bought in bulk, it costs next to nothing.
static void next_mask(struct websocket *w, uint8_t mask[4])
{
    if (!w->masks_left) {
        // Fails only when the system has no entropy at all; the bytes of before are as good as any then.
        (void)RAND_bytes(w->masks, sizeof w->masks);
        w->masks_left = sizeof w->masks / 4;
    }
    memcpy(mask, w->masks + 4 * --w->masks_left, 4);
}

// --- a connection's part

enum ws_state { WS_WAITING, WS_UPGRADE, WS_OPEN, WS_ENDED };

struct ws {
    struct link_filter f;
    struct transport *transport;
    struct buf header; // of the answer, during the upgrade
    char accept[WS_ACCEPT_SIZE];
    uint8_t state; // enum ws_state
    struct ws_parser parser;
};

static struct ws *ws_of(const struct link_filter *f)
{
    return container_of(f, struct ws, f);
}

static int send_control(struct ws *w, enum ws_opcode opcode, const uint8_t *bytes, size_t n, struct error *err)
{
    uint8_t frame[WS_FRAME_HEADER_MAX + WS_CONTROL_MAX], mask[4];
    next_mask(w->transport->ws, mask);
    size_t head = ws_frame_header(frame, opcode, n, mask);
    ws_mask(frame + head, bytes, n, mask, 0);
    return link_filter_down(&w->f, frame, head + n, err);
}

static void send_close(struct ws *w, unsigned code)
{
    uint8_t bytes[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    // Best effort: the connection ends either way.
    (void)!send_control(w, WS_CLOSE, bytes, code == WS_CLOSE_NONE ? 0 : 2, NULL);
}

// The layer ends; code: of the close frame, 0: none is sent (any more).
static void fail(struct ws *w, unsigned code, const struct error *why)
{
    if (code && w->state == WS_OPEN)
        send_close(w, code);
    w->state = WS_ENDED;
    link_filter_closed(&w->f, why);
}

static void ws_opened(struct link_filter *f)
{
    struct ws *w = ws_of(f);
    const struct buf *request = &w->transport->ws->request;
    uint8_t nonce[16];
    char key[25];
    struct error why;
    struct buf text;
    w->state = WS_UPGRADE;
    if (RAND_bytes(nonce, sizeof nonce) != 1) {
        error_set(&why, ERR_INTERNAL, "no random bytes for Sec-WebSocket-Key");
        fail(w, 0, &why);
        return;
    }
    buf_create(&text, sizeof key);
    (void)!buf_append_base64(&text, nonce, sizeof nonce); // 24 bytes
    memcpy(key, buf_cstr(&text), sizeof key);
    buf_destroy(&text);
    ws_accept_of(key, w->accept);
    if (link_filter_down(f, request->data, request->len, &why) < 0 ||
        link_filter_down(f, (const uint8_t *)key, 24, &why) < 0 ||
        link_filter_down(f, (const uint8_t *)"\r\n\r\n", 4, &why) < 0)
        fail(w, 0, &why);
}

static void answered(struct ws *w, const uint8_t **bytes, size_t *n)
{
    const struct websocket *ws = w->transport->ws;
    struct error why;
    bool done;
    long k = ws_answer_feed(&w->header, *bytes, *n, &done, &why);
    if (k >= 0 && !done) {
        *n = 0;
        return;
    }
    if (k < 0 || ws_answer_check(&w->header, w->accept, ws->subprotocol, ws->target, &why) < 0) {
        fail(w, 0, &why);
        return;
    }
    *bytes += k;
    *n -= (size_t)k;
    buf_destroy(&w->header);
    ws_parser_create(&w->parser, ws->max_frame);
    w->state = WS_OPEN;
    link_filter_opened(&w->f);
}

static void closed_by_server(struct ws *w, const struct ws_event *e)
{
    struct error why;
    if (e->code == WS_CLOSE_NONE)
        error_set(&why, ERR_CLOSED, "closed by the peer (WebSocket close without a code)");
    else
        error_set(&why, ERR_CLOSED, "closed by the peer (WebSocket close %u%s%.*s%s)", e->code, e->n ? " \"" : "",
                  (int)e->n, (const char *)e->bytes, e->n ? "\"" : "");
    fail(w, e->code, &why); // the same code in return, 5.5.1
}

static void ws_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    struct ws *w = ws_of(f);
    struct error why;
    if (w->state == WS_UPGRADE)
        answered(w, &bytes, &n);
    while (w->f.link && w->state == WS_OPEN) {
        struct ws_event e;
        switch (ws_parse(&w->parser, &bytes, &n, &e, &why)) {
        case WS_NEED_MORE:
            return;
        case WS_DATA:
            link_filter_up(f, e.bytes, e.n);
            break;
        case WS_GOT_PING:
            if (send_control(w, WS_PONG, e.bytes, e.n, &why) < 0)
                fail(w, 0, &why);
            break;
        case WS_GOT_CLOSE:
            closed_by_server(w, &e);
            break;
        case WS_BAD:
            fail(w, e.code, &why);
        }
    }
}

static int ws_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    struct ws *w = ws_of(f);
    uint8_t *to = w->transport->masked_out, mask[4];
    if (w->state != WS_OPEN)
        return error_set(err, ERR_STATE, "the WebSocket is not open");
    next_mask(w->transport->ws, mask);
    size_t used = ws_frame_header(to, WS_BINARY, n, mask), at = 0;
    do {
        size_t k = n - at < SCRATCH_BYTES - used ? n - at : SCRATCH_BYTES - used;
        ws_mask(to + used, bytes + at, k, mask, at);
        if (link_filter_down(f, to, used + k, err) < 0) {
            w->state = WS_ENDED; // half a frame may be out: nothing can follow it
            return -1;
        }
        at += k;
        used = 0;
    } while (at < n);
    return 0;
}

static void ws_closed(struct link_filter *f, const struct error *why)
{
    struct ws *w = ws_of(f);
    struct error mine;
    const struct error *tell = why;
    if (w->state == WS_UPGRADE && why->code == ERR_CLOSED) {
        error_set(&mine, ERR_CLOSED, "%s in the WebSocket upgrade%s", why->text,
                  w->header.len ? "" : ", without an answer: is this a WebSocket port?");
        tell = &mine;
    }
    w->state = WS_ENDED;
    link_filter_closed(f, tell);
}

static void ws_finish(struct link_filter *f)
{
    struct ws *w = ws_of(f);
    if (w->state != WS_OPEN)
        return;
    send_close(w, WS_CLOSE_NORMAL);
    w->state = WS_ENDED;
}

static size_t ws_footprint(const struct link_filter *f)
{
    const struct ws *w = ws_of(f);
    return sizeof *w + w->header.size;
}

static void ws_destroy(struct link_filter *f)
{
    struct ws *w = ws_of(f);
    buf_destroy(&w->header);
    transport_delete(w->transport);
    free(w);
}

static const struct link_filter_type ws_type = {
    .name = "websocket",
    .down = ws_down,
    .up = ws_up,
    .opened = ws_opened,
    .closed = ws_closed,
    .finish = ws_finish,
    .footprint = ws_footprint,
    .destroy = ws_destroy,
};

struct link_filter *websocket_filter_new(struct transport *t, struct error *err)
{
    struct ws *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(err, ERR_NO_MEMORY, "no memory for a WebSocket");
        return NULL;
    }
    w->f.type = &ws_type;
    w->transport = transport_ref(t);
    buf_create(&w->header, WS_HEADER_MAX + 1);
    return &w->f;
}
