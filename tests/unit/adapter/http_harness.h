// A loop, an HTTP target, devices that record what they are told, the echo server in a process of its own, and a server
// that sends what a test says, byte by byte, on the same loop.
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "adapter/http/conn.h"
#include "adapter/http/echo.h"
#include "adapter/http/http.h"
#include "core/loop.h"

#define MAYBE __attribute__((unused))
#define OPS (&http_adapter)
#define RECORDS 16u
#define PEERS 64u

struct answer {
    uint32_t token;
    unsigned status, attempts;
    enum error_code code;
    char text[496], body[2048], headers[1024];
    size_t n;
};

struct device {
    struct adapter_conn *conn;
    const char *client_id, *username, *password, *token, *cert, *key, *psk;
    unsigned online, offline, retries, asked[FIELD_MAX];
    struct error why;
    struct answer answers[RECORDS];
    unsigned n_answers;
    struct {
        uint32_t token;
        enum error_code code;
        char text[496];
    } done[RECORDS];
    unsigned n_done;
    struct {
        char topic[128], payload[256];
    } messages[RECORDS];
    unsigned n_messages;
    struct {
        uint64_t ticket;
        char method[16], path[128], body[128];
    } requests[RECORDS];
    unsigned n_requests;
    void (*hook)(struct device *d, const char *event);
    void *arg;
};

struct peer {
    struct raw *raw;
    ev_io io;
    int fd;
    char in[65536];
    size_t n;
    unsigned requests;
};

// Answers the k-th request of a connection with `answer`, or whatever `on_request` does.
struct raw {
    struct loop *loop;
    ev_io io;
    uint16_t port;
    const char *answer;
    size_t answer_len; // 0: strlen
    bool close, silent;
    void (*on_request)(struct peer *p, const char *head);
    struct peer *peers[PEERS];
    unsigned n_peers, n_requests;
    char last[65536];
};

struct world {
    struct clock clock;
    struct loop *loop;
    struct adapter_env env;
    struct adapter_target *target;
    struct raw raw;
    pid_t echo;
    int echo_port, echo_tls_port;
};

#define WAIT_FOR(w, cond, seconds)                                                                                     \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + (int64_t)(seconds)*1000000;                                        \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            loop_turn((w)->loop, 10000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)
#define WAIT(w, cond) WAIT_FOR(w, cond, 10)
#define SETTLE(w)                                                                                                      \
    do {                                                                                                               \
        for (int i_ = 0; i_ < 10; i_++)                                                                                \
            loop_turn((w)->loop, 2000);                                                                                \
    } while (0)

// --- devices --------------------------------------------------------------------------------------------------------

static void told(struct device *d, const char *event)
{
    if (d->hook)
        d->hook(d, event);
}

static void dev_online(void *owner, bool session)
{
    struct device *d = owner;
    (void)session;
    d->online++;
    told(d, "online");
}

static void dev_offline(void *owner, const struct error *why, bool will_retry)
{
    struct device *d = owner;
    d->offline++;
    d->retries += will_retry;
    d->why = *why;
    told(d, "offline");
}

static void dev_message(void *owner, const struct adapter_message *m)
{
    struct device *d = owner;
    unsigned i = d->n_messages++ % RECORDS;
    snprintf(d->messages[i].topic, sizeof d->messages[i].topic, "%.*s", (int)m->topic_len, m->topic);
    snprintf(d->messages[i].payload, sizeof d->messages[i].payload, "%.*s", (int)m->payload_len,
             (const char *)m->payload);
    told(d, "message");
}

static void dev_done(void *owner, uint32_t token, int qos, const struct error *err)
{
    struct device *d = owner;
    unsigned i = d->n_done++ % RECORDS;
    (void)qos;
    d->done[i].token = token;
    d->done[i].code = err ? err->code : ERR_NONE;
    snprintf(d->done[i].text, sizeof d->done[i].text, "%s", err ? err->text : "");
    told(d, "done");
}

