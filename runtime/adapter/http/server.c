#include "adapter/http/server.h"
#include <civetweb.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "adapter/http/guard.h"
#include "adapter/http/options.h"
#include "link/url.h"

#define THREADS "16"
#define QUEUE_MAX 1024u
#define BODY_TIMEOUT_US 10000000
#define HEAD_BYTES 8192u

struct http_incoming {
    struct http_incoming *next; // in the queue
    struct http_server *server;
    pthread_cond_t answered;
    unsigned refs; // the thread's, and the loop's
    bool abandoned, done;
    char method[16];
    struct buf path, body, head; // head: names and values, each with its NUL
    struct adapter_property headers[HTTP_HEADERS_MAX];
    unsigned n_headers;
    unsigned status; // the answer
    struct buf answer_head, answer;
};

struct http_server {
    struct http_server_config config;
    struct mg_context *civetweb;
    ev_io io;
    int fd;
    char url[300], host[256];
    int port;
    pthread_mutex_t mutex; // all below, and what is in requests but what only one side has
    struct http_incoming *first, **last;
    unsigned queued, waiting;
    bool stopping;
};

// --- requests -------------------------------------------------------------------------------------------------------

static void incoming_unref(struct http_incoming *in) // with the mutex
{
    if (--in->refs)
        return;
    pthread_cond_destroy(&in->answered);
    buf_destroy(&in->path);
    buf_destroy(&in->body);
    buf_destroy(&in->head);
    buf_destroy(&in->answer_head);
    buf_destroy(&in->answer);
    free(in);
}

static struct http_incoming *incoming_new(struct http_server *s)
{
    struct http_incoming *in = calloc(1, sizeof *in);
    pthread_condattr_t attr;
    if (!in)
        return NULL;
    in->server = s;
    in->refs = 1;
    buf_create(&in->path, HEAD_BYTES);
    buf_create(&in->head, 2 * HEAD_BYTES);
    buf_create(&in->body, s->config.max_body);
    buf_create(&in->answer_head, 64u << 10);
    buf_create(&in->answer, 64u << 20);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->answered, &attr);
    pthread_condattr_destroy(&attr);
    return in;
}

static unsigned copy_request(struct http_incoming *in, const struct mg_request_info *info, const char **why)
{
    int rc = buf_append_str(&in->path, info->request_uri ? info->request_uri : "/");
    if (info->query_string && *info->query_string)
        rc |= buf_append_char(&in->path, '?') | buf_append_str(&in->path, info->query_string);
    *why = "the request's head is too large";
    size_t n = info->request_method ? strlen(info->request_method) : 0;
    if (rc < 0 || in->path.len + 1 >= in->path.cap || n >= sizeof in->method)
        return 431;
    memcpy(in->method, info->request_method, n + 1);
    for (int i = 0; i < info->num_headers; i++) {
        const char *name = info->http_headers[i].name, *value = info->http_headers[i].value;
        if (buf_append(&in->head, name, strlen(name) + 1) < 0 || buf_append(&in->head, value, strlen(value) + 1) < 0)
            return 431;
    }
    const char *at = (const char *)in->head.data;
    for (int i = 0; i < info->num_headers; i++) {
        struct adapter_property *h = &in->headers[in->n_headers++];
        *h = (struct adapter_property){.name = at, .name_len = strlen(at)};
        h->value = at + h->name_len + 1;
        h->value_len = strlen(h->value);
        at = h->value + h->value_len + 1;
    }
    return 0;
}

// --- in civetweb's threads
// --------------------------------------------------------------------------------------------

static void write_answer(struct mg_connection *conn, unsigned status, const struct buf *head, const void *body,
                         size_t n, bool bodyless)
{
    mg_printf(conn, "HTTP/1.1 %u %s\r\nConnection: close\r\n", status, http_reason(status));
    if (head && head->len)
        mg_write(conn, head->data, head->len);
    bodyless |= status == 204 || status == 304;
    if (status == 204)
        mg_printf(conn, "\r\n");
    else
        mg_printf(conn, "Content-Length: %zu\r\n\r\n", n);
    if (n && !bodyless)
        mg_write(conn, body, n);
}

