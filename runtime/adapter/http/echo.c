#include "adapter/http/echo.h"
#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include "adapter/http/echo_tls.h"
#include "adapter/http/guard.h"
#include "core/jsonx.h"
#include "core/rng.h"
#include "core/units.h"

#define MAX_BODY (1u << 20)
#define MAX_STORED (64u << 20)
#define MAX_ENTRIES 4096u
#define MAX_QUEUED 1000u
#define BUCKETS 1024u
#define BODY_TIMEOUT_US 15000000
#define POLL_MAX_S 30

struct body {
    struct body *next;
    size_t n;
    char *type;
    uint8_t bytes[];
};

struct entry { // what is remembered of a path: the latest body, or the messages of a poll queue
    struct entry *next;
    struct body *first, **last;
    unsigned n;
    char path[];
};

struct echo {
    struct mg_context *civetweb;
    unsigned threads;
    atomic_uint connections;
    atomic_ullong requests;
    pthread_mutex_t mutex; // what is below
    pthread_cond_t posted;
    struct entry *table[BUCKETS];
    unsigned n_entries;
    size_t stored;
    bool stopping;
};

// --- what is remembered (with the mutex)
// ------------------------------------------------------------------------------

static struct entry *entry_of(struct echo *e, const char *path, bool make)
{
    struct entry **at = &e->table[hash_bytes(path, strlen(path), 0) % BUCKETS];
    for (struct entry *x = *at; x; x = x->next)
        if (strcmp(x->path, path) == 0)
            return x;
    size_t n = strlen(path) + 1;
    struct entry *x = make && e->n_entries < MAX_ENTRIES ? calloc(1, sizeof *x + n) : NULL;
    if (!x)
        return NULL;
    memcpy(x->path, path, n);
    x->last = &x->first;
    x->next = *at;
    *at = x;
    e->n_entries++;
    return x;
}

static struct body *take_first(struct echo *e, struct entry *x)
{
    struct body *b = x->first;
    if (!b)
        return NULL;
    x->first = b->next;
    if (!x->first)
        x->last = &x->first;
    x->n--;
    e->stored -= b->n;
    return b;
}

static void body_free(struct body *b)
{
    if (b)
        free(b->type);
    free(b);
}

static bool put(struct echo *e, struct entry *x, const struct buf *bytes, const char *type)
{
    struct body *b = x && e->stored + bytes->len <= MAX_STORED ? malloc(sizeof *b + bytes->len) : NULL;
    if (!b)
        return false;
    *b = (struct body){.n = bytes->len, .type = strdup(type ? type : "application/octet-stream")};
    if (bytes->len)
        memcpy(b->bytes, bytes->data, bytes->len);
    *x->last = b;
    x->last = &b->next;
    x->n++;
    e->stored += b->n;
    return true;
}

static void forget(struct echo *e)
{
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *x = e->table[i], *next; x; x = next) {
            next = x->next;
            while (x->first)
                body_free(take_first(e, x));
            free(x);
        }
}

// --- answers
// ------------------------------------------------------------------------------------------------------------

struct request {
    struct echo *echo;
    struct mg_connection *conn;
    const struct mg_request_info *info;
    const char *path; // as it came, without its query
    struct buf body;
};

static const char *connection_line(const struct request *r)
{
    bool full = atomic_load(&r->echo->connections) * 4 > r->echo->threads * 3;
    const char *asked = mg_get_header(r->conn, "Connection");
    bool close = full || (asked && strcasecmp(asked, "close") == 0);
    if (close)
        mg_disable_connection_keep_alive(r->conn);
    return close ? "close" : "keep-alive";
}

static int answer(struct request *r, unsigned status, const char *type, const char *extra, const void *bytes, size_t n)
{
    char head[512];
    bool bodyless = strcmp(r->info->request_method, "HEAD") == 0 || status == 204 || status == 304;
    int k = snprintf(head, sizeof head, "HTTP/1.1 %u %s\r\nConnection: %s\r\n%s%s%s%s", status, http_reason(status),
                     connection_line(r), type ? "Content-Type: " : "", type ? type : "", type ? "\r\n" : "",
                     extra ? extra : "");
    char length[48] = "\r\n";
    if (status != 204)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", n);
    struct buf all;
    buf_create(&all, 64u << 20);
    if (k < (int)sizeof head && buf_append(&all, head, (size_t)k) == 0 && buf_append_str(&all, length) == 0 &&
        (bodyless || !n || buf_append(&all, bytes, n) == 0))
        mg_write(r->conn, all.data, all.len); // one write: no waiting for acknowledgements between two
    buf_destroy(&all);
    return (int)status;
}

