#include "link/openssl.h"
#include "adapter/http/echo_tls.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "link/url.h"

#define CONNECTIONS_MAX 1024u
#define STACK_BYTES (128u << 10)
#define HANDSHAKE_MS 10000

struct echo_tls {
    SSL_CTX *ctx;
    int listener, plain_port, stop; // stop: an eventfd, readable when it ends
    pthread_t thread;
    bool started;
    atomic_uint connections;
};

struct relay {
    struct echo_tls *tls;
    int fd;
};

static bool stopped(const struct echo_tls *t)
{
    struct pollfd p = {.fd = t->stop, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static int connect_plain(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool write_all(int fd, const char *bytes, ssize_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            bytes += sent;
            n -= sent;
        }
    }
    return true;
}

// Both directions until one side ends. The sockets block: a stalled client holds its own thread only.
static void relay_bytes(struct echo_tls *t, SSL *ssl, int client, int plain)
{
    char bytes[16384];
    struct pollfd p[3] = {
        {.fd = client, .events = POLLIN}, {.fd = plain, .events = POLLIN}, {.fd = t->stop, .events = POLLIN}};
    for (;;) {
        if (!SSL_pending(ssl) && poll(p, 3, -1) < 0 && errno != EINTR)
            return;
        if (p[2].revents)
            return;
        if (SSL_pending(ssl) || p[0].revents) {
            int n = SSL_read(ssl, bytes, sizeof bytes);
            if (n <= 0 || !write_all(plain, bytes, n))
                return;
        }
        if (p[1].revents) {
            ssize_t n = read(plain, bytes, sizeof bytes);
            if (n <= 0 || SSL_write(ssl, bytes, (int)n) <= 0)
                return;
        }
        p[0].revents = p[1].revents = 0;
    }
}

static void *serve(void *arg)
{
    struct relay r = *(struct relay *)arg;
    struct timeval limit = {.tv_sec = HANDSHAKE_MS / 1000};
    free(arg);
    setsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(r.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    SSL *ssl = SSL_new(r.tls->ctx);
    int plain = -1;
    if (ssl && SSL_set_fd(ssl, r.fd) == 1 && SSL_accept(ssl) == 1 && (plain = connect_plain(r.tls->plain_port)) >= 0) {
        relay_bytes(r.tls, ssl, r.fd, plain);
        SSL_shutdown(ssl);
    }
    if (plain >= 0)
        close(plain);
    SSL_free(ssl);
    close(r.fd);
    ERR_clear_error();
    atomic_fetch_sub(&r.tls->connections, 1);
    return NULL;
}

static void *accept_loop(void *arg)
{
    struct echo_tls *t = arg;
    struct pollfd p[2] = {{.fd = t->listener, .events = POLLIN}, {.fd = t->stop, .events = POLLIN}};
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    while (!stopped(t)) {
        pthread_t thread;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        int fd = p[0].revents ? accept4(t->listener, NULL, NULL, SOCK_CLOEXEC) : -1, on = 1;
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct relay *r = atomic_load(&t->connections) < CONNECTIONS_MAX ? malloc(sizeof *r) : NULL;
        if (r)
            *r = (struct relay){t, fd};
        atomic_fetch_add(&t->connections, 1);
        if (!r || pthread_create(&thread, &attr, serve, r) != 0) {
            atomic_fetch_sub(&t->connections, 1);
            free(r);
            close(fd);
        }
    }
    pthread_attr_destroy(&attr);
    return NULL;
}

static int listen_on(struct echo_tls *t, const char *where, int *port, struct error *err)
{
    struct url url;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    const char *colon = strrchr(where, ':');
    bool any = colon && strcmp(colon, ":0") == 0; // which is no port of a URL
    char text[280];
    int on = 1;
    snprintf(text, sizeof text, "%.*s", any ? (int)(colon - where) : (int)strlen(where), where);
    if (url_parse(text, "https", &url, err) < 0)
        return -1;
    at.sin_port = htons(any ? 0 : url.port);
    if (inet_pton(AF_INET, url.host, &at.sin_addr) != 1)
        return error_set(err, ERR_INVALID, "%s: expected an IPv4 address to listen on", where);
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (t->listener < 0 || bind(t->listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(t->listener, 1024) < 0 ||
        getsockname(t->listener, (struct sockaddr *)&at, &len) < 0)
        return error_set_errno(err, "the HTTPS server cannot listen on %s", where);
    *port = ntohs(at.sin_port);
    return 0;
}

static int make_context(struct echo_tls *t, const struct http_echo_config *c, struct error *err)
{
    if (!(t->ctx = SSL_CTX_new(TLS_server_method())))
        return error_set(err, ERR_NO_MEMORY, "no memory for TLS");
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_session_id_context(t->ctx, (const unsigned char *)"iotix", 5);
    if (SSL_CTX_use_certificate_chain_file(t->ctx, c->tls_cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(t->ctx, c->tls_key, SSL_FILETYPE_PEM) != 1)
        return error_set(err, ERR_TLS, "%s and %s: expected a certificate and its key", c->tls_cert, c->tls_key);
    if (!c->tls_client_ca)
        return 0;
    if (SSL_CTX_load_verify_file(t->ctx, c->tls_client_ca) != 1)
        return error_set(err, ERR_TLS, "%s: expected a CA", c->tls_client_ca);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

struct echo_tls *echo_tls_new(const struct http_echo_config *config, int plain_port, int *port, struct error *err)
{
    struct echo_tls *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for TLS");
        return NULL;
    }
    t->listener = -1;
    t->plain_port = plain_port;
    t->stop = eventfd(0, EFD_CLOEXEC);
    if (make_context(t, config, err) == 0 && listen_on(t, config->tls_listen, port, err) == 0) {
        t->started = pthread_create(&t->thread, NULL, accept_loop, t) == 0;
        if (t->started)
            return t;
        error_set(err, ERR_LIMIT, "no thread for TLS");
    }
    echo_tls_delete(t);
    return NULL;
}

void echo_tls_delete(struct echo_tls *t)
{
    uint64_t one = 1;
    if (!t)
        return;
    if (write(t->stop, &one, sizeof one) < 0)
        abort(); // an eventfd at zero takes a one
    if (t->started)
        pthread_join(t->thread, NULL);
    for (int i = 0; atomic_load(&t->connections) && i < 2000; i++) // their limits end them
        poll(NULL, 0, 10);
    if (t->listener >= 0)
        close(t->listener);
    close(t->stop);
    SSL_CTX_free(t->ctx);
    free(t);
}