static void dev_response(void *owner, uint32_t token, const struct adapter_response *r, const struct error *err)
{
    struct device *d = owner;
    struct answer *a = &d->answers[d->n_answers++ % RECORDS];
    memset(a, 0, sizeof *a);
    a->token = token;
    a->code = err ? err->code : ERR_NONE;
    snprintf(a->text, sizeof a->text, "%s", err ? err->text : "");
    assert_true(!r == !!err);
    if (getenv("HTTP_TRACE"))
        fprintf(stderr, "  answer %u: %u %s\n", token, r ? r->status : 0, err ? err->text : "");
    if (r) {
        size_t used = 0;
        a->status = r->status;
        a->attempts = r->attempts;
        a->n = r->payload_len;
        snprintf(a->body, sizeof a->body, "%.*s", (int)(r->payload_len < 2000 ? r->payload_len : 2000),
                 r->payload ? (const char *)r->payload : "");
        for (unsigned i = 0; i < r->n_headers && used < sizeof a->headers; i++)
            used += (size_t)snprintf(a->headers + used, sizeof a->headers - used, "%.*s: %.*s\n",
                                     (int)r->headers[i].name_len, r->headers[i].name, (int)r->headers[i].value_len,
                                     r->headers[i].value);
        assert_true(r->latency_us >= 0);
    }
    told(d, "response");
}

static void dev_request(void *owner, uint64_t ticket, const struct adapter_request *r)
{
    struct device *d = owner;
    unsigned i = d->n_requests++ % RECORDS;
    d->requests[i].ticket = ticket;
    snprintf(d->requests[i].method, sizeof d->requests[i].method, "%s", r->method);
    snprintf(d->requests[i].path, sizeof d->requests[i].path, "%.*s", (int)r->path_len, r->path);
    snprintf(d->requests[i].body, sizeof d->requests[i].body, "%.*s", (int)r->payload_len, (const char *)r->payload);
    told(d, "request");
}

static const struct adapter_events dev_events = {.on_online = dev_online,
                                                 .on_offline = dev_offline,
                                                 .on_message = dev_message,
                                                 .on_done = dev_done,
                                                 .on_response = dev_response,
                                                 .on_request = dev_request};

static int dev_field(void *owner, enum adapter_field field, struct buf *out, struct error *err)
{
    struct device *d = owner;
    const char *texts[FIELD_MAX] = {
        [FIELD_CLIENT_ID] = d->client_id, [FIELD_USERNAME] = d->username, [FIELD_PASSWORD] = d->password,
        [FIELD_TOKEN] = d->token,         [FIELD_TLS_CERT] = d->cert,     [FIELD_TLS_KEY] = d->key,
        [FIELD_PSK_IDENTITY] = d->psk};
    d->asked[field]++;
    if (texts[field] && strcmp(texts[field], "fail") == 0)
        return error_set(err, ERR_INVALID, "the template of a field is broken");
    return texts[field] ? buf_append_str(out, texts[field]) : 0;
}

static const struct adapter_identity dev_identity = {dev_field};

static MAYBE void device_create(struct world *w, struct device *d)
{
    struct error err;
    if (!d->client_id)
        d->client_id = "dev-1";
    d->conn = OPS->conn_new(w->target, &dev_events, &dev_identity, d, 7, &err);
    assert_non_null(d->conn);
}