static int answer_text(struct request *r, unsigned status, const char *text)
{
    return answer(r, status, "text/plain", NULL, text, strlen(text));
}

static int answer_json(struct request *r, json_t *v)
{
    char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;
    int status =
        text ? answer(r, 200, "application/json", NULL, text, strlen(text)) : answer_text(r, 500, "no memory\n");
    free(text);
    json_decref(v);
    return status;
}

static int echo_request(struct request *r)
{
    json_t *headers = json_object();
    for (int i = 0; i < r->info->num_headers; i++) {
        char name[128];
        size_t n = 0;
        for (const char *s = r->info->http_headers[i].name; *s && n + 1 < sizeof name; s++)
            name[n++] = (char)tolower((unsigned char)*s);
        name[n] = '\0';
        json_object_set_new(headers, name, json_text_of(r->info->http_headers[i].value));
    }
    return answer_json(r, json_pack("{s:s,s:o,s:o,s:o,s:o}", "method", r->info->request_method, "path",
                                    json_text_of(r->path), "query", json_text_of(r->info->query_string), "headers",
                                    headers, "body", json_text((const char *)r->body.data, r->body.len)));
}

static int summary(struct request *r)
{
    struct echo *e = r->echo;
    pthread_mutex_lock(&e->mutex);
    json_t *v = json_pack("{s:I,s:i,s:i}", "requests", (json_int_t)atomic_load(&e->requests), "connections",
                          (int)atomic_load(&e->connections), "stored", (int)e->n_entries);
    pthread_mutex_unlock(&e->mutex);
    return answer_json(r, v);
}

static struct timespec after(int64_t us)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    us += ts.tv_nsec / 1000;
    ts.tv_sec += us / 1000000;
    ts.tv_nsec = us % 1000000 * 1000;
    return ts;
}

static int delay(struct request *r, int64_t ms)
{
    struct echo *e = r->echo;
    struct timespec until = after(ms * 1000);
    int rc = 0;
    pthread_mutex_lock(&e->mutex);
    while (!e->stopping && rc == 0)
        rc = pthread_cond_timedwait(&e->posted, &e->mutex, &until);
    pthread_mutex_unlock(&e->mutex);
    return answer_text(r, 200, "late\n");
}

static int long_poll(struct request *r)
{
    struct echo *e = r->echo;
    const char *type = mg_get_header(r->conn, "Content-Type"), *prefer = mg_get_header(r->conn, "Prefer");
    bool post = strcmp(r->info->request_method, "POST") == 0;
    int64_t wait_s = 20;
    if (prefer && strncmp(prefer, "wait=", 5) == 0 && int_parse(prefer + 5, 0, 3600, &wait_s, NULL) < 0)
        wait_s = 20;
    struct timespec until = after((wait_s < POLL_MAX_S ? wait_s : POLL_MAX_S) * 1000000);
    struct body *b = NULL;
    bool stored = false;
    int rc = 0;
    pthread_mutex_lock(&e->mutex);
    struct entry *x = entry_of(e, r->path, true);
    if (post && x && x->n < MAX_QUEUED && (stored = put(e, x, &r->body, type)))
        pthread_cond_broadcast(&e->posted);
    while (!post && x && !(b = take_first(e, x)) && !e->stopping && rc == 0)
        rc = pthread_cond_timedwait(&e->posted, &e->mutex, &until);
    pthread_mutex_unlock(&e->mutex);
    if (post)
        return stored ? answer(r, 204, NULL, NULL, NULL, 0) : answer_text(r, 507, "too much is stored\n");
    if (!b)
        return answer(r, 204, NULL, NULL, NULL, 0);
    int status = answer(r, 200, b->type, NULL, b->bytes, b->n);
    body_free(b);
    return status;
}

