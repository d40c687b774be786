// A TLS server in the same process, over a socketpair, and certificates of every kind.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "core/jsonx.h"
#include "cert.h"
#include "link/openssl.h"
#include "link/transport.h"

// --- the server

struct server {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;      // its end of the socketpair
    size_t pace; // bytes a turn that it sends and receives; 0: any number
    bool mute;   // sends nothing
    bool open, ended;
    uint8_t *got;
    size_t n_got;
    char sni[64];
    unsigned long error; // the first of its failures
};

static inline int server_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                              unsigned n, void *arg)
{
    (void)ssl, (void)arg;
    return SSL_select_next_proto((unsigned char **)out, out_len, (const uint8_t *)"\4mqtt", 5, in, n) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static inline void server_create(struct server *s, const struct cert *c, int version)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->ctx = SSL_CTX_new(TLS_server_method());
    if (version) {
        SSL_CTX_set_min_proto_version(s->ctx, version);
        SSL_CTX_set_max_proto_version(s->ctx, version);
    }
    SSL_CTX_set_session_id_context(s->ctx, (const uint8_t *)"t", 1);
    SSL_CTX_set_alpn_select_cb(s->ctx, server_alpn, NULL);
    if (c) {
        SSL_CTX_use_certificate(s->ctx, c->x);
        SSL_CTX_use_PrivateKey(s->ctx, c->key);
    }
}

static inline void server_hang_up(struct server *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static inline void server_reset(struct server *s)
{
    if (s->ssl)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    s->ssl = NULL;
    server_hang_up(s);
    s->open = s->ended = false;
    s->n_got = 0;
    s->error = 0;
}

static inline void server_destroy(struct server *s)
{
    server_reset(s);
    SSL_CTX_free(s->ctx);
    free(s->got);
    *s = (struct server){.fd = -1};
}

static inline void server_flush(struct server *s)
{
    char *at;
    long n = BIO_get_mem_data(SSL_get_wbio(s->ssl), &at);
    if (s->mute || n <= 0 || s->fd < 0)
        return;
    size_t k = s->pace && (size_t)n > s->pace ? s->pace : (size_t)n;
    ssize_t sent = send(s->fd, at, k, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        char drop[4096];
        while (sent > 0) {
            int d = BIO_read(SSL_get_wbio(s->ssl), drop, sent > 4096 ? 4096 : (int)sent);
            sent -= d;
        }
    }
}

// What a server does in a turn: takes what has come, goes on with the handshake, decrypts, sends.
static inline void server_turn(struct server *s)
{
    uint8_t bytes[16384];
    if (!s->ssl || s->fd < 0)
        return;
    ssize_t n = recv(s->fd, bytes, s->pace ? s->pace : sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        BIO_write(SSL_get_rbio(s->ssl), bytes, (int)n);
    if (n == 0)
        s->ended = true;
    ERR_clear_error();
    int rc = s->open ? 1 : SSL_do_handshake(s->ssl);
    s->open |= rc == 1;
    for (size_t k; s->open && SSL_read_ex(s->ssl, bytes, sizeof bytes, &k) == 1;) {
        s->got = realloc(s->got, s->n_got + k);
        memcpy(s->got + s->n_got, bytes, k);
        s->n_got += k;
    }
    if (!s->error && ERR_peek_error())
        s->error = ERR_peek_error();
    ERR_clear_error();
    server_flush(s);
}

// --- the client and the world

struct tls_end {
    struct link link;
    struct transport_memory memory;
    unsigned opened, closed;
    struct error why;
    uint8_t *in;
    size_t n;
    void (*hook)(struct tls_end *end);
};

static inline struct tls_end *tls_end_of(struct link *link)
{
    return container_of(link, struct tls_end, link);
}

static inline void tls_on_open(struct link *link)
{
    tls_end_of(link)->opened++;
    if (tls_end_of(link)->hook)
        tls_end_of(link)->hook(tls_end_of(link));
}

static inline void tls_on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    struct tls_end *e = tls_end_of(link);
    e->in = realloc(e->in, e->n + n);
    memcpy(e->in + e->n, bytes, n);
    e->n += n;
    if (e->hook)
        e->hook(e);
}

static inline void tls_on_close(struct link *link, const struct error *why)
{
    struct tls_end *e = tls_end_of(link);
    assert_int_equal(link->state, LINK_CLOSED);
    e->closed++;
    e->why = *why;
}

struct world {
    struct clock clock;
    struct loop *loop;
    struct link_env *env;
    struct metrics *metrics;
    struct transport *transport;
    struct server server;
    struct tls_end end;
    struct link_events events;
    struct cert ca, leaf;
    // Credentials of the device, NULL: none.
    const char *cert, *key, *name, *psk_identity, *psk_key;
    struct metric *latency, *resumed, *full;
};

static inline int world_credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    struct world *w = owner;
    const char *all[] = {[TRANSPORT_CERT] = w->cert,
                         [TRANSPORT_KEY] = w->key,
                         [TRANSPORT_NAME] = w->name,
                         [TRANSPORT_PSK_IDENTITY] = w->psk_identity,
                         [TRANSPORT_PSK_KEY] = w->psk_key};
    if (all[what] && buf_append_str(out, all[what]) < 0)
        return error_set(err, ERR_LIMIT, "credential too long");
    return 0;
}