// Opens it and waits until it is online.
static MAYBE void device_open(struct world *w, struct device *d)
{
    struct error err;
    if (OPS->conn_open(d->conn, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(d->online, 0); // not inside the call
    WAIT(w, d->online == 1);
}

static MAYBE void device_online(struct world *w, struct device *d)
{
    device_create(w, d);
    device_open(w, d);
}

static MAYBE int ask(struct device *d, const char *method, const char *path, const char *body, const char *options,
                     uint32_t token, struct error *err)
{
    json_t *json = options ? json_loads(options, 0, NULL) : NULL;
    assert_true(!options || json);
    struct adapter_request r = {.method = method,
                                .path = path,
                                .path_len = strlen(path),
                                .payload = (const uint8_t *)body,
                                .payload_len = body ? strlen(body) : 0,
                                .options = json};
    int rc = OPS->request(d->conn, &r, token, err);
    json_decref(json);
    return rc;
}

// Asks and waits for the answer.
static MAYBE const struct answer *get(struct world *w, struct device *d, const char *method, const char *path,
                                      const char *body, const char *options)
{
    struct error err;
    unsigned before = d->n_answers;
    if (ask(d, method, path, body, options, 100 + before, &err) < 0)
        fail_msg("%s %s: %s", method, path, err.text);
    WAIT_FOR(w, d->n_answers > before, 20);
    assert_int_equal(d->answers[before % RECORDS].token, 100 + before);
    return &d->answers[before % RECORDS];
}

// --- the raw server
// ---------------------------------------------------------------------------------------------------

static MAYBE void peer_close(struct peer *p)
{
    if (p->fd < 0)
        return;
    ev_io_stop(loop_ev(p->raw->loop), &p->io);
    close(p->fd);
    p->fd = -1;
}

static MAYBE void peer_send(struct peer *p, const void *bytes, size_t n)
{
    const char *b = bytes;
    while (n && p->fd >= 0) {
        ssize_t k = send(p->fd, b, n, MSG_NOSIGNAL);
        if (k < 0)
            return;
        b += k;
        n -= (size_t)k;
    }
}

static MAYBE void peer_say(struct peer *p, const char *text)
{
    peer_send(p, text, strlen(text));
}

static void raw_io(struct ev_loop *ev, ev_io *io, int revents)
{
    struct peer *p = container_of(io, struct peer, io);
    struct raw *r = p->raw;
    (void)ev, (void)revents;
    ssize_t n = read(p->fd, p->in + p->n, sizeof p->in - 1 - p->n);
    if (n <= 0) {
        peer_close(p);
        return;
    }
    p->n += (size_t)n;
    p->in[p->n] = '\0';
    char *end = strstr(p->in, "\r\n\r\n");
    const char *length = end ? strcasestr(p->in, "\r\nContent-Length: ") : NULL;
    size_t body = length && length < end ? strtoul(length + 18, NULL, 10) : 0;
    if (!end || p->n < (size_t)(end + 4 - p->in) + body)
        return;
    memcpy(r->last, p->in, p->n + 1);
    p->n = 0;
    p->requests++;
    r->n_requests++;
    if (r->on_request)
        r->on_request(p, r->last);
    else if (!r->silent) {
        peer_send(p, r->answer, r->answer_len ? r->answer_len : strlen(r->answer));
        if (r->close)
            peer_close(p);
    }
}

static void raw_accept(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *r = container_of(io, struct raw, io);
    (void)revents;
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct peer *p = calloc(1, sizeof *p);
    assert_true(r->n_peers < PEERS);
    r->peers[r->n_peers++] = p;
    p->raw = r;
    p->fd = fd;
    ev_io_init(&p->io, raw_io, fd, EV_READ);
    ev_io_start(ev, &p->io);
}

static MAYBE void raw_start(struct world *w)
{
    struct raw *r = &w->raw;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    r->loop = w->loop;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 128) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    r->port = ntohs(at.sin_port);
    ev_io_init(&r->io, raw_accept, fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &r->io);
}

static MAYBE void raw_stop(struct raw *r)
{
    if (!r->port)
        return;
    ev_io_stop(loop_ev(r->loop), &r->io);
    close(r->io.fd);
    for (unsigned i = 0; i < r->n_peers; i++) {
        peer_close(r->peers[i]);
        free(r->peers[i]);
    }
}

static MAYBE unsigned raw_open(const struct raw *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n_peers; i++)
        n += r->peers[i]->fd >= 0;
    return n;
}

// --- the echo server
// --------------------------------------------------------------------------------------------------