static int storage(struct request *r)
{
    struct echo *e = r->echo;
    const char *method = r->info->request_method;
    struct buf copy;
    char type[160] = "";
    bool found = false, stored = false;
    bool writes = method[0] == 'P', removes = strcmp(method, "DELETE") == 0;
    buf_create(&copy, MAX_BODY + 1);
    pthread_mutex_lock(&e->mutex);
    struct entry *x = entry_of(e, r->path, writes);
    found = x && x->first;
    if ((writes || removes) && x)
        body_free(take_first(e, x));
    if (writes)
        stored = put(e, x, &r->body, mg_get_header(r->conn, "Content-Type"));
    else if (found && !removes) {
        snprintf(type, sizeof type, "%s", x->first->type ? x->first->type : "text/plain");
        found = buf_append(&copy, x->first->bytes, x->first->n) == 0;
    }
    pthread_mutex_unlock(&e->mutex);
    int status;
    if (writes)
        status = stored ? answer(r, 204, NULL, NULL, NULL, 0) : answer_text(r, 507, "too much is stored\n");
    else if (!found)
        status = answer_text(r, 404, "nothing is stored here\n");
    else if (removes)
        status = answer(r, 204, NULL, NULL, NULL, 0);
    else
        status = answer(r, 200, type, NULL, copy.data, copy.len);
    buf_destroy(&copy);
    return status;
}

static int chunks(struct request *r, int64_t n)
{
    mg_printf(r->conn,
              "HTTP/1.1 200 OK\r\nConnection: %s\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
              connection_line(r));
    for (int64_t i = 0; i < n; i++) {
        char line[48];
        int k = snprintf(line, sizeof line, "chunk %lld\n", (long long)i);
        mg_send_chunk(r->conn, line, (unsigned)k);
    }
    mg_send_chunk(r->conn, "", 0);
    return 200;
}

static int gzip(struct request *r)
{
    // gzip of the text below
    static const uint8_t packed[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0xce,
                                     0xcf, 0x2d, 0x28, 0x4a, 0x2d, 0x2e, 0x4e, 0x4d, 0x51, 0x48, 0xaa, 0x54,
                                     0x28, 0xc9, 0x48, 0x55, 0x28, 0x4e, 0x2d, 0x2a, 0x4b, 0x2d, 0xe2, 0x02,
                                     0x00, 0x29, 0x33, 0x3b, 0x99, 0x19, 0x00, 0x00, 0x00};
    const char *taken = mg_get_header(r->conn, "Accept-Encoding");
    if (!taken || !strstr(taken, "gzip"))
        return answer_text(r, 200, "compressed by the server\n");
    return answer(r, 200, "text/plain", "Content-Encoding: gzip\r\n", packed, sizeof packed);
}

static int redirect(struct request *r, int64_t n)
{
    char line[64];
    if (n <= 0)
        return answer_text(r, 200, "arrived\n");
    snprintf(line, sizeof line, "Location: /redirect/%lld\r\n", (long long)(n - 1));
    return answer(r, 302, NULL, line, NULL, 0);
}

static int many_bytes(struct request *r, int64_t n)
{
    char *bytes = malloc((size_t)n + 1);
    if (!bytes)
        return answer_text(r, 500, "no memory\n");
    memset(bytes, 'x', (size_t)n);
    int status = answer(r, 200, "application/octet-stream", NULL, bytes, (size_t)n);
    free(bytes);
    return status;
}

// The number behind a prefix of the path; false: the path is another one.
static bool numbered(const struct request *r, const char *prefix, int64_t max, int64_t *out)
{
    size_t n = strlen(prefix);
    return strncmp(r->path, prefix, n) == 0 && int_parse(r->path + n, 0, max, out, NULL) == 0;
}

static int dispatch(struct request *r)
{
    int64_t n;
    if (strcmp(r->path, "/") == 0)
        return summary(r);
    if (strncmp(r->path, "/echo", 5) == 0)
        return echo_request(r);
    if (numbered(r, "/status/", 599, &n) && n >= 200)
        return answer(r, (unsigned)n, NULL, n == 429 || n == 503 ? "Retry-After: 1\r\n" : NULL, NULL, 0);
    if (numbered(r, "/delay/", 60000, &n))
        return delay(r, n);
    if (numbered(r, "/redirect/", 1000, &n))
        return redirect(r, n);
    if (numbered(r, "/chunked/", 100000, &n))
        return chunks(r, n);
    if (numbered(r, "/bytes/", 16 << 20, &n))
        return many_bytes(r, n);
    if (strcmp(r->path, "/gzip") == 0)
        return gzip(r);
    if (strncmp(r->path, "/poll/", 6) == 0)
        return long_poll(r);
    return storage(r);
}