static inline void world_turn(struct world *w)
{
    server_turn(&w->server);
    loop_turn(w->loop, 0);
}

#define WORLD_WAIT(w, cond)                                                                                            \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + 10000000;                                                          \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            world_turn(w);                                                                                             \
        assert_true(cond);                                                                                             \
    } while (0)

static inline void world_create(struct world *w)
{
    struct link_env_config links = {.max_out_bytes = 300000};
    memset(w, 0, sizeof *w);
    clock_create_real(&w->clock);
    w->loop = loop_new(&w->clock, NULL);
    w->env = link_env_new(w->loop, &links, NULL);
    w->metrics = metrics_new(100);
    w->latency = metrics_series(w->metrics, "tls_latency", METRIC_TREND, UNIT_TIME_US, NULL, NULL);
    w->resumed = metrics_series(w->metrics, "tls_resumed", METRIC_COUNTER, UNIT_NONE, NULL, NULL);
    w->full = metrics_series(w->metrics, "tls_full", METRIC_COUNTER, UNIT_NONE, NULL, NULL);
    w->ca = cert_make((struct cert_spec){.cn = "Test CA", .ca = true});
    w->leaf = cert_make((struct cert_spec){
        .cn = "localhost", .san = "DNS:localhost,DNS:broker.example,IP:127.0.0.1", .issuer = &w->ca});
    w->events = (struct link_events){tls_on_open, tls_on_data, NULL, tls_on_close};
    link_create(&w->end.link, w->env, &w->events);
    w->server.fd = -1;
}

// A transport with options as JSON text with ' for "; %CA% is not replaced: use world_options.
static inline struct transport *world_try(struct world *w, json_t *tls, const char *host, struct error *err)
{
    struct transport_config config = {.loop = w->loop,
                                      .tls = true,
                                      .host = host,
                                      .port = 8883,
                                      .tls_options = tls,
                                      .credential = world_credential,
                                      .tls_latency = w->latency,
                                      .tls_resumed = w->resumed,
                                      .tls_full = w->full};
    struct transport *t = transport_new(&config, err);
    json_decref(tls);
    return t;
}

// Options that trust the world's CA, and what else is given ("{ 'maxVersion': '1.2' }" with ' for ").
static inline json_t *world_options(struct world *w, const char *more)
{
    char text[1024];
    size_t n = strlen(more ? more : "{}");
    assert_true(n < sizeof text);
    memcpy(text, more ? more : "{}", n + 1);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    if (!json_object_get(o, "ca"))
        json_object_set_new(o, "ca", json_string(w->ca.pem));
    return o;
}

