// A device's side of CoAP (loop, adapter, a recording owner), the echo server in a child process, and a raw UDP server
// on the same loop. Header only: every test is its own executable.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "adapter/adapter.h"
#include "adapter/coap/coap.h"
#include "adapter/coap/echo.h"
#include "core/log.h"
#include "core/loop.h"

#define MAYBE __attribute__((unused))
#define MAX_RECORDS 512
#define OPS (&coap_adapter)

struct record { // on_done, on_response, on_message, on_request
    uint32_t token;
    unsigned status;
    bool more, failed;
    enum error_code code;
    int qos;
    char text[240]; // error, topic or path
    char headers[400];
    uint8_t *payload;
    size_t n;
    uint64_t ticket;
};

struct records {
    struct record at[MAX_RECORDS];
    unsigned n;
};

struct client {
    struct adapter_conn *conn;
    const char *fields[FIELD_MAX];
    unsigned online, offline;
    bool retry;
    struct error why;
    struct records done, responses, messages, requests;
    void (*on_request)(struct client *cl, const struct record *r);
    void (*on_response)(struct client *cl, const struct record *r);
    struct world *world;
};

struct world {
    struct clock clock;
    struct loop *loop;
    struct adapter_env env;
    struct adapter_target *target;
    struct client client;
    pid_t echo;
    int echo_stop;
    uint16_t port, secure_port;
};

#define DEADLINE_US (15 * 1000000)
#define WAIT(w, cond)                                                                                                  \
    do {                                                                                                               \
        int64_t until_ = loop_fresh_us((w)->loop) + DEADLINE_US;                                                       \
        while (!(cond) && loop_fresh_us((w)->loop) < until_)                                                           \
            loop_turn((w)->loop, 20000);                                                                               \
        assert_true(cond);                                                                                             \
    } while (0)
#define SETTLE(w)                                                                                                      \
    do {                                                                                                               \
        for (int i_ = 0; i_ < 8; i_++)                                                                                 \
            loop_turn((w)->loop, 3000);                                                                                \
    } while (0)

// ---- the owner ----

static MAYBE struct record *record(struct records *all)
{
    assert_true(all->n < MAX_RECORDS);
    return &all->at[all->n++];
}

static MAYBE void keep_payload(struct record *r, const uint8_t *bytes, size_t n)
{
    r->payload = malloc(n + 1);
    if (n)
        memcpy(r->payload, bytes, n);
    r->payload[n] = '\0';
    r->n = n;
}

static MAYBE void keep_headers(struct record *r, const struct adapter_property *h, unsigned n)
{
    size_t used = 0;
    for (unsigned i = 0; i < n && used < sizeof r->headers - 1; i++) {
        int k = snprintf(r->headers + used, sizeof r->headers - used, "%.*s=%.*s;", (int)h[i].name_len, h[i].name,
                         (int)h[i].value_len, h[i].value);
        used += k > 0 ? (size_t)k : 0;
    }
}

static MAYBE void on_online(void *owner, bool session_present)
{
    struct client *cl = owner;
    (void)session_present;
    cl->online++;
}

static MAYBE void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct client *cl = owner;
    cl->offline++;
    cl->why = *why;
    cl->retry = will_retry;
}

static MAYBE void on_message(void *owner, const struct adapter_message *m)
{
    struct client *cl = owner;
    struct record *r = record(&cl->messages);
    snprintf(r->text, sizeof r->text, "%.*s", (int)m->topic_len, m->topic);
    r->qos = m->qos;
    keep_payload(r, m->payload, m->payload_len);
}

static MAYBE void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct client *cl = owner;
    struct record *r = record(&cl->done);
    r->token = token;
    r->qos = granted_qos;
    r->failed = err != NULL;
    r->code = err ? err->code : ERR_NONE;
    snprintf(r->text, sizeof r->text, "%.239s", err ? err->text : "");
}

static MAYBE void on_response(void *owner, uint32_t token, const struct adapter_response *response,
                              const struct error *err)
{
    struct client *cl = owner;
    struct record *r = record(&cl->responses);
    r->token = token;
    r->failed = err != NULL;
    r->code = err ? err->code : ERR_NONE;
    snprintf(r->text, sizeof r->text, "%.239s", err ? err->text : "");
    assert_true((response == NULL) == (err != NULL));
    if (response) {
        r->status = response->status;
        r->more = response->more;
        keep_payload(r, response->payload, response->payload_len);
        keep_headers(r, response->headers, response->n_headers);
    }
    if (cl->on_response)
        cl->on_response(cl, r);
}