static MAYBE void echo_start(struct world *w, const struct http_echo_config *given)
{
    int fds[2];
    char line[128] = "";
    assert_int_equal(pipe(fds), 0);
    w->echo = fork();
    assert_true(w->echo >= 0);
    if (!w->echo) {
        struct http_echo_config config = {.listen = "127.0.0.1:0", .threads = 32};
        struct error err;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        int rc = http_echo_run(given ? given : &config, fds[1], &err);
        if (rc < 0)
            fprintf(stderr, "echo: %s\n", err.text);
        _exit(rc ? 1 : 0);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], line, sizeof line - 1);
    close(fds[0]);
    assert_true(n > 0);
    json_t *v = json_loads(line, 0, NULL);
    w->echo_port = (int)json_integer_value(json_object_get(v, "http"));
    w->echo_tls_port = (int)json_integer_value(json_object_get(v, "https"));
    json_decref(v);
}

static MAYBE void echo_stop(struct world *w)
{
    int status = -1;
    if (!w->echo)
        return;
    kill(w->echo, SIGTERM);
    waitpid(w->echo, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    w->echo = 0;
}

// --- worlds
// -----------------------------------------------------------------------------------------------------------

static MAYBE void world_create(struct world *w)
{
    struct error err;
    memset(w, 0, sizeof *w);
    clock_create_real(&w->clock);
    assert_non_null(w->loop = loop_new(&w->clock, &err));
    w->env.loop = w->loop;
    assert_non_null(w->env.links = link_env_new(w->loop, NULL, &err));
    assert_non_null(w->env.resolver = resolver_new(w->loop, &err));
    assert_non_null(w->env.metrics = metrics_new(1000));
}

static MAYBE void world_target(struct world *w, const char *url, const char *options)
{
    struct error err;
    json_t *json = options ? json_loads(options, 0, NULL) : NULL;
    assert_true(!options || json);
    w->target = OPS->target_new(&w->env, url, json, "g", &err);
    if (!w->target)
        fail_msg("%s", err.text);
    json_decref(json);
}

static MAYBE void world_raw(struct world *w, const char *options)
{
    char url[64];
    world_create(w);
    raw_start(w);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", w->raw.port);
    world_target(w, url, options);
}

static MAYBE void world_echo(struct world *w, const char *path, const char *options)
{
    char url[96];
    memset(w, 0, sizeof *w);
    struct world started = {.echo = 0};
    echo_start(&started, NULL);
    world_create(w);
    w->echo = started.echo;
    w->echo_port = started.echo_port;
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", w->echo_port, path);
    world_target(w, url, options);
}

static MAYBE double gauge(struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric out = {.hist = NULL};
    assert_int_equal(metric_selector_parse(name, &sel, NULL), 0);
    metrics_select(w->env.metrics, &sel, &out);
    return out.type == METRIC_GAUGE ? out.value : (double)out.count;
}

static MAYBE void world_destroy(struct world *w)
{
    OPS->target_delete(w->target);
    raw_stop(&w->raw);
    echo_stop(w);
    assert_true(gauge(w, "http_connections") == 0); // every socket was closed
    assert_true(gauge(w, "devices_online") == 0);
    resolver_delete(w->env.resolver);
    link_env_delete(w->env.links);
    metrics_delete(w->env.metrics);
    loop_delete(w->loop);
}

// Tests whose *state is a world with a device: over the raw server (path NULL) or the echo server below a path.
struct fixture {
    struct world w;
    struct device d;
};

struct fixture_case {
    const char *path, *options, *token;
};

static MAYBE int fixture_up(void **state)
{
    const struct fixture_case *k = *state;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    if (k->path)
        world_echo(&f->w, k->path, k->options);
    else
        world_raw(&f->w, k->options);
    f->d.client_id = "a";
    f->d.token = k->token;
    device_create(&f->w, &f->d);
    *state = f;
    return 0;
}

static MAYBE int fixture_down(void **state)
{
    struct fixture *f = *state;
    OPS->conn_delete(f->d.conn);
    world_destroy(&f->w);
    free(f);
    return 0;
}

#define cmocka_unit_test_http(f, path, options, token)                                                                 \
    cmocka_unit_test_prestate_setup_teardown(f, fixture_up, fixture_down,                                              \
                                             (&(struct fixture_case){path, options, token}))
