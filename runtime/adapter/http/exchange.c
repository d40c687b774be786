#include "adapter/http/exchange.h"
#include <ctype.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/http/socket.h"
#include "adapter/http/tls.h"
#include "core/units.h"

#define KEEP_BYTES 16384u // buffers larger than this are not kept for the next request
#define URL_MAX 8192u
#define LINES_MAX (64u << 10)

// --- memory ---------------------------------------------------------------------------------------------------------

static struct buf *buffers(struct http_exchange *x, unsigned i)
{
    struct buf *const all[] = {&x->url, &x->lines, &x->auth, &x->body, &x->nodes, &x->head, &x->reply};
    return i < sizeof all / sizeof *all ? all[i] : NULL;
}

static void destroy(struct http_exchange *x)
{
    for (unsigned i = 0; buffers(x, i); i++)
        buf_destroy(buffers(x, i));
    free(x);
}

static void release(struct http_target *t, struct http_exchange *x)
{
    if (t->n_spare == HTTP_SPARE_EXCHANGES) {
        destroy(x);
        return;
    }
    for (unsigned i = 0; buffers(x, i); i++)
        if (buffers(x, i)->size > KEEP_BYTES)
            buf_destroy(buffers(x, i));
    x->next_spare = t->spare;
    t->spare = x;
    t->n_spare++;
}

void http_exchange_free_spares(struct http_target *t)
{
    for (struct http_exchange *x = t->spare, *next; x; x = next) {
        next = x->next_spare;
        destroy(x);
    }
}

static struct http_exchange *take(struct http_target *t)
{
    struct http_exchange *x = t->spare;
    if (!x) {
        if (!(x = calloc(1, sizeof *x)))
            return NULL;
        buf_create(&x->url, URL_MAX);
        buf_create(&x->lines, LINES_MAX);
        buf_create(&x->auth, LINES_MAX);
        buf_create(&x->body, t->options.max_request);
        buf_create(&x->nodes, (HTTP_HEADERS_MAX * 2 + 8) * sizeof(struct curl_slist));
        buf_create(&x->head, HTTP_RESPONSE_HEAD);
        buf_create(&x->reply, t->options.max_response);
        return x;
    }
    struct buf kept[7];
    t->spare = x->next_spare;
    t->n_spare--;
    for (unsigned i = 0; buffers(x, i); i++) {
        buf_clear(buffers(x, i));
        kept[i] = *buffers(x, i);
    }
    memset(x, 0, sizeof *x);
    for (unsigned i = 0; buffers(x, i); i++)
        *buffers(x, i) = kept[i];
    return x;
}

struct http_exchange *http_exchange_new(struct adapter_conn *c, enum http_kind kind, struct error *err)
{
    struct http_target *t = c->target;
    if (c->n_exchanges >= t->options.queue && kind != HTTP_POLL) {
        error_set(err, ERR_LIMIT, "%u requests of this device wait already (option queue)", t->options.queue);
        return NULL;
    }
    struct http_exchange *x = take(t);
    if (!x) {
        error_set(err, ERR_NO_MEMORY, "no memory for a request");
        return NULL;
    }
    x->conn = c;
    x->kind = (uint8_t)kind;
    x->lane = t->options.max_connections ? &t->shared : &c->lane;
    x->retries = t->options.retries;
    x->redirects = t->options.redirects;
    x->no_auth = t->options.auth == HTTP_AUTH_NONE;
    x->asked_us = loop_now_us(t->env.loop);
    loop_lag(t->env.loop, x->asked_us, &x->lag);
    x->deadline_us = x->asked_us + t->options.timeout_us;
    return x;
}

// Out of libcurl's hands; the easy handle goes back.
static void take_back(struct http_exchange *x)
{
    struct adapter_conn *c = x->conn;
    struct http_target *t = c->target;
    if (x->ticket) {
        resolver_cancel(t->env.resolver, x->ticket);
        x->ticket = 0;
    }
    if (!x->easy)
        return;
    curl_multi_remove_handle(c->multi->curl, x->easy);
    http_socket_abandoned(x);
    http_tls_exchange_gone(x);
    http_easy_give(t, x->easy);
    x->easy = NULL;
    t->active--;
    if (x->lane)
        x->lane->active--;
    if (x->paced)
        pacer_ended(&t->pacer, loop_now_us(t->env.loop), x->connect_us ? loop_now_us(t->env.loop) - x->connect_us : 0,
                    true);
    x->paced = false;
    c->multi->dirty = true;
    http_target_wake(t); // whoever waits for a place
}

