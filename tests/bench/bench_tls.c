// What TLS costs a device: memory of an idle connection, CPU of a handshake (full, resumed, with a minted certificate,
// with a pre-shared key), CPU of a message beside one without TLS.
//
//   bench_tls [--connections 1000] [--json]
//
// A child process is the server (OpenSSL, epoll); this one holds the clients, so its memory and CPU are theirs alone.
// Memory is measured three ways: what OpenSSL has allocated by its own hooks (CRYPTO_set_mem_functions), what malloc
// has handed out in all, and the resident set.
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "link/openssl.h"
#include "link/mint.h"
#include "link/transport.h"

#define MESSAGES 200u // to each connection
#define MESSAGE_BYTES 200u
#define WINDOW 64u

static atomic_size_t openssl_bytes, openssl_calls;

static void *count_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    void *p = malloc(n);
    atomic_fetch_add(&openssl_bytes, malloc_usable_size(p));
    atomic_fetch_add(&openssl_calls, 1);
    return p;
}

static void count_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    atomic_fetch_sub(&openssl_bytes, p ? malloc_usable_size(p) : 0);
    free(p);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    atomic_fetch_sub(&openssl_bytes, p ? malloc_usable_size(p) : 0);
    p = realloc(p, n);
    atomic_fetch_add(&openssl_bytes, p ? malloc_usable_size(p) : 0);
    atomic_fetch_add(&openssl_calls, 1);
    return p;
}

// --- certificates

struct cert {
    X509 *x;
    EVP_PKEY *key;
    char pem[4096], key_pem[4096];
};

static void extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static void make_cert(struct cert *c, const char *name, const struct cert *issuer)
{
    memset(c, 0, sizeof *c);
    c->x = X509_new();
    c->key = EVP_EC_gen("P-256");
    X509_NAME *subject = X509_get_subject_name(c->x);
    X509_set_version(c->x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c->x), issuer ? 2 : 1);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(c->x, issuer ? X509_get_subject_name(issuer->x) : subject);
    X509_gmtime_adj(X509_getm_notBefore(c->x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c->x), 86400);
    X509_set_pubkey(c->x, c->key);
    extension(c->x, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    X509_sign(c->x, issuer ? issuer->key : c->key, EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, c->x);
    (void)BIO_read(bio, c->pem, sizeof c->pem - 1);
    PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL);
    (void)BIO_read(bio, c->key_pem, sizeof c->key_pem - 1);
    BIO_free(bio);
}

// --- the server

static unsigned server_psk(SSL *ssl, const char *identity, unsigned char *psk, unsigned max)
{
    (void)ssl, (void)max;
    if (strncmp(identity, "device-", 7) != 0)
        return 0; // a ticket, which is asked for here too
    memcpy(psk, "0123456789abcdef", 16);
    return 16;
}

struct served {
    SSL *ssl; // NULL: plain
    int fd;
};

static void serve(struct served *s)
{
    static char bytes[65536];
    long n = s->ssl ? SSL_read(s->ssl, bytes, sizeof bytes) : read(s->fd, bytes, sizeof bytes);
    while (n > 0)
        n = s->ssl ? SSL_read(s->ssl, bytes, sizeof bytes) : -1;
    if (s->ssl ? SSL_get_error(s->ssl, (int)n) != SSL_ERROR_WANT_READ : n == 0) {
        SSL_free(s->ssl);
        close(s->fd);
        free(s);
    }
    ERR_clear_error();
}

static SSL_CTX *server_ctx(const struct cert *ca, const struct cert *leaf, const char *mode)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(ctx, leaf->x);
    SSL_CTX_use_PrivateKey(ctx, leaf->key);
    SSL_CTX_add1_chain_cert(ctx, ca->x); // many servers send their root, too
    SSL_CTX_set_session_id_context(ctx, (const uint8_t *)"b", 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    if (strstr(mode, "1.2"))
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    if (strstr(mode, "mint")) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->x);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (strstr(mode, "psk"))
        SSL_CTX_set_psk_server_callback(ctx, server_psk);
    return ctx;
}

static void run_server(int listener, SSL_CTX *ctx)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct epoll_event got[128];
        int n = epoll_wait(epoll, got, 128, -1);
        for (int i = 0; i < n; i++) {
            int fd;
            if (got[i].data.ptr) {
                serve(got[i].data.ptr);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                struct served *s = calloc(1, sizeof *s);
                s->fd = fd;
                if (ctx) {
                    s->ssl = SSL_new(ctx);
                    SSL_set_fd(s->ssl, fd);
                    SSL_set_accept_state(s->ssl);
                }
                e.data.ptr = s;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
            }
        }
    }
}

// --- the clients

struct device {
    struct link link;
    struct transport_memory memory;
    struct bench *bench;
    unsigned index;
};

struct bench {
    const char *mode;
    struct clock clock;
    struct loop *loop;
    struct link_env *env;
    struct transport *transport;
    struct device *devices;
    unsigned n, started, opened, failed;
    struct link_addr to;
};

