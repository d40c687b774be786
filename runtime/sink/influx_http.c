// Requests to InfluxDB. One easy handle a post, used again and again, so that its connection lives on.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/jsonx.h"
#include "sink/influx.h"

#define CONNECT_MS 5000L

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct influx_post *p = arg;
    (void)size;
    if (p->reply.len + n <= p->reply.cap && buf_append(&p->reply, bytes, n))
        return 0;
    return n; // what is beyond the cap says nothing more
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
    struct influx_post *p = arg;
    static const char name[] = "retry-after:";
    (void)size;
    if (n > sizeof(name) && strncasecmp(bytes, name, sizeof(name) - 1) == 0) {
        const char *value = bytes + sizeof(name) - 1;
        size_t len = n - (sizeof(name) - 1);
        while (len && (*value == ' ' || *value == '\t'))
            value++, len--;
        while (len && (value[len - 1] == '\r' || value[len - 1] == '\n' || value[len - 1] == ' '))
            len--;
        snprintf(p->retry_after, sizeof(p->retry_after), "%.*s", (int)len, value);
    }
    return n;
}

static int set_credentials(const struct influx *s, struct influx_post *p)
{
    char line[2200];
    if (s->token) {
        if (snprintf(line, sizeof(line), "Authorization: Token %s", s->token) >= (int)sizeof(line))
            return -1;
        struct curl_slist *more = curl_slist_append(p->headers, line);
        if (!more)
            return -1;
        p->headers = more;
    } else if (s->o.username) {
        curl_easy_setopt(p->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(p->easy, CURLOPT_USERNAME, s->o.username);
        curl_easy_setopt(p->easy, CURLOPT_PASSWORD, s->password ? s->password : "");
    }
    return 0;
}

static void set_up(struct influx *s, struct influx_post *p)
{
    CURL *e = p->easy;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(s->o.timeout_us / 1000));
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, p);
    curl_easy_setopt(e, CURLOPT_PRIVATE, p);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "iotix/" IOTIX_VERSION);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, (long)s->o.verify);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, s->o.verify ? 2L : 0L);
    if (s->o.ca)
        curl_easy_setopt(e, CURLOPT_CAINFO, s->o.ca);
    if (s->o.cert) {
        curl_easy_setopt(e, CURLOPT_SSLCERT, s->o.cert);
        curl_easy_setopt(e, CURLOPT_SSLKEY, s->o.key);
    }
}

int influx_post_create(struct influx *s, struct influx_post *p, struct error *err)
{
    p->influx = s;
    buf_create(&p->reply, INFLUX_REPLY_MAX);
    buf_create(&p->text, 8192);
    p->easy = curl_easy_init();
    // Without "Expect: 100-continue": a server that refuses says so soon enough.
    p->headers = p->easy ? curl_slist_append(NULL, "Expect:") : NULL;
    if (!p->headers || set_credentials(s, p))
        return error_set(err, ERR_NO_MEMORY, "no memory for requests, or the token is too long");
    set_up(s, p);
    return 0;
}

void influx_post_destroy(struct influx_post *p)
{
    if (!p->easy)
        return;
    influx_post_cancel(p);
    curl_easy_cleanup(p->easy);
    curl_slist_free_all(p->headers);
    buf_destroy(&p->reply);
    buf_destroy(&p->text);
    p->easy = NULL;
}

void influx_post_cancel(struct influx_post *p)
{
    if (p->busy)
        curl_multi_remove_handle(p->influx->curl.multi, p->easy);
    p->busy = false;
}

static int escaped(struct buf *out, const char *key, const char *text)
{
    char *e = curl_easy_escape(NULL, text, 0);
    int rc = e ? buf_printf(out, "%c%s=%s", strchr((char *)out->data, '?') ? '&' : '?', key, e) : -1;
    curl_free(e);
    return rc;
}

static int url_begin(const struct influx *s, struct buf *url, const char *path)
{
    buf_create(url, 16384);
    return buf_printf(url, "%s%s", s->o.url, path) || !buf_cstr(url) ? -1 : 0;
}

static int with(struct buf *url, const char *key, const char *text)
{
    (void)buf_cstr(url);
    return text ? escaped(url, key, text) : 0;
}

static int begin(struct influx_post *p, struct buf *url, int failed)
{
    buf_clear(&p->reply);
    p->retry_after[0] = 0;
    if (!failed)
        curl_easy_setopt(p->easy, CURLOPT_URL, buf_cstr(url));
    buf_destroy(url);
    if (failed || curl_multi_add_handle(p->influx->curl.multi, p->easy) != CURLM_OK)
        return -1;
    p->busy = true;
    return 0;
}