static MAYBE void on_request(void *owner, uint64_t ticket, const struct adapter_request *request)
{
    struct client *cl = owner;
    struct record *r = record(&cl->requests);
    r->ticket = ticket;
    snprintf(r->text, sizeof r->text, "%s %.*s", request->method, (int)request->path_len, request->path);
    keep_payload(r, request->payload, request->payload_len);
    keep_headers(r, request->headers, request->n_headers);
    if (cl->on_request)
        cl->on_request(cl, r);
}

static const struct adapter_events events = {.on_online = on_online,
                                             .on_offline = on_offline,
                                             .on_message = on_message,
                                             .on_done = on_done,
                                             .on_response = on_response,
                                             .on_request = on_request};

static MAYBE int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    struct client *cl = owner;
    (void)err;
    return cl->fields[what] ? buf_append_str(out, cl->fields[what]) : 0;
}

static const struct adapter_identity identity = {.field = field};

static MAYBE void records_clear(struct records *all)
{
    for (unsigned i = 0; i < all->n; i++)
        free(all->at[i].payload);
    memset(all, 0, sizeof *all);
}

// ---- the world ----

static MAYBE void world_create(struct world *w)
{
    struct error err;
    memset(w, 0, sizeof *w);
    w->echo_stop = -1;
    w->client.world = w;
    clock_create_real(&w->clock);
    assert_non_null(w->loop = loop_new(&w->clock, &err));
    w->env.loop = w->loop;
    assert_non_null(w->env.links = link_env_new(w->loop, &(struct link_env_config){0}, &err));
    assert_non_null(w->env.resolver = resolver_new(w->loop, &err));
    assert_non_null(w->env.metrics = metrics_new(1000));
    if (getenv("COAP_DEBUG"))
        w->env.log = log_new(&(struct log_config){.fd = 2, .level = LOG_DEBUG});
}

static MAYBE struct adapter_target *make_target(struct world *w, const char *url, const char *options)
{
    struct error err;
    json_t *o = options ? json_loads(options, 0, NULL) : NULL;
    assert_true(!options || o);
    struct adapter_target *t = OPS->target_new(&w->env, url, o, "g", &err);
    if (!t)
        print_message("target_new: %s\n", err.text);
    json_decref(o);
    assert_non_null(t);
    return t;
}

static MAYBE void client_create(struct world *w, struct client *cl)
{
    struct error err;
    cl->world = w;
    assert_non_null(cl->conn = OPS->conn_new(w->target, &events, &identity, cl, 4711, &err));
}

static MAYBE void client_destroy(struct client *cl)
{
    OPS->conn_delete(cl->conn);
    records_clear(&cl->done);
    records_clear(&cl->responses);
    records_clear(&cl->messages);
    records_clear(&cl->requests);
}

static MAYBE void client_connect(struct world *w, struct client *cl)
{
    struct error err;
    unsigned online = cl->online, offline = cl->offline;
    assert_int_equal(OPS->conn_open(cl->conn, &err), 0);
    WAIT(w, cl->online > online || cl->offline > offline);
    if (cl->online == online)
        print_message("offline: %s\n", cl->why.text);
    assert_int_equal(cl->online, online + 1);
}

static MAYBE void echo_start(struct world *w, struct coap_echo_config config)
{
    int ready[2], stop[2];
    char text[64];
    unsigned plain, secure;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    w->echo = fork();
    if (w->echo == 0) {
        struct error err;
        close(stop[1]);
        int rc = coap_echo_run(&config, ready[1], stop[0], &err);
        if (rc)
            fprintf(stderr, "echo: %s\n", err.text);
        _exit(rc ? 1 : 0);
    }
    close(ready[1]);
    close(stop[0]);
    w->echo_stop = stop[1];
    ssize_t n = read(ready[0], text, sizeof text - 1);
    close(ready[0]);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(sscanf(text, "coap=%u coaps=%u", &plain, &secure), 2);
    w->port = (uint16_t)plain;
    w->secure_port = (uint16_t)secure;
}

static MAYBE void echo_end(struct world *w)
{
    if (w->echo <= 0)
        return;
    int status;
    close(w->echo_stop);
    assert_int_equal(waitpid(w->echo, &status, 0), w->echo);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    w->echo = 0;
}