static void unlink_exchange(struct http_exchange *x)
{
    if (!x->node.next)
        return;
    http_list_remove(&x->node);
    x->conn->n_exchanges--;
}

void http_exchange_drop(struct http_exchange *x)
{
    struct http_target *t = x->conn->target;
    take_back(x);
    loop_timer_stop(t->env.loop, &x->timer);
    unlink_exchange(x);
    if (x->sub)
        x->sub->exchange = NULL;
    release(t, x);
}

void http_exchange_cancel(struct http_exchange *x)
{
    take_back(x);
    loop_timer_stop(x->conn->target->env.loop, &x->timer);
    x->state = HTTP_CANCELLED;
}

// --- time -----------------------------------------------------------------------------------------------------------

static void on_deadline(struct timer *timer, void *loop);

static void set_timer(struct http_exchange *x)
{
    bool backoff = x->state == HTTP_BACKOFF && x->retry_us < x->deadline_us;
    if (!x->conn->frozen)
        loop_timer_at(x->conn->target->env.loop, &x->timer, backoff ? x->retry_us : x->deadline_us, on_deadline);
}

static void on_deadline(struct timer *timer, void *loop)
{
    struct http_exchange *x = container_of(timer, struct http_exchange, timer);
    struct error why;
    char text[32];
    if (x->state == HTTP_BACKOFF && x->retry_us < x->deadline_us && loop_now_us(loop) < x->deadline_us) {
        x->state = HTTP_QUEUED;
        set_timer(x);
        x->conn->pump_due = true;
        http_conn_due(x->conn);
        return;
    }
    duration_format(x->deadline_us - x->asked_us, text, sizeof text);
    if (x->state == HTTP_QUEUED)
        error_set(&why, ERR_TIMEOUT, "the request waited %s for its turn", text);
    else if (x->state == HTTP_BACKOFF)
        error_set(&why, ERR_TIMEOUT, "no usable answer within %s, %u attempts (%s)", text, x->attempts, x->err.text);
    else if (x->state == HTTP_RESOLVE || (x->connect_us && !x->connected))
        error_set(&why, ERR_TIMEOUT, "not connected within %s", text);
    else
        error_set(&why, ERR_TIMEOUT, x->head_bytes ? "the answer was not complete within %s" : "no answer within %s",
                  text);
    if (x->connect_us && !x->connected) {
        rate_add(x->conn->target->series.connect_errors, true);
        http_count_failure(x->conn->target, ERR_TIMEOUT);
    }
    http_exchange_fail(x, &why);
}

void http_exchange_hold(struct http_exchange *x, bool held)
{
    struct loop *loop = x->conn->target->env.loop;
    int64_t now = loop_now_us(loop), by = held ? -now : now;
    x->deadline_us += by;
    x->asked_us += by;
    x->retry_us += by;
    if (x->easy) // libcurl reads at some of its timers too
        curl_easy_pause(x->easy, held ? CURLPAUSE_ALL : CURLPAUSE_CONT);
    if (held)
        loop_timer_stop(loop, &x->timer);
    else
        set_timer(x);
}

void http_exchange_queue(struct http_exchange *x)
{
    struct adapter_conn *c = x->conn;
    x->state = HTTP_QUEUED;
    http_list_append(&c->exchanges, &x->node);
    c->n_exchanges++;
    if (c->frozen)
        http_exchange_hold(x, true);
    else
        set_timer(x);
    c->pump_due = true;
    http_conn_due(c);
}

// --- with libcurl ---------------------------------------------------------------------------------------------------

