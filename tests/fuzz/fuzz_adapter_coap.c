// libFuzzer: what a CoAP peer sends, through the seam (io.c, pipe.c): datagrams, and a stream in pieces. The device has
// requests, an observation and an upload in blocks under way, and serves a resource on the same session.
//
// Input: byte 0: bit 0 TCP, bit 1 it observes, bit 2 it sends a large body, bit 3 it answers clients later, bit 4 no
// CSM is given (TCP). Then pieces: a control byte, a length byte, and that many bytes. Control: bit 0 the message id,
// bit 1 the token of one of the device's own messages (which: the upper four bits) is put in its place; bit 2 the
// resource has changed; bit 3 the connection is frozen and goes on.
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adapter/adapter.h"
#include "adapter/coap/coap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS (&coap_adapter)
#define SENT 16u
#define TOKENS 16u

struct fuzz {
    struct clock clock;
    struct adapter_env env;
    struct adapter_target *udp, *tcp;
    int udp_fd, tcp_fd;
    struct coap_hook hook;
    struct adapter_conn *conn;
    bool online, later, is_tcp;
    uint64_t ticket;
    struct { // messages of the device
        uint8_t mid[2], token[8], token_len;
    } sent[SENT];
    unsigned n_sent;
    bool open[TOKENS]; // requests without an answer, by token
};

static bool on_piece(struct coap_hook *hook, const struct coap_piece *p)
{
    struct fuzz *f = container_of(hook, struct fuzz, hook);
    if (!p->down)
        abort(); // nothing comes from the network, and what is passed on is not asked about again
    size_t header = 4;
    if (p->stream)
        header = p->n && p->bytes[0] >> 4 < 13 ? 2 : 3 + (p->n && p->bytes[0] >> 4 == 14);
    if (p->n < header + (p->bytes[0] & 15))
        return false;
    unsigned i = f->n_sent++ % SENT;
    f->sent[i].token_len = p->bytes[0] & 15;
    memcpy(f->sent[i].mid, p->bytes + 2, p->stream ? 0 : 2);
    memcpy(f->sent[i].token, p->bytes + header, f->sent[i].token_len & 7);
    return false;
}

static void on_online(void *owner, bool present)
{
    (void)present;
    ((struct fuzz *)owner)->online = true;
}

static void on_offline(void *owner, const struct error *why, bool retry)
{
    (void)retry;
    if (why->code != ERR_NONE && !why->text[0])
        abort();
    ((struct fuzz *)owner)->online = false;
}

static void on_message(void *owner, const struct adapter_message *m)
{
    (void)owner;
    if (m->topic_len != 2 || memcmp(m->topic, "/o", 2) != 0)
        abort();
}

static void on_done(void *owner, uint32_t token, int granted, const struct error *err)
{
    struct fuzz *f = owner;
    (void)granted;
    if (token >= TOKENS || !f->open[token] || (err && !err->text[0]))
        abort();
    f->open[token] = false;
}

static void on_response(void *owner, uint32_t token, const struct adapter_response *r, const struct error *err)
{
    struct fuzz *f = owner;
    uint32_t sum = 0;
    if (token >= TOKENS || !f->open[token] || !r == !err)
        abort();
    f->open[token] = r && r->more;
    for (unsigned i = 0; r && i < r->n_headers; i++)
        for (size_t k = 0; k < r->headers[i].value_len; k++)
            sum += (uint8_t)r->headers[i].value[k];
    for (size_t i = 0; r && i < r->payload_len; i++) // every byte of it can be read
        sum += r->payload[i];
    if (sum == UINT32_MAX)
        abort();
}

static void respond(struct fuzz *f, uint64_t ticket)
{
    static const uint8_t body[2000];
    struct error err;
    struct adapter_response r = {.status = 205, .payload = body, .payload_len = ticket % 3 ? 10 : sizeof body};
    (void)OPS->respond(f->conn, ticket, &r, &err);
}

static void on_request(void *owner, uint64_t ticket, const struct adapter_request *r)
{
    struct fuzz *f = owner;
    if (!r->path_len || r->path[0] != '/' || strlen(r->path) != r->path_len)
        abort();
    if (!f->later)
        respond(f, ticket);
    f->ticket = ticket;
}

static int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    (void)owner, (void)err;
    return what == FIELD_CLIENT_ID ? buf_append_str(out, "d") : 0;
}

static uint16_t listen_on(int type, int *fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    *fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    if (*fd < 0 || bind(*fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        getsockname(*fd, (struct sockaddr *)&at, &len) < 0 || (type == SOCK_STREAM && listen(*fd, 64) < 0))
        abort();
    return ntohs(at.sin_port);
}

static struct adapter_target *target(struct fuzz *f, const char *scheme, uint16_t port)
{
    struct error err;
    char url[64];
    json_t *o = json_loads("{\"maxResponse\": \"16KB\", \"queueMax\": 12, \"nstart\": 8, \"reconnect\": false, "
                           "\"blockSize\": 64}",
                           0, NULL);
    snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme, port);
    struct adapter_target *t = OPS->target_new(&f->env, url, o, "fuzz", &err);
    json_decref(o);
    if (!t)
        abort();
    return t;
}

