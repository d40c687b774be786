#include "adapter/http/target.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "adapter/http/conn.h"
#include "adapter/http/exchange.h"
#include "adapter/http/endpoint.h"
#include "adapter/http/socket.h"
#include "adapter/http/tls.h"

#define RESOLVE_AGAIN_US 1000000

void http_list_create(struct http_node *head)
{
    head->next = head->prev = head;
}

void http_list_append(struct http_node *head, struct http_node *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

void http_list_remove(struct http_node *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

int http_series_make(struct http_target *t, struct error *err)
{
    struct http_series *s = &t->series;
    const struct series_wish all[] = {{"connects", &s->connects},
                                      {"connect_errors", &s->connect_errors},
                                      {"connect_latency", &s->connect_latency},
                                      {"connect_latency_raw", &s->connect_latency_raw},
                                      {"connect_wait", &s->connect_wait},
                                      {"tcp_latency", &s->tcp_latency},
                                      {"tls_latency", &s->tls_latency},
                                      {"tls_resumed", &s->tls_resumed},
                                      {"tls_full", &s->tls_full},
                                      {"reconnects", &s->reconnects},
                                      {"messages_sent", &s->messages_sent},
                                      {"messages_acked", &s->messages_acked},
                                      {"messages_received", &s->messages_received},
                                      {"publish_errors", &s->publish_errors},
                                      {"publish_latency", &s->publish_latency},
                                      {"publish_latency_raw", &s->publish_latency_raw},
                                      {"bytes_sent", &s->bytes_sent},
                                      {"bytes_received", &s->bytes_received},
                                      {"requests", &s->requests},
                                      {"request_errors", &s->request_errors},
                                      {"request_latency", &s->request_latency},
                                      {"request_latency_raw", &s->request_latency_raw},
                                      {"http_retries", &s->http_retries},
                                      {"credential_refreshes", &s->credential_refreshes},
                                      {"devices_online", &s->devices_online},
                                      {"http_connections", &s->http_connections},
                                      {"connect_rate_limit", &s->connect_rate_limit}};
    return series_make(t->env.metrics, t->tags, all, sizeof all / sizeof *all, err);
}

void http_count_failure(struct http_target *t, enum error_code reason)
{
    series_count_reason(t->env.metrics, t->tags, &t->series.reasons, IOTIX_CONNECT_FAILURE, reason);
}

void http_count_unanswered(struct http_target *t, enum error_code reason)
{
    series_count_tagged(t->env.metrics, t->tags, &t->series.request_failures[reason], "request_failures", "reason",
                        error_code_name(reason));
}

void http_count_status(struct http_target *t, unsigned status)
{
    static const char *const classes[] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
    unsigned class = status / 100;
    if (status >= 100 && status < 600)
        series_count_tagged(t->env.metrics, t->tags, &t->series.responses[class], "responses", "status",
                            classes[class]);
}

// --- names and turns ----------------------------------------------------------------------------------------------

static void on_resolve_again(struct timer *timer, void *loop)
{
    (void)loop;
    http_target_wake(container_of(timer, struct http_target, resolve_timer));
}

static void resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct http_target *t = arg;
    struct error why;
    t->ticket = 0;
    t->n_addrs = t->preferred = 0;
    for (unsigned i = 0; i < n && t->n_addrs < HTTP_MAX_ADDRS; i++)
        if (sources_have(t->sources, addrs[i].addr.ss_family))
            t->addrs[t->n_addrs++] = addrs[i];
    t->resolve = t->n_addrs ? HTTP_RESOLVED : HTTP_UNRESOLVED;
    if (t->n_addrs) {
        http_target_wake(t);
        return;
    }
    if (n)
        error_set(&why, ERR_INVALID, "%s has no address of the family of `source`", t->url.host);
    else
        why = *err;
    struct http_node failed;
    http_list_create(&failed);
    while (!http_list_empty(&t->waiting)) { // what is asked for from inside an event waits for the next answer
        struct http_node *node = t->waiting.next;
        http_list_remove(node);
        http_list_append(&failed, node);
    }
    while (!http_list_empty(&failed)) {
        struct adapter_conn *c = container_of(failed.next, struct adapter_conn, waiting);
        http_list_remove(&c->waiting);
        c->busy = false;
        http_conn_unreachable(c, &why);
    }
    if (!http_list_empty(&t->waiting))
        loop_timer_start(t->env.loop, &t->resolve_timer, RESOLVE_AGAIN_US, on_resolve_again);
}

static void on_pacer(struct timer *timer, void *loop)
{
    (void)loop;
    http_target_wake(container_of(timer, struct http_target, pacer_timer));
}

static void start_waiting(struct http_target *t)
{
    if (http_list_empty(&t->waiting) || t->resolve == HTTP_RESOLVING || timer_pending(&t->resolve_timer))
        return;
    if (t->resolve == HTTP_UNRESOLVED) {
        t->resolve = HTTP_RESOLVING;
        uint64_t ticket = resolver_lookup(t->env.resolver, t->url.host, t->url.port, resolved, t);
        if (t->resolve == HTTP_RESOLVING)
            t->ticket = ticket;
        if (t->resolve != HTTP_RESOLVED)
            return;
    }
    int64_t now = loop_now_us(t->env.loop), retry_us = -1;
    unsigned pool = t->options.max_connections;
    while (!http_list_empty(&t->waiting)) {
        if (pool && t->shared.active >= pool * (t->shared.h2 ? HTTP_STREAMS : 1))
            return; // the end of a request wakes this
        bool connects = !pool || t->shared.active >= t->shared.sockets;
        if (connects && !pacer_allows(&t->pacer, now, &retry_us)) {
            if (retry_us >= 0)
                loop_timer_start(t->env.loop, &t->pacer_timer, retry_us, on_pacer);
            return;
        }
        struct adapter_conn *c = container_of(t->waiting.next, struct adapter_conn, waiting);
        http_list_remove(&c->waiting);
        c->busy = false;
        http_conn_start(c);
    }
}

// End of the turn. Bounded by what was there at its begin: an owner may ask again from inside an event for ever.
static void work(struct loop_hook *hook, struct loop *loop)
{
    struct http_target *t = container_of(hook, struct http_target, hook);
    (void)loop;
    if (!http_list_empty(&t->due)) {
        struct http_node *last = t->due.prev, *node;
        do {
            node = t->due.next;
            bool end = node == last;
            http_list_remove(node);
            http_conn_work(container_of(node, struct adapter_conn, due));
            if (end)
                break;
        } while (!http_list_empty(&t->due));
    }
    start_waiting(t);
    for (struct http_multi *m = t->multis; m; m = m->next)
        if (m->dirty) {
            m->dirty = false;
            http_multi_run(m, CURL_SOCKET_TIMEOUT, 0);
        }
    if (!http_list_empty(&t->due))
        loop_again(t->env.loop);
}

void http_target_wake(struct http_target *t)
{
    loop_again(t->env.loop);
}

// --- making one -----------------------------------------------------------------------------------------------------

// "Name: value" lines of the target behind those of a request, made once.
static int make_headers(struct http_target *t, struct error *err)
{
    static const char agent[] = "User-Agent: iotix/" IOTIX_VERSION;
    const struct http_options *o = &t->options;
    bool has_agent = false;
    size_t bytes = sizeof agent + sizeof t->host_line;
    for (unsigned i = 0; i < o->n_headers; i++)
        bytes += o->headers[i].name_len + o->headers[i].value_len + 3;
    t->header_text = malloc(bytes);
    t->header_nodes = calloc(o->n_headers + 2, sizeof *t->header_nodes);
    if (!t->header_text || !t->header_nodes)
        return error_set(err, ERR_NO_MEMORY, "no memory for headers");
    char *at = t->header_text;
    unsigned n = 0;
    for (unsigned i = 0; i < o->n_headers; i++) {
        const struct adapter_property *h = &o->headers[i];
        has_agent |= h->name_len == 10 && strncasecmp(h->name, "User-Agent", 10) == 0;
        t->header_nodes[n++].data = at;
        at +=
            1 + snprintf(at, bytes - (size_t)(at - t->header_text), h->value_len ? "%s: %s" : "%s;", h->name, h->value);
    }
    if (!has_agent) {
        t->header_nodes[n++].data = at;
        at += 1 + snprintf(at, bytes - (size_t)(at - t->header_text), "%s", agent);
    }
    if (t->host_line[0])
        t->header_nodes[n++].data = t->host_line;
    for (unsigned i = 0; i + 1 < n; i++)
        t->header_nodes[i].next = &t->header_nodes[i + 1];
    t->headers = n ? t->header_nodes : NULL;
    return 0;
}

static int make_origin(struct http_target *t, struct error *err)
{
    const struct url *u = &t->url;
    bool v6 = strchr(u->host, ':') != NULL;
    char host[270], port[8] = "";
    const char *name = t->options.tls ? json_string_value(json_object_get(t->options.tls, "serverName")) : NULL;
    if (u->port != (t->tls ? 443 : 80))
        snprintf(port, sizeof port, ":%u", u->port);
    snprintf(host, sizeof host, v6 ? "[%s]" : "%s", u->host);
    snprintf(t->origin, sizeof t->origin, "%s://%s%s", u->scheme, host, port);
    if (name && t->tls) {
        if (strlen(name) > 253 || strpbrk(name, "/?#@:\\ ") || !*name)
            return error_set(err, ERR_INVALID, "tls.serverName: expected the name of a host, got \"%.80s\"", name);
        snprintf(t->host_line, sizeof t->host_line, "Host: %s%s", host, port);
        snprintf(t->url_host, sizeof t->url_host, "%s://%s%s", u->scheme, name, port);
    } else {
        snprintf(t->url_host, sizeof t->url_host, "%s", t->origin);
    }
    if (strpbrk(u->path, "?#"))
        return error_set(err, ERR_INVALID, "the URL of an HTTP target has no query: expected %s/PATH", t->origin);
    snprintf(t->base, sizeof t->base, "%s", u->path);
    size_t n = strlen(t->base);
    while (n && t->base[n - 1] == '/')
        t->base[--n] = '\0';
    return 0;
}

static int make(struct http_target *t, const char *url, const json_t *options, const char *group, struct error *err)
{
    char shown[300];
    if (http_options_parse(options, &t->options, err) < 0 || url_parse(url, "http", &t->url, err) < 0)
        return -1;
    t->tls = strcmp(t->url.scheme, "https") == 0;
    if (!t->tls && strcmp(t->url.scheme, "http") != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: expected http:// or https://",
                         url_redact(url, shown, sizeof shown));
    if (make_origin(t, err) < 0 || make_headers(t, err) < 0)
        return -1;
    if (series_tags(t->tags, "http", group, err) < 0)
        return -1;
    if (!t->tls && t->options.tls)
        return error_set(err, ERR_INVALID, "http option tls: %s is without TLS, use https://", t->origin);
    if (!(t->sources = sources_new(t->options.source, hash_bytes(group, strlen(group), 0), err)) ||
        http_series_make(t, err) < 0 || (t->tls && http_tls_create(t, err) < 0))
        return -1;
    pacer_create(&t->pacer, &t->options.pacer, t->series.connect_rate_limit);
    return 0;
}

struct adapter_target *http_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err)
{
    struct http_target *t = calloc(1, sizeof *t);
    if (!t || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        error_set(err, ERR_NO_MEMORY, "no memory for an HTTP target");
        free(t);
        return NULL;
    }
    t->env = *env;
    t->complained_us = t->path_complained_us = INT64_MIN / 2;
    t->next_id = 16; // below: addresses with a meaning of their own
    t->shared.id = t->next_id++;
    http_list_create(&t->due);
    http_list_create(&t->waiting);
    t->hook.priority = 15; // after the Lua tasks (10), before the links write (20)
    t->hook.fn = work;
    loop_hook_add(env->loop, &t->hook);
    if (make(t, url, options, group, err) == 0)
        return (struct adapter_target *)t;
    http_target_delete((struct adapter_target *)t);
    return NULL;
}

void http_target_delete(struct adapter_target *target)
{
    struct http_target *t = (struct http_target *)target;
    if (!t)
        return;
    http_endpoints_delete(t->endpoints);
    if (t->resolve == HTTP_RESOLVING && t->ticket)
        resolver_cancel(t->env.resolver, t->ticket);
    loop_timer_stop(t->env.loop, &t->pacer_timer);
    loop_timer_stop(t->env.loop, &t->resolve_timer);
    loop_hook_remove(t->env.loop, &t->hook);
    for (unsigned i = 0; i < t->n_easies; i++)
        curl_easy_cleanup(t->easies[i]);
    for (struct http_multi *m = t->multis, *next; m; m = next) {
        next = m->next;
        curl_loop_destroy(&m->on_loop); // closes the sockets, which stops their watchers
        free(m);
    }
    http_exchange_free_spares(t);
    free(t->sockets);
    http_tls_destroy(t);
    sources_delete(t->sources);
    free(t->header_text);
    free(t->header_nodes);
    http_options_destroy(&t->options);
    free(t);
    curl_global_cleanup();
}
