// WebSocket: the upgrade and every way it fails, frames in every form, both directions, with and without TLS.
#include "link/websocket_parse.h"
#include "tls_world.h"

// The server's side of a plain connection: what the client sent.
struct ws_peer {
    uint8_t got[400000];
    size_t n;
    char key[32], answer[512];
};

static void peer_take(struct world *w, struct ws_peer *p)
{
    ssize_t n;
    loop_turn(w->loop, 0);
    while ((n = recv(w->server.fd, p->got + p->n, sizeof p->got - p->n - 1, MSG_DONTWAIT)) > 0)
        p->n += (size_t)n;
    p->got[p->n] = '\0';
}

#define PEER_WAIT(w, p, cond)                                                                                          \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + 10000000;                                                          \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            peer_take(w, p);                                                                                           \
        assert_true(cond);                                                                                             \
    } while (0)

static struct transport *ws_transport(struct world *w, const char *path, const char *options, bool tls,
                                      struct error *err)
{
    json_t *o = options ? world_options(w, options) : NULL;
    json_t *t = tls ? world_options(w, NULL) : NULL;
    json_object_del(o, "ca");
    struct transport_config config = {.loop = w->loop,
                                      .tls = tls,
                                      .websocket = true,
                                      .host = "localhost",
                                      .port = 9001,
                                      .path = path,
                                      .subprotocol = "mqtt",
                                      .tls_options = t,
                                      .ws_options = o};
    struct transport *made = transport_new(&config, err);
    json_decref(o);
    json_decref(t);
    return made;
}

// The upgrade request has come: the right answer to it is in p->answer.
static void peer_request(struct world *w, struct ws_peer *p)
{
    char accept[WS_ACCEPT_SIZE];
    PEER_WAIT(w, p, strstr((char *)p->got, "\r\n\r\n"));
    const char *key = strstr((char *)p->got, "Sec-WebSocket-Key: ");
    assert_non_null(key);
    memcpy(p->key, key + 19, 24);
    p->key[24] = '\0';
    ws_accept_of(p->key, accept);
    snprintf(p->answer, sizeof p->answer,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
             "sec-websocket-accept:  %s \r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
             accept);
}