static int refuse(struct mg_connection *conn, unsigned status, const char *why)
{
    char text[160];
    int n = snprintf(text, sizeof text, "%s\n", why);
    write_answer(conn, status, NULL, text, (size_t)n, false);
    return (int)status;
}

// Hands the request to the loop and waits. Returns 0 or the status to refuse with.
static unsigned exchange(struct http_server *s, struct http_incoming *in, const char **why)
{
    struct timespec until;
    uint64_t one = 1;
    unsigned status = 0;
    clock_gettime(CLOCK_MONOTONIC, &until); // what pthread_cond_timedwait counts in
    until.tv_sec += s->config.timeout_us / 1000000;
    until.tv_nsec += s->config.timeout_us % 1000000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&s->mutex);
    if (s->stopping || s->queued >= QUEUE_MAX) {
        *why = s->stopping ? "the device is being stopped" : "too many requests";
        status = 503;
    } else {
        in->refs++;
        in->next = NULL;
        *s->last = in;
        s->last = &in->next;
        s->queued++;
        if (write(s->fd, &one, sizeof one) < 0)
            errno = 0; // the counter is full: the loop is woken already
        int rc = 0;
        while (!in->done && !s->stopping && rc != ETIMEDOUT)
            rc = pthread_cond_timedwait(&in->answered, &s->mutex, &until);
        if (!in->done) {
            in->abandoned = true;
            *why = s->stopping ? "the device is being stopped" : "the device did not answer in time";
            status = 503;
        }
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

static int on_begin_request(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    struct http_server *s = info->user_data;
    const char *why = "no memory";
    unsigned status = http_guard_check(info, s->config.max_body, &why);
    struct http_incoming *in = status ? NULL : incoming_new(s);
    if (!in)
        return refuse(conn, status ? status : 503, why);
    status = copy_request(in, info, &why);
    if (!status)
        status = http_guard_read(conn, BODY_TIMEOUT_US, &in->body, &why);
    if (!status)
        status = exchange(s, in, &why);
    int rc = (int)status;
    if (status) {
        refuse(conn, status, why);
    } else {
        write_answer(conn, in->status, &in->answer_head, in->answer.data, in->answer.len,
                     strcmp(in->method, "HEAD") == 0);
        rc = (int)in->status;
    }
    pthread_mutex_lock(&s->mutex);
    incoming_unref(in);
    pthread_mutex_unlock(&s->mutex);
    return rc ? rc : 500;
}

static int on_log(const struct mg_connection *conn, const char *message)
{
    (void)conn, (void)message;
    return 1; // not to stderr
}

// --- on the loop
// ------------------------------------------------------------------------------------------------------

static void on_wake(struct ev_loop *ev, ev_io *io, int revents)
{
    struct http_server *s = container_of(io, struct http_server, io);
    uint64_t count;
    (void)ev, (void)revents;
    if (read(s->fd, &count, sizeof count) < 0)
        return;
    pthread_mutex_lock(&s->mutex);
    struct http_incoming *list = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->queued = 0;
    pthread_mutex_unlock(&s->mutex);
    while (list) {
        struct http_incoming *in = list;
        list = in->next;
        s->config.on_request(s->config.arg, in);
    }
}

bool http_incoming_gone(const struct http_incoming *in)
{
    pthread_mutex_lock(&in->server->mutex);
    bool gone = in->abandoned;
    pthread_mutex_unlock(&in->server->mutex);
    return gone;
}

bool http_server_respond(struct http_incoming *in, const struct adapter_response *r)
{
    struct http_server *s = in->server;
    pthread_mutex_lock(&s->mutex);
    bool there = !in->abandoned;
    if (there) {
        int rc = r->payload_len ? buf_append(&in->answer, r->payload, r->payload_len) : 0;
        for (unsigned i = 0; i < r->n_headers && rc == 0; i++)
            rc = buf_append(&in->answer_head, r->headers[i].name, r->headers[i].name_len) |
                 buf_append_str(&in->answer_head, ": ") |
                 buf_append(&in->answer_head, r->headers[i].value, r->headers[i].value_len) |
                 buf_append_str(&in->answer_head, "\r\n");
        in->status = rc < 0 ? 500 : r->status;
        if (rc < 0) {
            buf_clear(&in->answer);
            buf_clear(&in->answer_head);
        }
        in->done = true;
        pthread_cond_signal(&in->answered);
    }
    incoming_unref(in);
    pthread_mutex_unlock(&s->mutex);
    return there;
}

bool http_server_refuse(struct http_incoming *in, unsigned status, const char *text)
{
    struct adapter_response r = {.status = status, .payload = (const uint8_t *)text, .payload_len = strlen(text)};
    return http_server_respond(in, &r);
}

const char *http_incoming_method(const struct http_incoming *in)
{
    return in->method;
}

const char *http_incoming_path(const struct http_incoming *in)
{
    return buf_cstr((struct buf *)&in->path);
}

const struct buf *http_incoming_body(const struct http_incoming *in)
{
    return &in->body;
}

const struct adapter_property *http_incoming_headers(const struct http_incoming *in, unsigned *n)
{
    *n = in->n_headers;
    return in->headers;
}

const char *http_server_url(const struct http_server *s)
{
    return s->url;
}

static int start(struct http_server *s, struct error *err)
{
    struct url url;
    char port[280], request_size[16];
    const char *listen = s->config.listen, *colon = strrchr(listen, ':');
    bool any = colon && strcmp(colon, ":0") == 0; // which is no port of a URL
    snprintf(port, sizeof port, "%.*s", any ? (int)(colon - listen) : (int)strlen(listen), listen);
    if (url_parse(port, "http", &url, err) < 0)
        return error_prefix(err, "commands.listen");
    bool v6 = strchr(url.host, ':') != NULL;
    unsigned number = any ? 0 : url.port;
    snprintf(port, sizeof port, v6 ? "[%s]:%u" : "%s:%u", url.host, number);
    snprintf(request_size, sizeof request_size, "%u", HEAD_BYTES);
    const char *options[] = {"listening_ports",
                             port,
                             "num_threads",
                             THREADS,
                             "request_timeout_ms",
                             "5000",
                             "connection_queue",
                             "128",
                             "max_request_size",
                             request_size,
                             "enable_keep_alive",
                             "no",
                             "enable_directory_listing",
                             "no",
                             "access_control_allow_origin",
                             "",
                             NULL};
    struct mg_callbacks callbacks = {.begin_request = on_begin_request, .log_message = on_log};
    struct mg_server_port ports[2];
    sigset_t all, before;
    sigfillset(&all); // signals are for the loop's thread
    pthread_sigmask(SIG_SETMASK, &all, &before);
    s->civetweb = mg_start(&callbacks, s, options);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!s->civetweb || mg_get_server_ports(s->civetweb, 2, ports) < 1)
        return error_set(err, ERR_IO, "cannot listen on %s (commands.listen)", s->config.listen);
    s->port = ports[0].port;
    snprintf(s->host, sizeof s->host, "%s", url.host);
    snprintf(s->url, sizeof s->url, v6 ? "http://[%s]:%d" : "http://%s:%d", url.host, ports[0].port);
    return 0;
}

struct http_server *http_server_new(const struct http_server_config *config, struct error *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a server");
        return NULL;
    }
    s->config = *config;
    s->last = &s->first;
    pthread_mutex_init(&s->mutex, NULL);
    if ((s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        error_set_errno(err, "eventfd");
    } else if (start(s, err) == 0) {
        ev_io_init(&s->io, on_wake, s->fd, EV_READ);
        ev_io_start(loop_ev(config->loop), &s->io);
        return s;
    }
    http_server_delete(s);
    return NULL;
}

void http_server_delete(struct http_server *s)
{
    if (!s)
        return;
    ev_io_stop(loop_ev(s->config.loop), &s->io);
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    while (s->first) {
        struct http_incoming *in = s->first;
        s->first = in->next;
        pthread_cond_signal(&in->answered);
        incoming_unref(in);
    }
    s->last = &s->first;
    pthread_mutex_unlock(&s->mutex);
    if (s->civetweb)
        http_guard_stop(s->civetweb, s->host, s->port);
    if (s->fd >= 0)
        close(s->fd);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