static void set_body(struct influx_post *p, const void *bytes, size_t n, const char *type, bool gzip)
{
    char line[80];
    struct curl_slist *list = NULL;
    for (const struct curl_slist *h = p->headers; h; h = h->next) // but for what the last request had of its own
        if (strncasecmp(h->data, "Content-", 8) != 0)
            list = curl_slist_append(list, h->data);
    snprintf(line, sizeof(line), "Content-Type: %s", type);
    list = curl_slist_append(list, line);
    if (gzip)
        list = curl_slist_append(list, "Content-Encoding: gzip");
    curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, list);
    curl_slist_free_all(p->headers);
    p->headers = list;
    curl_easy_setopt(p->easy, CURLOPT_CUSTOMREQUEST, NULL);
    curl_easy_setopt(p->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, (const char *)bytes);
}

int influx_post_write(struct influx_post *p, struct influx_batch *b)
{
    const struct influx *s = p->influx;
    struct buf url;
    int failed = url_begin(s, &url, s->o.api == 1 ? "/write" : "/api/v2/write");
    if (s->o.api == 1)
        failed =
            failed || with(&url, "db", s->o.database) || with(&url, "rp", s->o.policy) || with(&url, "precision", "ns");
    else
        failed =
            failed || with(&url, "org", s->o.org) || with(&url, "bucket", s->o.bucket) || with(&url, "precision", "ns");
    p->batch = b;
    set_body(p, b->body.data, b->body.len, "text/plain; charset=utf-8", b->gzip);
    return begin(p, &url, failed);
}

// An identifier of InfluxQL.
static int quoted(struct buf *out, const char *name)
{
    int rc = buf_append_char(out, '"');
    for (; *name && rc == 0; name++)
        rc = (*name == '"' || *name == '\\' ? buf_append_char(out, '\\') : 0) || buf_append_char(out, *name) ? -1 : 0;
    return rc || buf_append_char(out, '"') ? -1 : 0;
}

static int database_query(const struct influx *s, struct influx_post *p)
{
    struct buf q;
    buf_create(&q, 4096);
    int failed = buf_append_str(&q, "CREATE DATABASE ") || quoted(&q, s->o.database);
    if (s->o.retention_us || s->o.policy) {
        if (s->o.retention_us)
            failed =
                failed || buf_printf(&q, " WITH DURATION %llds", (long long)((s->o.retention_us + 999999) / 1000000));
        else
            failed = failed || buf_append_str(&q, " WITH DURATION INF");
        failed =
            failed || buf_append_str(&q, " REPLICATION 1 NAME ") || quoted(&q, s->o.policy ? s->o.policy : "iotix");
    }
    char *e = failed ? NULL : curl_easy_escape(NULL, (const char *)q.data, (int)q.len);
    failed = !e || buf_printf(&p->text, "q=%s", e);
    curl_free(e);
    buf_destroy(&q);
    return failed;
}

static int bucket_body(const struct influx *s, struct influx_post *p)
{
    json_t *v = json_pack("{s:s, s:s, s:o}", "orgID", s->org_id, "name", s->o.bucket, "retentionRules",
                          s->o.retention_us ? json_pack("[{s:s, s:I}]", "type", "expire", "everySeconds",
                                                        (json_int_t)((s->o.retention_us + 999999) / 1000000))
                                            : json_array());
    int rc = v ? json_write(v, &p->text, NULL) : -1;
    json_decref(v);
    return rc;
}

int influx_post_errand(struct influx_post *p, enum influx_errand errand)
{
    static const char *const paths[] = {"/health", "/ping", "/query", "/api/v2/orgs", "/api/v2/buckets"};
    const struct influx *s = p->influx;
    struct buf url;
    int failed = url_begin(s, &url, paths[errand]);
    buf_clear(&p->text);
    if (errand == ERRAND_DATABASE)
        failed = failed || database_query(s, p);
    else if (errand == ERRAND_BUCKET)
        failed = failed || bucket_body(s, p);
    else if (errand == ERRAND_ORG)
        failed = failed || with(&url, "org", s->o.org);
    if (errand == ERRAND_DATABASE || errand == ERRAND_BUCKET)
        set_body(p, p->text.data, p->text.len,
                 errand == ERRAND_BUCKET ? "application/json" : "application/x-www-form-urlencoded", false);
    else
        curl_easy_setopt(p->easy, CURLOPT_HTTPGET, 1L);
    if (errand != ERRAND_DATABASE && errand != ERRAND_BUCKET)
        curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers);
    return begin(p, &url, failed);
}
