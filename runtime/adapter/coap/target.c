#include "adapter/coap/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/conn.h"
#include "adapter/coap/log_bridge.h"

#define IDENTITY_MAX (600u << 10)

void coap_list_append(struct coap_list *list, struct coap_conn *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
    list->n++;
}

void coap_list_remove(struct coap_list *list, struct coap_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        list->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
    c->next = c->prev = NULL;
    list->n--;
}

static int make_series(struct coap_target *t, struct error *err)
{
    struct coap_series *s = &t->series;
    const struct series_wish all[] = {{"connects", &s->connects},
                                      {"connect_errors", &s->connect_errors},
                                      {"connect_latency", &s->connect_latency},
                                      {"connect_latency_raw", &s->connect_latency_raw},
                                      {"connect_wait", &s->connect_wait},
                                      {"tcp_latency", &s->tcp_latency},
                                      {"tls_latency", &s->tls_latency},
                                      {"reconnects", &s->reconnects},
                                      {"messages_sent", &s->messages_sent},
                                      {"messages_acked", &s->messages_acked},
                                      {"messages_received", &s->messages_received},
                                      {"publish_errors", &s->publish_errors},
                                      {"publish_latency", &s->publish_latency},
                                      {"publish_latency_raw", &s->publish_latency_raw},
                                      {"subscribe_latency", &s->subscribe_latency},
                                      {"bytes_sent", &s->bytes_sent},
                                      {"bytes_received", &s->bytes_received},
                                      {"requests", &s->requests},
                                      {"request_errors", &s->request_errors},
                                      {"request_latency", &s->request_latency},
                                      {"request_latency_raw", &s->request_latency_raw},
                                      {"coap_retransmissions", &s->retransmissions},
                                      {"coap_timeouts", &s->timeouts},
                                      {"coap_resets", &s->resets},
                                      {"coap_duplicates", &s->duplicates},
                                      {"coap_malformed", &s->malformed},
                                      {"requests_served", &s->served},
                                      {"devices_online", &s->devices_online},
                                      {"connect_rate_limit", &s->connect_rate_limit}};
    return series_make(t->env.metrics, t->tags, all, sizeof all / sizeof *all, err);
}

void coap_count_reason(struct coap_target *t, enum coap_reasoned what, enum error_code reason)
{
    series_count_reason(t->env.metrics, t->tags, &t->series.reasons, (enum iotix_reason)what, reason);
}

void coap_count_response(struct coap_target *t, unsigned code)
{
    static const char *const classes[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx"};
    unsigned class = code >> 5 & 7;
    series_count_tagged(t->env.metrics, t->tags, &t->series.responses[class], "responses", "status", classes[class]);
}

// --- addresses ----------------------------------------------------------------------------------------------------

static void resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct coap_target *t = arg;
    struct error why;
    t->ticket = 0;
    t->n_addrs = 0;
    for (unsigned i = 0; i < n && t->n_addrs < COAP_MAX_ADDRS; i++)
        if (sources_have(t->sources, addrs[i].addr.ss_family))
            t->addrs[t->n_addrs++] = addrs[i];
    t->resolve = t->n_addrs ? COAP_RESOLVED : COAP_UNRESOLVED;
    t->preferred = 0;
    if (t->n_addrs) {
        coap_target_wake(t);
        return;
    }
    if (n)
        error_set(&why, ERR_INVALID, "%s has no address of the family of `source`", t->url.host);
    else
        why = *err;
    for (unsigned left = t->waiting.n; left && t->waiting.head; left--) {
        struct coap_conn *c = t->waiting.head;
        coap_list_remove(&t->waiting, c);
        c->state = COAP_CONNECTING;
        c->since_us = loop_now_us(t->env.loop);
        coap_conn_unreachable(c, &why);
    }
}

static void resolve(struct coap_target *t)
{
    t->resolve = COAP_RESOLVING;
    uint64_t ticket = resolver_lookup(t->env.resolver, t->url.host, t->url.port, resolved, t);
    if (t->resolve == COAP_RESOLVING)
        t->ticket = ticket;
}