static void start_more(struct bench *b);

static void on_open(struct link *link)
{
    struct bench *b = container_of(link, struct device, link)->bench;
    b->opened++;
    start_more(b);
}

static void on_data(struct link *link, const uint8_t *bytes, size_t n)
{
    (void)link, (void)bytes, (void)n;
}

static void on_close(struct link *link, const struct error *why)
{
    struct bench *b = container_of(link, struct device, link)->bench;
    if (!b->failed++)
        fprintf(stderr, "bench_tls: %s: %s\n", b->mode, why->text);
}

static const struct link_events events = {on_open, on_data, NULL, on_close};

static void start_more(struct bench *b)
{
    struct error err;
    while (b->started < b->n && b->started < b->opened + b->failed + WINDOW) {
        struct device *d = &b->devices[b->started++];
        if ((b->transport && transport_push(b->transport, &d->link, &d->memory, d, &err) < 0) ||
            link_open(&d->link, &b->to, NULL, &err) < 0) {
            fprintf(stderr, "bench_tls: %s\n", err.text);
            exit(1);
        }
    }
}

static int credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    struct device *d = owner;
    const char *mode = d->bench->mode;
    (void)err;
    if (what == TRANSPORT_NAME && strstr(mode, "mint"))
        return buf_printf(out, "device-%05u", d->index);
    if (what == TRANSPORT_PSK_IDENTITY && strstr(mode, "psk"))
        return buf_printf(out, "device-%05u", d->index);
    if (what == TRANSPORT_PSK_KEY && strstr(mode, "psk"))
        return buf_append_str(out, "30313233343536373839616263646566");
    return 0;
}

static long resident(void)
{
    long pages = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &shared, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static double cpu_us(void)
{
    return (double)clock_process_cpu_us();
}

static size_t heap(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

// Everybody connects; returns CPU µs a connection.
static double connect_all(struct bench *b)
{
    double before = cpu_us();
    b->started = b->opened = b->failed = 0;
    start_more(b);
    while (b->opened + b->failed < b->n)
        loop_turn(b->loop, 100000);
    double spent = (cpu_us() - before) / b->n;
    for (int i = 0; i < 20; i++) // tickets of TLS 1.3 come a little later
        loop_turn(b->loop, 5000);
    if (b->failed)
        exit(1);
    return spent;
}

static void close_all(struct bench *b)
{
    for (unsigned i = 0; i < b->n; i++)
        link_close(&b->devices[i].link, LINK_ABORT);
    loop_turn(b->loop, 0);
}

static double send_all(struct bench *b)
{
    static uint8_t message[MESSAGE_BYTES];
    unsigned some = b->n < 64 ? b->n : 64; // few, so that the server keeps up
    double before = cpu_us();
    for (unsigned round = 0; round < MESSAGES; round++) {
        for (unsigned i = 0; i < some; i++)
            if (link_send(&b->devices[i].link, message, sizeof message, NULL) < 0)
                exit(1);
        loop_turn(b->loop, 0);
    }
    return (cpu_us() - before) / (some * MESSAGES);
}

static json_t *options_of(const char *mode, const struct cert *ca)
{
    json_t *o = json_pack("{s:s}", "ca", ca->pem);
    if (strstr(mode, "mint"))
        json_object_set_new(o, "mint", json_pack("{s:s,s:s}", "ca", ca->pem, "caKey", ca->key_pem));
    return o;
}

static void measure(const char *mode, unsigned n, bool json)
{
    struct bench b = {.mode = mode, .n = n};
    struct cert ca, leaf;
    bool tls = strcmp(mode, "plain") != 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in *in = (struct sockaddr_in *)&b.to.addr;
    make_cert(&ca, "Bench CA", NULL);
    make_cert(&leaf, "localhost", &ca);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b.to.len = sizeof *in;
    if (bind(listener, (struct sockaddr *)in, sizeof *in) < 0 || listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)in, &b.to.len) < 0)
        exit(1);
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        run_server(listener, tls ? server_ctx(&ca, &leaf, mode) : NULL);
    }
    close(listener);
    clock_create_real(&b.clock);
    b.loop = loop_new(&b.clock, NULL);
    b.env = link_env_new(b.loop, NULL, NULL);
    b.devices = calloc(n, sizeof *b.devices);
    for (unsigned i = 0; i < n; i++) {
        link_create(&b.devices[i].link, b.env, &events);
        b.devices[i].bench = &b;
        b.devices[i].index = i;
    }
    struct error err;
    json_t *o = options_of(mode, &ca);
    struct transport_config config = {.loop = b.loop,
                                      .tls = tls,
                                      .host = "localhost",
                                      .port = ntohs(in->sin_port),
                                      .tls_options = tls ? o : NULL,
                                      .credential = credential};
    b.transport = transport_new(&config, &err);
    if (!b.transport) {
        fprintf(stderr, "bench_tls: %s\n", err.text);
        exit(1);
    }
    // A first round makes what is made once, and leaves sessions behind; forgotten, the second is full again.
    unsigned all = b.n;
    b.n = 100 < all ? 100 : all;
    connect_all(&b);
    close_all(&b);
    for (unsigned i = 0; i < b.n; i++)
        transport_forget(&b.devices[i].memory);
    b.n = all;
    size_t openssl = openssl_bytes, in_all = heap();
    long rss = resident();
    double full = connect_all(&b);
    openssl = openssl_bytes - openssl;
    in_all = heap() - in_all;
    rss = resident() - rss;
    size_t told = 0;
    for (unsigned i = 0; i < b.n; i++)
        told += sizeof(struct link) + transport_footprint(&b.devices[i].link) +
                transport_memory_footprint(&b.devices[i].memory);
    size_t calls = openssl_calls;
    double message = send_all(&b);
    double mallocs = (double)(openssl_calls - calls) / ((n < 64 ? n : 64) * MESSAGES);
    close_all(&b);
    double again = connect_all(&b);
    close_all(&b);
    const char *format =
        json ? "{\"mode\":\"%s\",\"connections\":%u,\"openssl_kb\":%.1f,\"heap_kb\":%.1f,\"rss_kb\":%.1f,\"told_kb\":%."
               "1f,"
               "\"connect_us\":%.0f,\"reconnect_us\":%.0f,\"message_us\":%.2f,\"openssl_mallocs\":%.1f}\n"
             : "%-14s %6u  %10.1f %10.1f %10.1f %10.1f  %11.0f %11.0f  %10.2f %8.1f\n";
    printf(format, mode, n, (double)openssl / n / 1024, (double)in_all / n / 1024, (double)rss / n / 1024,
           (double)told / n / 1024, full, again, message, mallocs);
    fflush(stdout);
    for (unsigned i = 0; i < b.n; i++)
        transport_forget(&b.devices[i].memory);
    transport_delete(b.transport);
    json_decref(o);
    link_env_delete(b.env);
    loop_delete(b.loop);
    free(b.devices);
    X509_free(ca.x), X509_free(leaf.x);
    EVP_PKEY_free(ca.key), EVP_PKEY_free(leaf.key);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