size_t http_exchange_header(char *line, size_t size, size_t n, void *arg)
{
    struct http_exchange *x = arg;
    (void)size;
    http_exchange_heard(x);
    x->head_bytes += n;
    if (x->head_bytes > HTTP_RESPONSE_HEAD) {
        error_set(&x->err, ERR_LIMIT, "the answer has more than %u bytes of headers", HTTP_RESPONSE_HEAD);
        return 0;
    }
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0) { // 1xx before, or the answer to what libcurl asked again
        buf_clear(&x->head);
        x->n_headers = 0;
        x->body_begun = false;
        return n;
    }
    char *colon = memchr(line, ':', n);
    if (x->body_begun || !colon) // a trailer; the empty line
        return n;
    size_t end = n;
    while (end && strchr("\r\n \t", line[end - 1]) && line[end - 1])
        end--;
    char *value = colon + 1;
    while (value < line + end && (*value == ' ' || *value == '\t'))
        value++;
    size_t name_len = (size_t)(colon - line), value_len = value < line + end ? (size_t)(line + end - value) : 0;
    uint8_t *to = buf_reserve(&x->head, (uint32_t)(name_len + value_len + 2));
    if (!to || x->n_headers == HTTP_RESPONSE_HEADERS) {
        error_set(&x->err, ERR_LIMIT, "the answer has more than %u headers", HTTP_RESPONSE_HEADERS);
        return 0;
    }
    for (size_t i = 0; i < name_len; i++)
        to[i] = (uint8_t)(line[i] ? tolower((unsigned char)line[i]) : '?');
    to[name_len] = 0;
    for (size_t i = 0; i < value_len; i++)
        to[name_len + 1 + i] = (uint8_t)(value[i] ? value[i] : '?');
    to[name_len + 1 + value_len] = 0;
    x->head.len += (uint32_t)(name_len + value_len + 2);
    x->n_headers++;
    return n;
}

int http_exchange_ready(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    struct http_exchange *x = arg;
    struct http_target *t = x->conn->target;
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    if (!x->connect_us || x->connected)
        return CURL_PREREQFUNC_OK; // a connection that was there
    int64_t latency = loop_fresh_us(t->env.loop) - x->connect_us;
    curl_off_t tcp = 0, tls = 0;
    curl_easy_getinfo(x->easy, CURLINFO_CONNECT_TIME_T, &tcp);
    curl_easy_getinfo(x->easy, CURLINFO_APPCONNECT_TIME_T, &tls);
    tls = tls > tcp && t->tls ? tls - tcp : 0;
    x->connected = true;
    if (x->opened)
        x->opened->opener = NULL;
    x->opened = NULL;
    counter_add(t->series.connects, 1);
    rate_add(t->series.connect_errors, false);
    series_connected(t->series.connect_latency, t->series.connect_latency_raw, t->series.connect_wait, 0, 0, latency);
    trend_add(t->series.tcp_latency, latency > tls ? latency - tls : 0);
    if (tls)
        trend_add(t->series.tls_latency, tls);
    if (x->lane) {
        if (x->lane->used)
            counter_add(t->series.reconnects, 1);
        x->lane->used = true;
    }
    if (x->paced) {
        pacer_ended(&t->pacer, loop_now_us(t->env.loop), latency, false);
        x->paced = false;
        http_target_wake(t);
    }
    return CURL_PREREQFUNC_OK;
}

static void set_method(struct http_exchange *x)
{
    CURL *e = x->easy;
    bool has_body = x->body.len || x->method[0] == 'P';
    if (!has_body) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
        if (x->method[0] == 'H')
            curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.len);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->body.len ? (const char *)x->body.data : "");
    }
    bool plain = has_body ? strcmp(x->method, "POST") == 0 : strcmp(x->method, "GET") == 0 || x->method[0] == 'H';
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, plain ? NULL : x->method);
}

// The made-up address by which libcurl tells one device's connections from another's.
static void set_lane(struct http_exchange *x)
{
    struct adapter_conn *c = x->conn;
    bool own = x->lane == &c->target->shared && (c->own_tls == HTTP_CREDENTIAL_KNOWN || c->path);
    uint32_t id = !x->lane ? 1 : own ? c->lane.id : x->lane->id;
    snprintf(x->connect_text, sizeof x->connect_text, "::%u.%u.%u.%u:", id >> 24, id >> 16 & 255, id >> 8 & 255,
             id & 255);
    x->connect_to = (struct curl_slist){.data = x->connect_text};
    curl_easy_setopt(x->easy, CURLOPT_CONNECT_TO, &x->connect_to);
    curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, (long)!x->lane);
    curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, (long)(!x->lane || !c->target->options.keep_alive_us));
}