// A device connected to the echo server: scheme "coap" …
static MAYBE void world_echo(struct world *w, const char *scheme, const char *options)
{
    char url[64];
    bool secure = strncmp(scheme, "coaps", 5) == 0;
    world_create(w);
    echo_start(w, (struct coap_echo_config){.secure = secure, .psk_key = secure ? "secret" : NULL});
    snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme, secure ? w->secure_port : w->port);
    if (secure) {
        w->client.fields[FIELD_PSK_IDENTITY] = "dev-1";
        w->client.fields[FIELD_PSK_KEY] = "736563726574";
    }
    w->client.fields[FIELD_CLIENT_ID] = "dev-1";
    w->target = make_target(w, url, options);
    client_create(w, &w->client);
    client_connect(w, &w->client);
}

static MAYBE void world_destroy(struct world *w)
{
    if (w->client.conn)
        client_destroy(&w->client);
    if (w->target)
        OPS->target_delete(w->target);
    resolver_delete(w->env.resolver);
    link_env_delete(w->env.links);
    metrics_delete(w->env.metrics);
    log_delete(w->env.log);
    loop_delete(w->loop);
    echo_end(w);
}

// Tests whose *state is such a world: over one transport, over all of them.
struct echo_case {
    const char *scheme, *options;
};

static MAYBE int echo_case_up(void **state)
{
    const struct echo_case *k = *state;
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    world_echo(w, k->scheme, k->options);
    *state = w;
    return 0;
}

static MAYBE int echo_case_down(void **state)
{
    world_destroy(*state);
    free(*state);
    return 0;
}

#define cmocka_unit_test_echo(f, scheme, options)                                                                      \
    {                                                                                                                  \
#f " over " scheme, f, echo_case_up, echo_case_down, &(struct echo_case)                                       \
        {                                                                                                              \
            scheme, options                                                                                            \
        }                                                                                                              \
    }
#define cmocka_unit_test_everywhere(f, options)                                                                        \
    cmocka_unit_test_echo(f, "coap", options), cmocka_unit_test_echo(f, "coap+tcp", options),                          \
        cmocka_unit_test_echo(f, "coaps", options), cmocka_unit_test_echo(f, "coaps+tcp", options)

static MAYBE uint64_t counter(struct world *w, const char *name)
{
    struct metric_selector sel;
    struct metric out = {0};
    struct error err;
    assert_int_equal(metric_selector_parse(name, &sel, &err), 0);
    out.hist = NULL;
    metrics_select(w->env.metrics, &sel, &out);
    return out.count;
}

// ---- asking ----

static MAYBE int ask_with(struct client *cl, const char *method, const char *path, const void *payload, size_t n,
                          const struct adapter_property *headers, unsigned n_headers, const char *options,
                          uint32_t token, struct error *err)
{
    json_t *o = options ? json_loads(options, 0, NULL) : NULL;
    struct adapter_request r = {.method = method,
                                .path = path,
                                .path_len = strlen(path),
                                .payload = payload,
                                .payload_len = n,
                                .headers = headers,
                                .n_headers = n_headers,
                                .options = o};
    int rc = OPS->request(cl->conn, &r, token, err);
    json_decref(o);
    return rc;
}

static MAYBE struct record *response_of(struct client *cl, unsigned from, uint32_t token)
{
    for (unsigned i = from; i < cl->responses.n; i++)
        if (cl->responses.at[i].token == token)
            return &cl->responses.at[i];
    return NULL;
}

// Asks and waits for the answer.
static MAYBE struct record *ask_bytes(struct client *cl, const char *method, const char *path, const void *payload,
                                      size_t n, const char *options)
{
    static uint32_t token = 1000;
    struct error err;
    unsigned before = cl->responses.n;
    int rc = ask_with(cl, method, path, payload, n, NULL, 0, options, ++token, &err);
    if (rc)
        print_message("request: %s\n", err.text);
    assert_int_equal(rc, 0);
    struct record *found = NULL;
    WAIT(cl->world, (found = response_of(cl, before, token)) != NULL);
    return found;
}

static MAYBE struct record *ask(struct client *cl, const char *method, const char *path, const char *payload)
{
    return ask_bytes(cl, method, path, payload, payload ? strlen(payload) : 0, NULL);
}

// Asks without a payload; the answer is waited for by the caller.
static MAYBE int ask_only(struct client *cl, const char *method, const char *path, uint32_t token, struct error *err)
{
    return ask_with(cl, method, path, NULL, 0, NULL, 0, NULL, token, err);
}

static MAYBE int publish(struct client *cl, const char *topic, const void *payload, size_t n, int qos, uint32_t token,
                         struct error *err)
{
    struct adapter_message m = {
        .topic = topic, .topic_len = strlen(topic), .payload = payload, .payload_len = n, .qos = (uint8_t)qos};
    return OPS->publish(cl->conn, &m, token, err);
}