static void peer_send(struct world *w, const void *bytes, size_t n)
{
    assert_int_equal(send(w->server.fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void peer_begin(struct world *w, struct ws_peer *p)
{
    p->n = 0;
    p->got[0] = '\0';
    world_begin(w);
    peer_request(w, p);
}

static void peer_open(struct world *w, struct ws_peer *p)
{
    peer_begin(w, p);
    peer_send(w, p->answer, strlen(p->answer));
    PEER_WAIT(w, p, w->end.opened || w->end.closed);
    assert_int_equal(w->end.opened, 1);
    p->n = 0;
}

// One masked frame of the client from the front of what it sent: payload to out.
static unsigned peer_frame(struct ws_peer *p, uint8_t *out, size_t *n)
{
    const uint8_t *g = p->got;
    size_t head = 2, len;
    assert_true(p->n >= 2 && g[1] & 0x80 && g[0] & 0x80);
    len = g[1] & 0x7f;
    if (len == 126) {
        len = (size_t)g[2] << 8 | g[3];
        assert_true(len >= 126);
        head = 4;
    } else if (len == 127) {
        len = (size_t)g[6] << 24 | (size_t)g[7] << 16 | (size_t)g[8] << 8 | g[9];
        assert_true(len >= 65536);
        head = 10;
    }
    assert_true(p->n >= head + 4 + len);
    for (size_t i = 0; i < len; i++)
        out[i] = g[head + 4 + i] ^ g[head + i % 4];
    *n = len;
    unsigned opcode = g[0] & 0xf;
    head += 4 + len;
    memmove(p->got, p->got + head, p->n - head);
    p->n -= head;
    return opcode;
}

static size_t server_frame(uint8_t *dst, unsigned first, const void *bytes, size_t n)
{
    size_t head = 2;
    dst[0] = (uint8_t)first;
    if (n < 126) {
        dst[1] = (uint8_t)n;
    } else if (n < 65536) {
        dst[1] = 126;
        dst[2] = (uint8_t)(n >> 8);
        dst[3] = (uint8_t)n;
        head = 4;
    } else {
        dst[1] = 127;
        for (unsigned i = 0; i < 8; i++)
            dst[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        head = 10;
    }
    memcpy(dst + head, bytes, n);
    return head + n;
}

static void the_accept_value(void **state)
{
    (void)state;
    char accept[WS_ACCEPT_SIZE];
    ws_accept_of("dGhlIHNhbXBsZSBub25jZQ==", accept); // RFC 6455, 1.3
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void the_request(void **state)
{
    (void)state;
    struct world w;
    static struct ws_peer p;
    world_create(&w);
    w.transport =
        ws_transport(&w, "/a/b?x=1", "{'headers': {'Authorization': 'Basic eA==', 'X-Site': 'a b'}}", false, NULL);
    peer_begin(&w, &p);
    const char *got = (const char *)p.got;
    assert_int_equal(strncmp(got, "GET /a/b?x=1 HTTP/1.1\r\nHost: localhost:9001\r\n", 45), 0);
    assert_non_null(strstr(got, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"));
    assert_non_null(strstr(got, "\r\nSec-WebSocket-Protocol: mqtt\r\n"));
    assert_non_null(strstr(got, "\r\nAuthorization: Basic eA==\r\nX-Site: a b\r\n"));
    char first[32];
    memcpy(first, p.key, sizeof first);
    world_close(&w);
    peer_begin(&w, &p);
    assert_string_not_equal(first, p.key); // a key for each connection
    world_close(&w);
    transport_delete(w.transport);
    w.transport = ws_transport(&w, "", "{'headers': {'host': 'other'}}", false, NULL);
    peer_begin(&w, &p);
    assert_int_equal(strncmp((char *)p.got, "GET /mqtt HTTP/1.1\r\nUpgrade:", 27), 0);
    assert_non_null(strstr((char *)p.got, "\r\nhost: other\r\n"));
    world_destroy(&w);
}

static void carries_data(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 100000};
    struct world w;
    static struct ws_peer p;
    static uint8_t data[100000], frame[100100], got[100000];
    size_t n;
    world_create(&w);
    w.transport = ws_transport(&w, NULL, NULL, false, NULL);
    peer_open(&w, &p);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t len = sizes[i];
        p.n = 0;
        assert_int_equal(link_send(&w.end.link, data, len, NULL), 0);
        PEER_WAIT(&w, &p, p.n >= len + (len < 126 ? 6 : len < 65536 ? 8 : 14));
        assert_int_equal(peer_frame(&p, got, &n), WS_BINARY);
        assert_int_equal(n, len);
        assert_memory_equal(got, data, len);
        assert_int_equal(p.n, 0);
        w.end.n = 0;
        n = server_frame(frame, 0x82, data, len);
        peer_send(&w, frame, n);
        PEER_WAIT(&w, &p, w.end.n == len);
        assert_memory_equal(w.end.in, data, len);
    }
    // The mask is another one each time.
    p.n = 0;
    for (int i = 0; i < 600; i++) // more than one stock of them
        assert_int_equal(link_send(&w.end.link, "", 0, NULL), 0);
    PEER_WAIT(&w, &p, p.n == 600 * 6);
    unsigned same = 0;
    for (size_t i = 1; i < 600; i++)
        same += memcmp(p.got + 6 * i + 2, p.got + 6 * (i - 1) + 2, 4) == 0;
    assert_int_equal(same, 0);
    world_destroy(&w);
}

// Every byte on its own: the answer, fragments with control frames between them, an MQTT packet over three frames.
static void in_pieces(void **state)
{
    (void)state;
    struct world w;
    static struct ws_peer p;
    uint8_t out[128];
    size_t n;
    world_create(&w);
    w.transport = ws_transport(&w, NULL, NULL, false, NULL);
    peer_begin(&w, &p);
    for (size_t i = 0; i < strlen(p.answer); i++) {
        assert_int_equal(w.end.opened, 0);
        peer_send(&w, p.answer + i, 1);
        loop_turn(w.loop, 0);
    }
    PEER_WAIT(&w, &p, w.end.opened);
    p.n = 0;
    static const uint8_t frames[] = "\x02\x03"
                                    "abc" // a message begins
                                    "\x89\x04"
                                    "ping" // between fragments
                                    "\x8a\x02"
                                    "xy"       // a pong nobody asked for
                                    "\x00\x00" // an empty fragment
                                    "\x00\x02"
                                    "de"
                                    "\x80\x01"
                                    "f"        // and ends
                                    "\x82\x00" // an empty message
                                    "\x82\x02"
                                    "gh"
                                    "\x89\x00";
    for (size_t i = 0; i < sizeof frames - 1; i++) {
        peer_send(&w, frames + i, 1);
        loop_turn(w.loop, 0);
    }
    PEER_WAIT(&w, &p, w.end.n == 8 && p.n >= 16);
    assert_memory_equal(w.end.in, "abcdefgh", 8);
    assert_int_equal(peer_frame(&p, out, &n), WS_PONG);
    assert_int_equal(n, 4);
    assert_memory_equal(out, "ping", 4);
    assert_int_equal(peer_frame(&p, out, &n), WS_PONG);
    assert_int_equal(n, 0);
    assert_int_equal(p.n, 0);
    // The answer and the first frames in one piece.
    world_close(&w);
    peer_begin(&w, &p);
    n = strlen(p.answer);
    memcpy(p.answer + n, frames, sizeof frames - 1);
    peer_send(&w, p.answer, n + sizeof frames - 1);
    PEER_WAIT(&w, &p, w.end.n == 8);
    assert_int_equal(w.end.opened, 1);
    world_destroy(&w);
}

static void upgrades_that_fail(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *text;
        enum error_code code;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
         "answered \"404 Not Found\" to the WebSocket upgrade of /mqtt: websocket.path", ERR_REFUSED},
        {"HTTP/1.0 401 Unauthorized\r\n\r\n", "\"401 Unauthorized\"", ERR_REFUSED},
        {"HTTP/1.1 200 OK\r\n\r\n<html>", "it serves HTTP there, no WebSocket", ERR_REFUSED},
        {"HTTP/1.1 503\r\n\r\n", "answered \"503\"", ERR_REFUSED},
        {"HTTP/1.1 301 Moved Permanently\r\nLocation: https://other.example/mqtt\r\n\r\n",
         "to https://other.example/mqtt; redirects are not followed", ERR_REFUSED},
        {"HTTP/1.1 302 Found\r\n\r\n", "answered \"302 Found\"", ERR_REFUSED},
        {"HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\n\n", "has no \"Upgrade: websocket\"", ERR_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "has no \"Connection: Upgrade\"",
         ERR_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "has no Sec-WebSocket-Accept",
         ERR_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
         "has a wrong Sec-WebSocket-Accept", ERR_PROTOCOL},
        {"HTTP/1.1 101 x\r\nUpgrade websocket\r\n\r\n", "broken header line \"Upgrade websocket\"", ERR_PROTOCOL},
        {"HTTP/1.1 abc\r\n\r\n", "begins with \"HTTP/1.1 abc\"", ERR_PROTOCOL},
        {"HTTP/1.1 1011 x\r\n\r\n", "begins with", ERR_PROTOCOL},
        {"HTTP/2 200\r\n\r\n", "got the text HTTP/2 200", ERR_PROTOCOL},
        {" \x02", "got the text", ERR_PROTOCOL},
        {"\x01\x02", "got bytes that are no text", ERR_PROTOCOL},
        {"%s", "chose none as WebSocket subprotocol, expected mqtt", ERR_PROTOCOL},
        {"%sSec-WebSocket-Protocol: mqttv3.1\r\n", "chose mqttv3.1 as WebSocket subprotocol", ERR_PROTOCOL},
        {"%sSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: mqtt\r\n", "subprotocol", ERR_PROTOCOL},
        {"%sSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
         "a WebSocket extension nobody asked for: permessage-deflate", ERR_PROTOCOL},
    };
    struct world w;
    static struct ws_peer p;
    world_create(&w);
    w.transport = ws_transport(&w, NULL, NULL, false, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char answer[600], accept[WS_ACCEPT_SIZE], begin[300];
        peer_begin(&w, &p);
        ws_accept_of(p.key, accept);
        snprintf(begin, sizeof begin,
                 "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", accept);
        if (cases[i].answer[0] == '%')
            snprintf(answer, sizeof answer, "%s%s\r\n", begin, cases[i].answer + 2);
        else
            snprintf(answer, sizeof answer, "%s", cases[i].answer);
        peer_send(&w, answer, strlen(answer));
        PEER_WAIT(&w, &p, w.end.closed);
        assert_int_equal(w.end.opened, 0);
        if (!strstr(w.end.why.text, cases[i].text) || w.end.why.code != cases[i].code)
            fail_msg("expected %d \"%s\" in %d \"%s\"", (int)cases[i].code, cases[i].text, (int)w.end.why.code,
                     w.end.why.text);
    }
    // A header without an end.
    char line[1000];
    memset(line, 'a', sizeof line);
    peer_begin(&w, &p);
    peer_send(&w, "HTTP/1.1 101 x\r\n", 16);
    for (int i = 0; i < 40 && !w.end.closed; i++) {
        peer_send(&w, line, sizeof line);
        loop_turn(w.loop, 0);
    }
    PEER_WAIT(&w, &p, w.end.closed);
    assert_int_equal(w.end.why.code, ERR_LIMIT);
    assert_non_null(strstr(w.end.why.text, "more than 16384 bytes"));
    // An end in place of an answer, and within it.
    for (int i = 0; i < 2; i++) {
        peer_begin(&w, &p);
        if (i)
            peer_send(&w, "HTTP/1.1 1", 10);
        server_hang_up(&w.server);
        WORLD_WAIT(&w, w.end.closed);
        assert_int_equal(w.end.why.code, ERR_CLOSED);
        assert_non_null(strstr(w.end.why.text, "in the WebSocket upgrade"));
        assert_int_equal(strstr(w.end.why.text, "is this a WebSocket port?") == NULL, i);
    }
    world_destroy(&w);
}

static void forbidden_frames(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        unsigned close;
        const char *text;
    } cases[] = {
        {"\x81\x02hi", 4, 1003, "text frame: expected binary"},
        {"\xc2\x00", 2, 1002, "reserved bits 4"},
        {"\x92\x00", 2, 1002, "reserved bits 1"},
        {"\x83\x00", 2, 1002, "reserved opcode 3"},
        {"\x8b\x00", 2, 1002, "reserved opcode 11"},
        {"\x8f\x00", 2, 1002, "reserved opcode 15"},
        {"\x82\x81\x00\x00\x00\x00x", 7, 1002, "masked"},
        {"\x09\x00", 2, 1002, "ping frame in fragments"},
        {"\x08\x00", 2, 1002, "close frame in fragments"},
        {"\x89\x7e\x00\x80", 4, 1002, "ping frame of more than 125"},
        {"\x80\x00", 2, 1002, "without a message to continue"},
        {"\x02\x01x\x82\x01y", 6, 1002, "begins within a fragmented one"},
        {"\x82\x7e\x00\x7d", 4, 1002, "shortest form"},
        {"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10, 1002, "shortest form"},
        {"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 10, 1002, "shortest form"},
        {"\x82\x7e\x10\x01", 4, 1009, "more than websocket.maxFrame, 4096"},
        {"\x88\x01x", 3, 1002, "half a code"},
        {"\x88\x02\x03\xed", 4, 1002, "a code that is none"}, // 1005 is never sent
        {"\x88\x02\x00\x00", 4, 1002, "a code that is none"},
        {"\x88\x04\x03\xe8\xc3\x28", 6, 1007, "no UTF-8"},
    };
    struct world w;
    static struct ws_peer p;
    uint8_t out[128];
    size_t n;
    world_create(&w);
    w.transport = ws_transport(&w, NULL, "{'maxFrame': '4KB'}", false, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peer_open(&w, &p);
        peer_send(&w, cases[i].bytes, cases[i].n);
        PEER_WAIT(&w, &p, w.end.closed && p.n >= 8);
        if (!strstr(w.end.why.text, cases[i].text))
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, w.end.why.text);
        assert_int_equal(w.end.why.code, cases[i].close == 1009 ? ERR_LIMIT : ERR_PROTOCOL);
        assert_int_equal(peer_frame(&p, out, &n), WS_CLOSE);
        assert_int_equal(n, 2);
        assert_int_equal(out[0] << 8 | out[1], cases[i].close);
    }
    // The largest that is allowed.
    static uint8_t data[4096], frame[4200];
    peer_open(&w, &p);
    peer_send(&w, frame, server_frame(frame, 0x82, data, sizeof data));
    PEER_WAIT(&w, &p, w.end.n == sizeof data);
    world_destroy(&w);
}

static void closes(void **state)
{
    (void)state;
    struct world w;
    static struct ws_peer p;
    uint8_t out[128];
    size_t n;
    world_create(&w);
    w.transport = ws_transport(&w, NULL, NULL, false, NULL);
    // By the server: the code comes back.
    peer_open(&w, &p);
    peer_send(&w, "\x88\x0c\x03\xe9going away", 14);
    PEER_WAIT(&w, &p, w.end.closed && p.n >= 8);
    assert_int_equal(w.end.why.code, ERR_CLOSED);
    assert_string_equal(w.end.why.text, "closed by the peer (WebSocket close 1001 \"going away\")");
    assert_int_equal(peer_frame(&p, out, &n), WS_CLOSE);
    assert_int_equal(n, 2);
    assert_int_equal(out[0] << 8 | out[1], 1001);
    assert_int_equal(p.n, 0);
    peer_open(&w, &p);
    peer_send(&w, "\x88\x00", 2);
    PEER_WAIT(&w, &p, w.end.closed && p.n >= 6);
    assert_string_equal(w.end.why.text, "closed by the peer (WebSocket close without a code)");
    assert_int_equal(peer_frame(&p, out, &n), WS_CLOSE);
    assert_int_equal(n, 0);
    // By us, behind what is queued.
    peer_open(&w, &p);
    assert_int_equal(link_send(&w.end.link, "bye", 3, NULL), 0);
    link_close(&w.end.link, LINK_FLUSH);
    PEER_WAIT(&w, &p, p.n >= 17);
    assert_int_equal(peer_frame(&p, out, &n), WS_BINARY);
    assert_int_equal(n, 3);
    assert_int_equal(peer_frame(&p, out, &n), WS_CLOSE);
    assert_int_equal(out[0] << 8 | out[1], 1000);
    assert_int_equal(p.n, 0);
    assert_int_equal(w.end.closed, 0);
    assert_int_equal(recv(w.server.fd, out, 1, 0), 0); // and the end
    // Abruptly: not a word.
    peer_open(&w, &p);
    link_close(&w.end.link, LINK_ABORT);
    peer_take(&w, &p);
    assert_int_equal(p.n, 0);
    // During the upgrade there is nothing to close.
    peer_begin(&w, &p);
    p.n = 0;
    link_close(&w.end.link, LINK_FLUSH);
    peer_take(&w, &p);
    assert_int_equal(p.n, 0);
    world_destroy(&w);
}

// A peer that pings and never reads: its answers stop at the cap, and the connection ends.
static void pings_without_end(void **state)
{
    (void)state;
    struct world w;
    static struct ws_peer p;
    static uint8_t pings[127 * 100];
    world_create(&w);
    w.transport = ws_transport(&w, NULL, NULL, false, NULL);
    peer_open(&w, &p);
    int small = 4096;
    setsockopt(w.end.link.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    for (size_t i = 0; i < sizeof pings; i += 127)
        memcpy(pings + i, "\x89\x7d", 2);
    for (int i = 0; i < 1000 && !w.end.closed; i++) {
        (void)!send(w.server.fd, pings, sizeof pings, MSG_DONTWAIT | MSG_NOSIGNAL);
        loop_turn(w.loop, 0);
    }
    assert_int_equal(w.end.closed, 1);
    assert_int_equal(w.end.why.code, ERR_LIMIT);
    world_destroy(&w);
}

static void wrong_options(void **state)
{
    (void)state;
    static const struct {
        const char *path, *options, *text;
    } cases[] = {
        {NULL, "{'header': {}}",
         "option websocket \"header\"; valid: headers, maxFrame, path; did you mean \"headers\"?"},
        {NULL, "{'headers': []}", "websocket.headers: expected an object"},
        {NULL, "{'headers': {'a b': 'x'}}", "\"a b\" is no name of a header"},
        {NULL, "{'headers': {'a': 1}}", "websocket.headers: expected texts, got a number"},
        {NULL, "{'headers': {'a': 'x\\r\\nEvil: 1'}}", "control characters"},
        {NULL, "{'headers': {'a': 'x\\u0000y'}}", "control characters"},
        {NULL, "{'headers': {'sec-websocket-KEY': 'x'}}", "Sec-WebSocket-Key cannot be set"},
        {NULL, "{'path': 'mqtt'}", "websocket.path: expected a path"},
        {NULL, "{'path': '/a b'}", "websocket.path"},
        {NULL, "{'path': '/a\\r\\nX: y'}", "websocket.path"},
        {NULL, "{'path': 5}", "websocket"},
        {"no slash", NULL, "websocket.path"},
        {NULL, "{'maxFrame': 10}", "125 bytes to 256 MB"},
        {NULL, "{'maxFrame': -1}", "125 bytes to 256 MB"},
        {NULL, "{'maxFrame': '9GB'}", "125 bytes to 256 MB"},
        {NULL, "{'maxFrame': 'x'}", "websocket.maxFrame"},
        {NULL, "{'maxFrame': true}", "websocket.maxFrame: expected bytes, got true"},
        {NULL, "[]", "websocket: expected an object"},
    };
    struct world w;
    struct error err;
    world_create(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_error_t bad;
        char text[200];
        snprintf(text, sizeof text, "%s", cases[i].options ? cases[i].options : "null");
        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        json_t *o = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &bad);
        assert_non_null(o);
        struct transport_config config = {
            .loop = w.loop, .websocket = true, .host = "h", .port = 1, .path = cases[i].path, .ws_options = o};
        assert_null(transport_new(&config, &err));
        if (!strstr(err.text, cases[i].text))
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, err.text);
        json_decref(o);
    }
    world_destroy(&w);
}

// wss: the upgrade within TLS, and both closed in order.
static void over_tls(void **state)
{
    (void)state;
    struct world w;
    static struct ws_peer p;
    static uint8_t data[100000], out[100000];
    size_t n;
    world_create(&w);
    server_create(&w.server, &w.leaf, 0);
    w.transport = ws_transport(&w, NULL, NULL, true, NULL);
    for (int pace = 0; pace < 2; pace++) {
        world_begin(&w);
        w.server.pace = pace ? 3 : 0;
        WORLD_WAIT(&w, w.server.n_got > 4 && memcmp(w.server.got + w.server.n_got - 4, "\r\n\r\n", 4) == 0);
        assert_int_equal(w.end.opened, 0); // TLS alone is not enough
        memcpy(p.got, w.server.got, w.server.n_got);
        p.got[w.server.n_got] = '\0';
        peer_request(&w, &p);
        SSL_write(w.server.ssl, p.answer, (int)strlen(p.answer));
        WORLD_WAIT(&w, w.end.opened);
        w.server.n_got = 0;
        size_t len = pace ? 1000 : sizeof data;
        assert_int_equal(link_send(&w.end.link, data, len, NULL), 0);
        WORLD_WAIT(&w, w.server.n_got == len + (pace ? 8 : 14));
        memcpy(p.got, w.server.got, p.n = w.server.n_got);
        assert_int_equal(peer_frame(&p, out, &n), WS_BINARY);
        assert_int_equal(n, len);
        assert_memory_equal(out, data, len);
        SSL_write(w.server.ssl, "\x82\x03xyz", 5);
        WORLD_WAIT(&w, w.end.n == 3);
        assert_true(transport_footprint(&w.end.link) > 300);
        w.server.n_got = 0;
        link_close(&w.end.link, LINK_FLUSH);
        WORLD_WAIT(&w, w.server.ended);
        memcpy(p.got, w.server.got, p.n = w.server.n_got);
        assert_int_equal(peer_frame(&p, out, &n), WS_CLOSE);
        assert_true(SSL_get_shutdown(w.server.ssl) & SSL_RECEIVED_SHUTDOWN);
    }
    world_destroy(&w);
}

static void masks_like_the_standard(void **state)
{
    (void)state;
    uint8_t src[64], dst[64];
    static const uint8_t mask[4] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof src; i++)
        src[i] = (uint8_t)(i * 5);
    for (size_t at = 0; at < 9; at++)
        for (size_t n = 0; n < 40; n++) {
            ws_mask(dst, src + 1, n, mask, at);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(dst[i], src[i + 1] ^ mask[(at + i) % 4]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_accept_value),
        cmocka_unit_test(the_request),
        cmocka_unit_test(carries_data),
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(upgrades_that_fail),
        cmocka_unit_test(forbidden_frames),
        cmocka_unit_test(closes),
        cmocka_unit_test(pings_without_end),
        cmocka_unit_test(wrong_options),
        cmocka_unit_test(over_tls),
        cmocka_unit_test(masks_like_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