// --- the end of a turn --------------------------------------------------------------------------------------------

static void on_pacing(struct timer *timer, void *loop)
{
    (void)timer;
    loop_again(loop); // the hook asks the pacer
}

static void start_waiting(struct coap_target *t)
{
    for (unsigned n = t->waiting.n; n && t->waiting.head;) {
        int64_t retry_us = -1;
        unsigned allowed = pacer_allows(&t->pacer, loop_now_us(t->env.loop), &retry_us);
        if (!allowed) {
            if (retry_us >= 0)
                loop_timer_start(t->env.loop, &t->pacing, retry_us, on_pacing);
            return;
        }
        for (; allowed && n && t->waiting.head; allowed--, n--)
            coap_conn_attempt(t->waiting.head);
    }
}

// Bounded by what was there at its begin: an owner may open again from on_offline for ever.
static void work(struct loop_hook *hook, struct loop *loop)
{
    struct coap_target *t = container_of(hook, struct coap_target, hook);
    (void)loop;
    unsigned n = 0;
    for (struct coap_conn *c = t->due.head; c; c = c->next_due)
        n++;
    for (; n && t->due.head; n--) {
        struct coap_conn *c = t->due.head;
        coap_target_undue(t, c);
        coap_conn_work(c); // may delete others in the list
    }
    if (t->waiting.n && t->resolve == COAP_UNRESOLVED)
        resolve(t);
    if (t->waiting.n && t->resolve == COAP_RESOLVED)
        start_waiting(t);
    coap_graves_clear(t);
    coap_pools_refresh(t);
    if (t->due.head)
        loop_again(t->env.loop);
}

void coap_target_wake(struct coap_target *t)
{
    loop_again(t->env.loop);
}

void coap_target_due(struct coap_target *t, struct coap_conn *c)
{
    if (c->flags & COAP_DUE)
        return;
    c->flags |= COAP_DUE;
    c->next_due = NULL;
    if (t->due.tail)
        t->due.tail->next_due = c;
    else
        t->due.head = c;
    t->due.tail = c;
    loop_again(t->env.loop);
}

void coap_target_undue(struct coap_target *t, struct coap_conn *c)
{
    struct coap_conn **at = &t->due.head, *before = NULL;
    if (!(c->flags & COAP_DUE))
        return;
    for (; *at != c; at = &(*at)->next_due)
        before = *at;
    *at = c->next_due;
    if (t->due.tail == c)
        t->due.tail = before;
    c->flags &= (uint8_t)~COAP_DUE;
}

// --- life ---------------------------------------------------------------------------------------------------------

static int choose_protocol(struct coap_target *t, struct error *err)
{
    static const struct {
        const char *scheme;
        coap_proto_t proto;
    } all[] = {{"coap", COAP_PROTO_UDP},
               {"coaps", COAP_PROTO_DTLS},
               {"coap+tcp", COAP_PROTO_TCP},
               {"coaps+tcp", COAP_PROTO_TLS}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].scheme, t->url.scheme) == 0) {
            t->proto = all[i].proto;
            return 0;
        }
    return error_set(err, ERR_INVALID, "the scheme %s is not one of coap, coaps, coap+tcp, coaps+tcp", t->url.scheme);
}

static int check_directory(const struct coap_target *t, struct error *err)
{
    const struct coap_directory_options *d = &t->options.directory;
    if (!d->host[0] || (strcmp(d->host, t->url.host) == 0 && d->port == t->url.port))
        return 0;
    return error_set(err, ERR_INVALID,
                     "coap option resourceDirectory.url: a device registers over this connection, to %s:%u; for a "
                     "directory elsewhere open a connection of its own to it",
                     t->url.host, t->url.port);
}