static inline void world_transport(struct world *w, const char *more, const char *host)
{
    struct error err;
    error_clear(&err);
    transport_delete(w->transport);
    w->transport = world_try(w, world_options(w, more), host, &err);
    assert_string_equal(err.text, "");
    assert_non_null(w->transport);
}

// Another transport, with these options, which are given away.
static inline void world_use(struct world *w, json_t *tls)
{
    struct error err;
    transport_delete(w->transport);
    w->transport = world_try(w, tls, "localhost", &err);
    if (!w->transport)
        fail_msg("%s", err.text);
}

// As world_options, with the world's CA to mint certificates; `more` has an object mint.
static inline json_t *world_mint_options(struct world *w, const char *more)
{
    json_t *o = world_options(w, more), *mint = json_object_get(o, "mint");
    json_object_set_new(mint, "ca", json_string(w->ca.pem));
    json_object_set_new(mint, "caKey", json_string(w->ca.key_pem));
    return o;
}

// A server with the world's certificate, in the place of the one there is; version 0: any.
static inline void world_server(struct world *w, int version)
{
    if (w->server.ctx)
        server_destroy(&w->server);
    server_create(&w->server, &w->leaf, version);
}

// The same, and a transport that trusts it.
static inline void world_serve(struct world *w, int version)
{
    world_server(w, version);
    world_transport(w, NULL, "localhost");
}

// A connection begins: the link on one end of a socketpair, the server on the other.
static inline void world_begin(struct world *w)
{
    int ends[2];
    struct error err;
    error_clear(&err);
    server_reset(&w->server);
    w->end.n = 0;
    w->end.opened = w->end.closed = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    if (transport_push(w->transport, &w->end.link, &w->end.memory, w, &err) < 0) {
        close(ends[0]);
        close(ends[1]);
        w->end.closed = 1;
        w->end.why = err;
        return;
    }
    assert_int_equal(link_adopt(&w->end.link, ends[0], NULL), 0);
    w->server.fd = ends[1];
    if (w->server.ctx) {
        w->server.ssl = SSL_new(w->server.ctx);
        SSL_set_bio(w->server.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        BIO_set_mem_eof_return(SSL_get_rbio(w->server.ssl), -1);
        SSL_set_accept_state(w->server.ssl);
    }
}

static inline void world_open(struct world *w)
{
    world_begin(w);
    WORLD_WAIT(w, w->end.opened || w->end.closed);
    if (w->end.closed)
        print_message("%s\n", w->end.why.text);
    assert_int_equal(w->end.opened, 1);
    WORLD_WAIT(w, w->server.open);
}

// A connection that is to fail: its error must hold the text.
#define WORLD_FAILS(w, error_code, expected)                                                                           \
    do {                                                                                                               \
        world_begin(w);                                                                                                \
        WORLD_WAIT(w, (w)->end.closed);                                                                                \
        if (!strstr((w)->end.why.text, expected))                                                                      \
            fail_msg("expected \"%s\" in \"%s\"", expected, (w)->end.why.text);                                        \
        assert_int_equal((w)->end.why.code, error_code);                                                               \
    } while (0)

static inline void world_close(struct world *w)
{
    link_close(&w->end.link, LINK_ABORT);
    loop_turn(w->loop, 0);
}

static inline void world_destroy(struct world *w)
{
    struct link_totals totals;
    world_close(w);
    link_env_totals(w->env, &totals);
    assert_int_equal(totals.open, 0);
    transport_forget(&w->end.memory);
    transport_delete(w->transport);
    link_env_delete(w->env);
    loop_delete(w->loop);
    metrics_delete(w->metrics);
    if (w->server.ctx)
        server_destroy(&w->server);
    else
        server_hang_up(&w->server);
    cert_free(&w->ca);
    cert_free(&w->leaf);
    free(w->end.in);
}

// Of tests whose *state is a world.
static inline int world_up(void **state)
{
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    world_create(w);
    *state = w;
    return 0;
}

static inline int world_down(void **state)
{
    world_destroy(*state);
    free(*state);
    return 0;
}