// --- civetweb
// -----------------------------------------------------------------------------------------------------------

static int on_begin_request(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    const char *why = "";
    struct request r = {.echo = info->user_data, .conn = conn, .info = info, .path = info->request_uri};
    unsigned status = http_guard_check(info, MAX_BODY, &why);
    atomic_fetch_add(&r.echo->requests, 1);
    buf_create(&r.body, MAX_BODY);
    if (!status)
        status = http_guard_read(conn, BODY_TIMEOUT_US, &r.body, &why);
    if (status) {
        mg_disable_connection_keep_alive(conn); // what follows is not where a request begins
        char text[80];
        snprintf(text, sizeof text, "%s\n", why);
        answer_text(&r, status, text);
    } else {
        status = (unsigned)dispatch(&r);
    }
    buf_destroy(&r.body);
    return (int)status;
}

static int on_connection(const struct mg_connection *conn, void **data)
{
    struct echo *e = mg_get_user_data(mg_get_context(conn));
    (void)data;
    atomic_fetch_add(&e->connections, 1);
    return 0;
}

static void on_close(const struct mg_connection *conn)
{
    struct echo *e = mg_get_user_data(mg_get_context(conn));
    atomic_fetch_sub(&e->connections, 1);
}

static int on_log(const struct mg_connection *conn, const char *message)
{
    (void)conn, (void)message;
    return 1;
}

static int start(struct echo *e, const char *listen, int *port, struct error *err)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%u", e->threads);
    const char *options[] = {"listening_ports",
                             listen,
                             "num_threads",
                             threads,
                             "request_timeout_ms",
                             "10000",
                             "enable_keep_alive",
                             "yes",
                             "keep_alive_timeout_ms",
                             "60000",
                             "connection_queue",
                             "1024",
                             "tcp_nodelay",
                             "1",
                             "enable_directory_listing",
                             "no",
                             "access_control_allow_origin",
                             "",
                             NULL};
    struct mg_callbacks callbacks = {.begin_request = on_begin_request,
                                     .init_connection = on_connection,
                                     .connection_closed = on_close,
                                     .log_message = on_log};
    struct mg_server_port ports[2];
    e->civetweb = mg_start(&callbacks, e, options);
    if (!e->civetweb || mg_get_server_ports(e->civetweb, 2, ports) < 1)
        return error_set(err, ERR_IO, "the HTTP server cannot listen on %s", listen);
    *port = ports[0].port;
    return 0;
}

int http_echo_run(const struct http_echo_config *config, int ready_fd, struct error *err)
{
    struct echo *e = calloc(1, sizeof *e);
    struct echo_tls *tls = NULL;
    pthread_condattr_t attr;
    sigset_t ends;
    int port = 0, tls_port = 0, signal_number, rc = -1;
    if (!e)
        return error_set(err, ERR_NO_MEMORY, "no memory for the HTTP server");
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); // threads inherit it; sigwait takes them
    signal(SIGPIPE, SIG_IGN);
    e->threads = config->threads ? config->threads : 256;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->posted, &attr);
    pthread_condattr_destroy(&attr);
    if (start(e, config->listen, &port, err) < 0 ||
        (config->tls_listen && !(tls = echo_tls_new(config, port, &tls_port, err))))
        goto done;
    if (ready_fd >= 0) {
        dprintf(ready_fd, "{\"http\":%d,\"https\":%d}\n", port, tls_port);
        close(ready_fd);
    }
    sigwait(&ends, &signal_number);
    rc = 0;
done:
    pthread_mutex_lock(&e->mutex);
    e->stopping = true;
    pthread_cond_broadcast(&e->posted);
    pthread_mutex_unlock(&e->mutex);
    echo_tls_delete(tls);
    if (e->civetweb) {
        char host[64];
        snprintf(host, sizeof host, "%.*s", (int)strcspn(config->listen, ":"), config->listen);
        http_guard_stop(e->civetweb, host, port);
    }
    forget(e);
    pthread_cond_destroy(&e->posted);
    pthread_mutex_destroy(&e->mutex);
    free(e);
    return rc;
}