// What is libcoap's own to do, and cannot be done otherwise.
static int refuse_tls(const json_t *tls, struct error *err)
{
    static const struct {
        const char *key, *why;
    } all[] = {{"alpn", "the name of CoAP is \"coap\" and is sent over TLS by itself; over DTLS there is none"},
               {"resume", "sessions are not resumed by this library"},
               {"minVersion", "DTLS 1.2, and TLS 1.2 or 1.3, are what this library speaks"},
               {"maxVersion", "DTLS 1.2, and TLS 1.2 or 1.3, are what this library speaks"},
               {"ciphersuites", "those of TLS 1.3 are this library's own; `ciphers` names those of TLS 1.2 and DTLS"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (json_object_get(tls, all[i].key))
            return error_set(err, ERR_UNSUPPORTED, "coap option tls.%s: not for CoAP: %s", all[i].key, all[i].why);
    return 0;
}

static int make_transport(struct coap_target *t, struct error *err)
{
    struct transport_config config = {.loop = t->env.loop,
                                      .tls = true,
                                      .host = t->url.host,
                                      .port = t->url.port,
                                      .tls_options = t->options.tls,
                                      .credential = coap_transport_credential};
    if (refuse_tls(t->options.tls, err) < 0)
        return -1;
    if (!coap_target_secure(t))
        return t->options.tls && !json_is_null(t->options.tls)
                   ? error_set(err, ERR_INVALID, "coap option tls: %s:// is not secured; use coaps:// or coaps+tcp://",
                               t->url.scheme)
                   : 0;
    t->transport = transport_new(&config, err);
    return t->transport ? 0 : -1;
}

static int target_setup(struct coap_target *t, const char *url, const json_t *options, const char *group,
                        struct error *err)
{
    if (url_parse(url, "coap", &t->url, err) < 0 || choose_protocol(t, err) < 0)
        return -1;
    if (t->url.user[0] || t->url.password[0])
        return error_set(err, ERR_INVALID, "a CoAP URL has no user and password (RFC 7252, 6.1)");
    if (strchr(t->url.path, '?'))
        return error_set(err, ERR_INVALID, "the URL of a CoAP target has no query: give it with each path");
    if (coap_options_parse(options, coap_target_reliable(t), &t->options, err) < 0 || check_directory(t, err) < 0)
        return -1;
    url_display(&t->url, t->shown, sizeof t->shown);
    if (series_tags(t->tags, "coap", group, err) < 0 || make_series(t, err) < 0 || make_transport(t, err) < 0)
        return -1;
    if (!(t->sources = sources_new(t->options.source, hash_bytes(group, strlen(group), 0), err)))
        return error_prefix(err, "coap option source");
    // Only now: nothing of the JSON is looked at any more.
    t->options.source = t->options.tls = NULL;
    pacer_create(&t->pacer, &t->options.pacer, t->series.connect_rate_limit);
    return 0;
}

struct adapter_target *coap_target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                       const char *group, struct error *err)
{
    struct coap_target *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, ERR_NO_MEMORY, "no memory for a CoAP target");
        return NULL;
    }
    t->env = *env;
    buf_create(&t->text, IDENTITY_MAX);
    buf_create(&t->body, 64u << 20);
    coap_fields_create(&t->fields);
    coap_log_attach(env->log);
    t->hook.priority = 15; // after the Lua tasks (10), before the links write (20)
    t->hook.fn = work;
    loop_hook_add(env->loop, &t->hook);
    struct adapter_target *target = (struct adapter_target *)(void *)t;
    if (target_setup(t, url, options, group, err) == 0)
        return target;
    coap_target_delete(target);
    return NULL;
}

void coap_target_delete(struct adapter_target *target)
{
    struct coap_target *t = (void *)target;
    if (!t)
        return;
    if (t->resolve == COAP_RESOLVING)
        resolver_cancel(t->env.resolver, t->ticket);
    loop_hook_remove(t->env.loop, &t->hook);
    loop_timer_stop(t->env.loop, &t->pacing);
    coap_graves_clear(t);
    coap_pools_delete(t);
    coap_log_detach(t->env.log);
    sources_delete(t->sources);
    transport_delete(t->transport);
    coap_fields_destroy(&t->fields);
    buf_destroy(&t->text);
    buf_destroy(&t->body);
    free(t);
}