// HTTP/2 without TLS: libcurl 7.88 begins HTTP/2 a second time on a connection that it uses again with prior knowledge,
// and gives it up. So the first request makes the connection, and those that follow ask for HTTP/2 without prior
// knowledge, which it has then; if libcurl wants to connect for one of them after all, it begins again (failed).
static void set_version(struct http_exchange *x)
{
    const struct http_target *t = x->conn->target;
    if (t->tls || t->options.version != HTTP_VERSION_2)
        return;
    x->over_open = x->lane && x->lane->h2 && x->lane->sockets;
    curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION,
                     x->over_open ? (long)CURL_HTTP_VERSION_2_0 : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, (long)!x->over_open);
}

static int set_up(struct http_exchange *x, struct error *err)
{
    struct http_target *t = x->conn->target;
    struct curl_slist *lines;
    bool failed = false;
    buf_clear(&x->auth);
    if (!x->no_auth && !x->foreign) {
        const char *line = http_auth_line(x->conn, false, &failed, err);
        if (failed || (line && buf_append(&x->auth, line, strlen(line) + 1) < 0))
            return failed ? -1 : error_set(err, ERR_NO_MEMORY, "no memory for credentials");
    }
    if (!(lines = http_request_chain(x, err)))
        return -1;
    if (t->tls && x->lane == &t->shared)
        (void)http_tls_own(x->conn, err);
    if (!x->easy && !(x->easy = http_easy_take(t)))
        return error_set(err, ERR_NO_MEMORY, "no memory for a transfer");
    CURL *e = x->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    curl_easy_setopt(e, CURLOPT_URL, buf_cstr(&x->url));
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, lines);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, x);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->curl_error);
    if (t->tls)
        curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, x);
    set_method(x);
    set_lane(x);
    set_version(x);
    return 0;
}

bool http_exchange_start(struct http_exchange *x)
{
    struct adapter_conn *c = x->conn;
    struct http_target *t = c->target;
    struct error err;
    error_clear(&err);
    error_clear(&x->err);
    x->curl_error[0] = '\0';
    x->connect_us = 0;
    x->socket = NULL;
    x->connected = x->body_begun = false;
    x->head_bytes = 0;
    x->n_headers = 0;
    buf_clear(&x->head);
    buf_clear(&x->reply);
    bool connects = x->lane && (!x->lane->sockets || (!x->lane->h2 && x->lane->active >= x->lane->sockets));
    if (set_up(x, &err) == 0 && curl_multi_add_handle(c->multi->curl, x->easy) != CURLM_OK)
        error_set(&err, ERR_NO_MEMORY, "no memory for a transfer");
    else if (x->easy && err.code == ERR_NONE) {
        x->state = HTTP_ACTIVE;
        x->attempts++;
        t->active++;
        if (x->lane)
            x->lane->active++;
        c->multi->dirty = true;
        if (connects) {
            x->paced = true;
            pacer_started(&t->pacer, loop_now_us(t->env.loop));
        }
        if (x->attempts == 1 && x->kind == HTTP_PUBLISH)
            counter_add(t->series.messages_sent, 1);
        return true;
    }
    if (x->easy) {
        http_easy_give(t, x->easy);
        x->easy = NULL;
    }
    http_exchange_fail(x, &err);
    return false;
}

// --- the end of an attempt ------------------------------------------------------------------------------------------

static void fill(const struct http_exchange *x, struct adapter_response *r, struct adapter_property *headers)
{
    const char *at = (const char *)x->head.data;
    for (unsigned i = 0; i < x->n_headers; i++) {
        size_t name_len = strlen(at), value_len = strlen(at + name_len + 1);
        headers[i] = (struct adapter_property){at, name_len, at + name_len + 1, value_len};
        at += name_len + value_len + 2;
    }
    *r = (struct adapter_response){.status = x->status,
                                   .payload = x->reply.data,
                                   .payload_len = x->reply.len,
                                   .headers = headers,
                                   .n_headers = x->n_headers,
                                   .latency_us = loop_fresh_us(x->conn->target->env.loop) - x->asked_us,
                                   .attempts = x->attempts};
}