static struct fuzz *fuzz_new(void)
{
    struct fuzz *f = calloc(1, sizeof *f);
    struct error err;
    clock_create_real(&f->clock);
    f->env.loop = loop_new(&f->clock, &err);
    f->env.links = link_env_new(f->env.loop, &(struct link_env_config){0}, &err);
    f->env.resolver = resolver_new(f->env.loop, &err);
    f->env.metrics = metrics_new(1000);
    f->udp = target(f, "coap", listen_on(SOCK_DGRAM, &f->udp_fd));
    f->tcp = target(f, "coap+tcp", listen_on(SOCK_STREAM, &f->tcp_fd));
    f->hook.pass = on_piece;
    return f;
}

static void ask(struct fuzz *f, uint32_t token, const char *method, const char *path, size_t n)
{
    static const uint8_t body[1000];
    struct error err;
    struct adapter_request r = {
        .method = method, .path = path, .path_len = strlen(path), .payload = body, .payload_len = n};
    f->open[token] = true;
    if (OPS->request(f->conn, &r, token, &err) < 0)
        f->open[token] = false;
}

static void start(struct fuzz *f, uint8_t what)
{
    static const struct adapter_events events = {.on_online = on_online,
                                                 .on_offline = on_offline,
                                                 .on_message = on_message,
                                                 .on_done = on_done,
                                                 .on_response = on_response,
                                                 .on_request = on_request};
    static const struct adapter_identity identity = {.field = field};
    static const uint8_t csm[] = {0x00, 0xe1};
    struct error err;
    f->is_tcp = what & 1;
    f->online = false;
    f->later = what & 8;
    f->n_sent = 0;
    memset(f->sent, 0, sizeof f->sent);
    memset(f->open, 0, sizeof f->open);
    f->conn = OPS->conn_new(f->is_tcp ? f->tcp : f->udp, &events, &identity, f, 1, &err);
    if (!f->conn || coap_conn_hook(f->conn, &f->hook, &err) < 0 || OPS->conn_open(f->conn, &err) < 0)
        abort();
    json_t *attributes = json_pack("{s:b}", "observable", 1);
    if (OPS->serve(f->conn, "/a", attributes, &err) < 0 || OPS->serve(f->conn, "/s/*", NULL, &err) < 0)
        abort();
    json_decref(attributes);
    for (int i = 0; i < 1000 && !(f->is_tcp ? f->n_sent > 0 : f->online); i++)
        loop_turn(f->env.loop, 1000);
    if (f->is_tcp && !(what & 16)) {
        (void)coap_conn_pass(f->conn, false, csm, sizeof csm, &err);
        loop_turn(f->env.loop, 0);
    }
    if (!f->online)
        return;
    ask(f, 1, "GET", "/x", 0);
    if (what & 2)
        ask(f, 2, "OBSERVE", "/w", 0);
    if (what & 2 && (f->open[3] = true) && OPS->subscribe(f->conn, "/o", 0, 3, &err) < 0)
        f->open[3] = false;
    if (what & 4)
        ask(f, 4, "PUT", "/u", 1000);
    f->open[5] = true;
    struct adapter_message m = {
        .topic = "/p", .topic_len = 2, .payload = (const uint8_t *)"x", .payload_len = 1, .qos = 1};
    if (OPS->publish(f->conn, &m, 5, &err) < 0)
        f->open[5] = false;
}

static void put_in(struct fuzz *f, uint8_t control, uint8_t *b, size_t n)
{
    unsigned i = control >> 4;
    if (control & 1 && !f->is_tcp && n >= 4)
        memcpy(b + 2, f->sent[i].mid, 2);
    size_t header = f->is_tcp ? (n && b[0] >> 4 < 13 ? 2u : 3u) : 4u;
    if (!(control & 2) || f->sent[i].token_len > 7 || n < header + f->sent[i].token_len)
        return;
    b[0] = (uint8_t)((b[0] & 0xf0) | f->sent[i].token_len);
    memcpy(b + header, f->sent[i].token, f->sent[i].token_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz *f; // one for all inputs
    struct error err;
    if (!f)
        f = fuzz_new();
    if (size < 3)
        return 0;
    start(f, data[0]);
    for (size_t at = 1, pieces = 0; at + 2 < size && pieces < 64; pieces++) {
        uint8_t control = data[at], bytes[256];
        size_t n = data[at + 1];
        at += 2;
        n = n < size - at ? n : size - at;
        memcpy(bytes, data + at, n);
        at += n;
        put_in(f, control, bytes, n);
        if (n)
            (void)coap_conn_pass(f->conn, false, bytes, n, &err);
        if (control & 4)
            (void)OPS->notify(f->conn, "/a", &err);
        if (control & 8) {
            OPS->conn_freeze(f->conn, true);
            OPS->conn_freeze(f->conn, false);
        }
        loop_turn(f->env.loop, 0);
        if (f->later && f->ticket)
            respond(f, f->ticket);
    }
    loop_turn(f->env.loop, 0);
    OPS->conn_delete(f->conn);
    loop_turn(f->env.loop, 0);
    for (int fd; f->is_tcp && (fd = accept(f->tcp_fd, NULL, NULL)) >= 0;)
        close(fd);
    return 0;
}
