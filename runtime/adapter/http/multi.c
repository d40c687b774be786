// libcurl's multi and easy handles: how they hang on the loop.
#include <stdlib.h>
#include "adapter/http/exchange.h"
#include "adapter/http/socket.h"
#include "adapter/http/tls.h"

static void ended(void *arg, CURL *easy, CURLcode rc)
{
    char *private = NULL;
    (void)arg;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    http_exchange_ended((struct http_exchange *)(void *)private, rc);
}

void http_multi_run(struct http_multi *m, curl_socket_t fd, int events)
{
    curl_loop_run(&m->on_loop, fd, events);
}

static struct http_multi *multi_new(struct http_target *t, struct error *err)
{
    struct http_multi *m = calloc(1, sizeof *m);
    if (!m)
        error_set(err, ERR_NO_MEMORY, "no memory for libcurl");
    if (!m || curl_loop_create(&m->on_loop, t->env.loop, ended, m, err)) {
        free(m);
        return NULL;
    }
    CURLM *curl = m->on_loop.multi;
    m->target = t;
    m->curl = curl;
    unsigned pool = t->options.max_connections;
    curl_multi_setopt(curl, CURLMOPT_SOCKETFUNCTION, http_socket_watch);
    curl_multi_setopt(curl, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(curl, CURLMOPT_MAXCONNECTS, pool ? (long)pool : (long)1 << 24);
    curl_multi_setopt(curl, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    m->next = t->multis;
    t->multis = m;
    return m;
}

struct http_multi *http_multi_take(struct http_target *t, struct error *err)
{
    struct http_multi *m = t->multis;
    while (m && m->n_conns >= HTTP_CONNS_OF_MULTI && !t->options.max_connections)
        m = m->next;
    if (!m && !(m = multi_new(t, err)))
        return NULL;
    m->n_conns++;
    return m;
}

void http_multi_resize(struct http_multi *m)
{
    const struct http_target *t = m->target;
    if (t->options.max_connections)
        curl_multi_setopt(m->curl, CURLMOPT_MAXCONNECTS, (long)t->options.max_connections + (long)t->n_paths);
}

void http_multi_give(struct http_multi *m)
{
    m->n_conns--;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct http_exchange *x = arg;
    (void)size;
    http_exchange_heard(x);
    x->body_begun = true;
    if (buf_append(&x->reply, bytes, n) == 0)
        return n;
    error_set(&x->err, ERR_LIMIT, "the answer is larger than maxResponse (%u bytes)", x->reply.cap);
    return 0;
}

// What is the same for every request of the target.
static CURL *easy_new(struct http_target *t)
{
    const struct http_options *o = &t->options;
    // Without TLS nobody tells whether the server speaks HTTP/2: only when it is asked for.
    long version = o->version == HTTP_VERSION_1_1 || (o->version == HTTP_VERSION_AUTO && !t->tls)
                       ? CURL_HTTP_VERSION_1_1
                   : o->version == HTTP_VERSION_AUTO ? CURL_HTTP_VERSION_2TLS
                   : t->tls                          ? CURL_HTTP_VERSION_2_0
                                                     : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    CURL *e = curl_easy_init();
    if (!e)
        return NULL;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, ""); // nor what the environment says
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, version);
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, (long)(version != CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 0L); // made-up addresses only
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)((o->connect_timeout_us + 999) / 1000));
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, (long)!o->keep_alive_us);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, (long)((o->keep_alive_us + 999999) / 1000000));
    if (o->stall_us) {
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)((o->stall_us + 999999) / 1000000));
    }
    if (o->compression)
        curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, http_exchange_header);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, http_exchange_ready);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, http_socket_open);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, http_socket_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, t);
    if (t->tls)
        http_tls_easy(t, e);
    return e;
}

CURL *http_easy_take(struct http_target *t)
{
    return t->n_easies ? t->easies[--t->n_easies] : easy_new(t);
}

void http_easy_give(struct http_target *t, CURL *easy)
{
    if (t->n_easies < HTTP_SPARE_EASIES)
        t->easies[t->n_easies++] = easy;
    else
        curl_easy_cleanup(easy);
}