static void count(struct http_exchange *x, const struct error *why, int64_t latency)
{
    struct http_series *s = &x->conn->target->series;
    bool failed = why || x->status >= 400;
    if (x->kind == HTTP_PUBLISH) {
        bool lost = why || x->status < 200 || x->status > 299;
        rate_add(s->publish_errors, lost);
        if (!lost) {
            counter_add(s->messages_acked, 1);
            trend_add_lagged(s->publish_latency, s->publish_latency_raw, latency, &x->lag);
        }
    } else if (x->kind == HTTP_REQUEST) {
        rate_add(s->request_errors, failed);
        if (!why)
            trend_add_lagged(s->request_latency, s->request_latency_raw, latency, &x->lag);
        else
            http_count_unanswered(x->conn->target, why->code);
    }
}

static void tell_publish(struct adapter_conn *c, struct http_exchange *x, const struct error *why)
{
    struct error refused;
    if (!x->qos || !x->token)
        return;
    if (!why && (x->status < 200 || x->status > 299)) {
        int n = (int)(x->reply.len < 160 ? x->reply.len : 160);
        error_set(&refused, ERR_REFUSED, "HTTP status %u%s%.*s", x->status, n ? ": " : "", n,
                  n ? (const char *)x->reply.data : "");
        why = &refused;
    }
    HTTP_TELL(c, c->events->on_done(c->owner, x->token, -1, why));
}

static void tell_probe(struct adapter_conn *c, const struct http_exchange *x, const struct error *why)
{
    struct error refused;
    if (!why && (x->status < 200 || x->status > 299)) {
        error_set(&refused, ERR_REFUSED, "the probe %s was answered with HTTP status %u", c->target->options.probe,
                  x->status);
        why = &refused;
    }
    http_conn_probed(c, why);
}

// The end: out of all lists, then its owner is told. May delete the connection.
static void conclude(struct http_exchange *x, const struct error *why)
{
    struct adapter_conn *c = x->conn;
    struct http_target *t = c->target;
    struct adapter_property headers[HTTP_RESPONSE_HEADERS];
    struct adapter_response response;
    take_back(x);
    loop_timer_stop(t->env.loop, &x->timer);
    unlink_exchange(x);
    c->pump_due = true;
    http_conn_due(c);
    fill(x, &response, headers);
    count(x, why, response.latency_us);
    switch ((enum http_kind)x->kind) {
    case HTTP_REQUEST:
        HTTP_TELL(c, c->events->on_response(c->owner, x->token, why ? NULL : &response, why));
        break;
    case HTTP_PUBLISH:
        tell_publish(c, x, why);
        break;
    case HTTP_POLL:
        x->err = why ? *why : (struct error){0};
        http_polled(x->sub, x);
        break;
    case HTTP_PROBE:
        tell_probe(c, x, why);
        break;
    }
    release(t, x);
}

void http_exchange_fail(struct http_exchange *x, const struct error *why)
{
    struct error copy = *why; // it may be x->err
    conclude(x, &copy);
}

static void again(struct http_exchange *x, enum http_exchange_state state)
{
    x->state = (uint8_t)state;
    set_timer(x);
    x->conn->pump_due = true;
    http_conn_due(x->conn);
}

// True: the exchange waits for its next try.
static bool retry(struct http_exchange *x, int64_t retry_after_s, const struct error *why)
{
    struct http_target *t = x->conn->target;
    const struct http_retries *r = &x->retries;
    if (x->tries >= r->max || x->kind == HTTP_POLL || x->kind == HTTP_PROBE)
        return false;
    double delay = (double)r->initial_us;
    for (unsigned i = 0; i < x->tries && delay < (double)r->max_delay_us; i++)
        delay *= r->factor;
    if (delay > (double)r->max_delay_us)
        delay = (double)r->max_delay_us;
    if (r->jitter)
        delay *= 0.5 + rng_unit(&x->conn->rng) / 2;
    if (retry_after_s > 0 && (double)retry_after_s * 1e6 > delay)
        delay = (double)retry_after_s * 1e6;
    int64_t now = loop_now_us(t->env.loop);
    if (delay >= (double)(x->deadline_us - now))
        return false; // it would not come in time: what there is now is told
    x->tries++;
    x->retry_us = now + (int64_t)delay;
    x->err = *why;
    counter_add(t->series.http_retries, 1);
    again(x, HTTP_BACKOFF);
    return true;
}