static void measure_mint(bool json)
{
    struct cert ca;
    struct error err;
    struct tls_pair pair;
    struct minted *kept[500];
    make_cert(&ca, "Bench CA", NULL);
    json_t *o = json_pack("{s:s,s:s}", "ca", ca.pem, "caKey", ca.key_pem);
    struct mint *m = mint_new(o, &err);
    struct clock clock;
    clock_create_real(&clock);
    char name[32];
    double before = cpu_us();
    for (unsigned i = 0; i < 500; i++) {
        int n = snprintf(name, sizeof name, "device-%05u", i);
        if (mint_make(m, name, (size_t)n, clock_wall_us(&clock), &pair, &kept[i], &err) < 0)
            exit(1);
        tls_pair_clear(&pair);
    }
    double made = (cpu_us() - before) / 500;
    before = cpu_us();
    for (unsigned i = 0; i < 500; i++) {
        if (mint_again(m, kept[i], &pair, &err) < 0)
            exit(1);
        tls_pair_clear(&pair);
    }
    double again = (cpu_us() - before) / 500;
    printf(json ? "{\"mode\":\"mint\",\"make_us\":%.0f,\"again_us\":%.0f,\"bytes\":%zu}\n"
                : "\na minted certificate (P-256): %.0f us to make, %.0f us to read back, %zu bytes kept\n",
           made, again, minted_footprint(kept[0]));
    for (unsigned i = 0; i < 500; i++)
        free(kept[i]);
    mint_delete(m);
    json_decref(o);
    X509_free(ca.x);
    EVP_PKEY_free(ca.key);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"plain", "tls1.3", "tls1.2", "tls1.3-mint", "tls1.3-psk", NULL};
    unsigned n = 1000;
    bool json = false;
    // Before OpenSSL has allocated anything, or it refuses.
    if (!CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free))
        fprintf(stderr, "bench_tls: OpenSSL's allocations cannot be counted\n");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--connections") == 0 && i + 1 < argc)
            n = (unsigned)strtoul(argv[++i], NULL, 10);
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (!n || n + 100 > files.rlim_cur) {
        fprintf(stderr, "bench_tls: --connections from 1 to %lu\n", (unsigned long)files.rlim_cur - 100);
        return 2;
    }
    if (!json)
        printf("%-14s %6s  %10s %10s %10s %10s  %11s %11s  %10s %8s\n", "mode", "n", "openssl KB", "heap KB", "RSS KB",
               "told KB", "connect us", "again us", "message us", "mallocs");
    for (const char *const *mode = modes; *mode; mode++)
        measure(*mode, n, json);
    measure_mint(json);
    return 0;
}