static void on_resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct http_exchange *x = arg;
    x->ticket = 0;
    unsigned usable = 0;
    for (unsigned i = 0; i < n; i++)
        usable += sources_have(x->conn->target->sources, addrs[i].addr.ss_family);
    x->more_addrs = x->n_tried + 1u < usable;
    for (unsigned i = 0, k = 0; i < n; i++) {
        if (!sources_have(x->conn->target->sources, addrs[i].addr.ss_family) || k++ < x->n_tried)
            continue;
        x->addr = addrs[i];
        again(x, HTTP_QUEUED);
        return;
    }
    struct error why = {0};
    if (n)
        error_set(&why, ERR_INVALID, "the redirect's host has no address of the family of `source`");
    else
        why = *err;
    http_exchange_fail(x, &why);
}

int http_exchange_origin(struct http_exchange *x, struct url *out, struct error *err)
{
    char origin[600];
    const char *text = buf_cstr(&x->url);
    size_t n = strcspn(text + 8, "/?#") + 8; // behind https://
    snprintf(origin, sizeof origin, "%.*s", (int)(n < sizeof origin ? n : sizeof origin - 1), text);
    return url_parse(origin, "http", out, err);
}

// Looks the host of a URL of another origin up.
void http_exchange_resolve(struct http_exchange *x)
{
    struct http_target *t = x->conn->target;
    struct error err;
    struct url url = {.port = 0};
    x->state = HTTP_RESOLVE;
    if (http_exchange_origin(x, &url, &err) < 0) {
        http_exchange_fail(x, &err);
        return;
    }
    uint64_t ticket = resolver_lookup(t->env.resolver, url.host, url.port, on_resolved, x);
    if (ticket)
        x->ticket = ticket;
}

// 1: this answer is the answer; 0: the exchange goes on; -1: err.
static int redirect(struct http_exchange *x, struct error *err)
{
    struct http_target *t = x->conn->target;
    bool to_get = x->status == 303 || x->status == 301 || x->status == 302;
    char *location = NULL;
    if ((!to_get && x->status != 307 && x->status != 308) || !x->follow)
        return 1;
    curl_easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &location);
    if (!location)
        return 1;
    if (!x->redirects)
        return error_set(err, ERR_LIMIT, "more than %u redirects, the last one to %.200s", t->options.redirects,
                         location);
    size_t n = strlen(t->url_host), m = strlen(t->origin);
    bool same = strncmp(location, t->url_host, n) == 0 && strchr("/?#", location[n]);
    bool shown = !same && strncmp(location, t->origin, m) == 0 && strchr("/?#", location[m]);
    if (strncmp(location, "http://", 7) != 0 && strncmp(location, "https://", 8) != 0)
        return error_set(err, ERR_PROTOCOL, "a redirect to %.200s: only http and https are followed", location);
    x->redirects--;
    x->foreign = !same && !shown;
    x->n_tried = 0;
    if (to_get && x->method[0] != 'G' && x->method[0] != 'H') {
        x->method = "GET";
        buf_clear(&x->body);
    }
    buf_clear(&x->url);
    if ((shown ? buf_append_str(&x->url, t->url_host) : 0) < 0 ||
        buf_append_str(&x->url, shown ? location + m : location) < 0)
        return error_set(err, ERR_LIMIT, "a redirect to a URL of more than %u bytes", URL_MAX);
    return 0;
}

// True: the device has other credentials now.
static bool refresh_credentials(struct http_exchange *x)
{
    struct adapter_conn *c = x->conn;
    bool failed = false;
    if (x->status != 401 || x->auth_fresh || !x->auth.len)
        return false;
    x->auth_fresh = true;
    if (c->authorization && strcmp(c->authorization, (const char *)x->auth.data) != 0)
        return true; // another request has asked already
    const char *line = http_auth_line(c, true, &failed, NULL);
    return !failed && line && strcmp(line, (const char *)x->auth.data) != 0;
}

static void account(struct http_exchange *x, CURLcode rc)
{
    struct http_target *t = x->conn->target;
    long head_out = 0, head_in = 0, version = 0, status = 0;
    curl_off_t out = 0, in = 0;
    curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &head_out);
    curl_easy_getinfo(x->easy, CURLINFO_HEADER_SIZE, &head_in);
    curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &out);
    curl_easy_getinfo(x->easy, CURLINFO_SIZE_DOWNLOAD_T, &in);
    curl_easy_getinfo(x->easy, CURLINFO_HTTP_VERSION, &version);
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    counter_add(t->series.bytes_sent, (uint64_t)(head_out + out));
    counter_add(t->series.bytes_received, (uint64_t)(head_in + in));
    x->status = rc == CURLE_OK ? (unsigned)status : 0;
    x->http_version_2 = version == CURL_HTTP_VERSION_2_0;
    if (rc != CURLE_OK)
        return;
    http_count_status(t, x->status);
    if (x->lane)
        x->lane->h2 = x->http_version_2;
}

static void failed(struct http_exchange *x, CURLcode rc)
{
    struct http_target *t = x->conn->target;
    struct error why;
    if (x->reopen) {
        x->reopen = false;
        take_back(x);
        x->lane->h2 = false; // one connects, the others wait for it
        again(x, HTTP_QUEUED);
        return;
    }
    http_explain(x, rc, &why);
    if (x->connect_us && !x->connected) {
        rate_add(t->series.connect_errors, true);
        http_count_failure(t, why.code);
        if (!x->foreign && t->n_addrs)
            t->preferred = (t->preferred + 1) % t->n_addrs;
    }
    take_back(x);
    if (x->connect_us && !x->connected && x->foreign && x->more_addrs) {
        x->n_tried++; // the host has another address
        http_exchange_resolve(x);
        return;
    }
    // A kept connection that the server closed just when it was used again. libcurl sees to that, but 7.88 counts how
    // often over the whole life of a handle, and gives up at the sixth time.
    bool late = rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR || rc == CURLE_GOT_NOTHING;
    if (late && !x->connect_us && !x->head_bytes && !x->err.code && !x->late) {
        x->late = true;
        again(x, HTTP_QUEUED);
        return;
    }
    bool hopeless = why.code == ERR_LIMIT || why.code == ERR_TLS || why.code == ERR_INVALID;
    if (!x->retries.network || hopeless || !retry(x, 0, &why))
        http_exchange_fail(x, &why);
}

void http_exchange_ended(struct http_exchange *x, CURLcode rc)
{
    struct http_target *t = x->conn->target;
    struct error why;
    account(x, rc);
    if (rc != CURLE_OK) {
        failed(x, rc);
        return;
    }
    error_clear(&why);
    if (t->options.version == HTTP_VERSION_2 && !x->http_version_2) {
        error_set(&why, ERR_UNSUPPORTED, "the server does not speak HTTP/2 (option version)");
        http_exchange_fail(x, &why);
        return;
    }
    int step = redirect(x, &why);
    if (step < 0) {
        http_exchange_fail(x, &why);
        return;
    }
    curl_off_t after = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &after);
    take_back(x);
    if (t->tls && x->lane)
        http_tls_trim(x->conn, x->lane);
    if (x->foreign)
        x->lane = NULL; // not before: its place in the lane was to be given back
    if (step == 0 && x->foreign) {
        http_exchange_resolve(x);
    } else if (step == 0 || refresh_credentials(x)) {
        again(x, HTTP_QUEUED);
    } else if (http_retries_status(&x->retries, x->status)) {
        error_set(&why, ERR_REFUSED, "HTTP status %u", x->status);
        if (!retry(x, after, &why))
            conclude(x, NULL);
    } else {
        conclude(x, NULL);
    }
}

const char *http_exchange_find(const struct http_exchange *x, const char *name)
{
    const char *at = (const char *)x->head.data;
    for (unsigned i = 0; i < x->n_headers; i++) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}
