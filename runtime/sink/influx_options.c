// Options of the influx sink, of a table or of a target "http://host:8086/database?gzip=false". Durations come out in
// microseconds, sizes in bytes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"
#include "core/units.h"
#include "link/url.h"
#include "sink/influx.h"
#include "sink/options.h"

#define YEAR_US ((int64_t)366 * 86400 * 1000000)

static const char *const keys[] = {
    "url",       "api",      "database",    "retentionPolicy", "org",    "bucket",  "token",
    "tokenRef",  "username", "password",    "passwordRef",     "create", "gzip",    "events",
    "retention", "batch",    "connections", "memory",          "flush",  "timeout", "statsInterval",
    "spill",     "spillMax", "full",        "measurement",     "tags",   "ca",      "cert",
    "key",       "verify",   NULL};

// "http://user:password@host:8086/database?bucket=…" → options.
static json_t *from_target(const char *target, struct error *err)
{
    json_t *o = json_object();
    struct url url;
    char base[1200];
    const char *query = strchr(target, '?');
    char *plain = query ? strndup(target, (size_t)(query - target)) : strdup(target);
    if (!o || !plain || url_parse(plain, "http", &url, err))
        goto failed;
    bool v6 = strchr(url.host, ':') != NULL;
    snprintf(base, sizeof(base), "%s://%s%s%s:%u", url.scheme, v6 ? "[" : "", url.host, v6 ? "]" : "", url.port);
    json_object_set_new(o, "url", json_string(base));
    const char *path = url.path[0] == '/' ? url.path + 1 : url.path;
    if (*path && json_object_set_new(o, "database", json_string(path)))
        goto failed;
    if (*url.user)
        json_object_set_new(o, "username", json_string(url.user));
    if (*url.password)
        json_object_set_new(o, "password", json_string(url.password));
    if (query && sink_query(query + 1, o, err))
        goto failed;
    free(plain);
    return o;
failed:
    free(plain);
    json_decref(o);
    return NULL;
}

static void read_url(struct sink_fields *f)
{
    struct url url;
    struct error why;
    const char *text = json_string_value(json_object_get(f->out, "url"));
    char clean[1300];
    if (f->failed)
        return;
    if (!text)
        sink_fail(f, "url is missing: where InfluxDB listens, such as http://127.0.0.1:8086");
    else if (url_parse(text, "http", &url, &why))
        sink_fail(f, "url: %s", why.text);
    else if (strcmp(url.scheme, "http") != 0 && strcmp(url.scheme, "https") != 0)
        sink_fail(f, "url: expected http:// or https://");
    else if (*url.user || *url.password)
        sink_fail(f, "url: give username and password apart from it");
    if (f->failed)
        return;
    snprintf(clean, sizeof(clean), "%s", text);
    for (size_t n = strlen(clean); n && clean[n - 1] == '/'; n--)
        clean[n - 1] = 0;
    json_object_set_new(f->out, "url", json_string(clean));
}

static bool has(const struct sink_fields *f, const char *key)
{
    return json_object_get(f->out, key) != NULL;
}

// Which of the two it speaks: what is named says so.
static void read_api(struct sink_fields *f)
{
    static const char *const names[] = {"auto", "1", "2", NULL};
    const json_t *v = json_object_get(f->in, "api");
    char text[16] = "auto";
    if (f->failed)
        return;
    if (json_is_number(v))
        snprintf(text, sizeof(text), "%.4g", json_number_value(v));
    else if (json_is_string(v))
        snprintf(text, sizeof(text), "%s", json_string_value(v));
    int i = 0;
    while (names[i] && strcmp(names[i], text) != 0)
        i++;
    if (!names[i] || (v && !json_is_null(v) && !json_is_number(v) && !json_is_string(v))) {
        f->failed = option_expected("influx sink: api", "1 (versions 1.x) or 2 (versions 2.x and 3.x)", v, f->err);
        return;
    }
    unsigned api = i ? (unsigned)i : has(f, "bucket") || has(f, "org") ? 2 : 1;
    if (api == 1 && !has(f, "database"))
        sink_fail(f, "database is missing (for versions 2.x and 3.x: bucket, with org), such as "
                     "http://127.0.0.1:8086/iotix");
    else if (api == 1 && (has(f, "bucket") || has(f, "org")))
        sink_fail(f, "bucket and org are of versions 2.x and 3.x: leave them out, or the database and api = 1");
    else if (api == 2 && !has(f, "bucket"))
        sink_fail(f, "bucket is missing");
    else if (api == 2 && (has(f, "database") || has(f, "retentionPolicy")))
        sink_fail(f, "database and retentionPolicy are of versions 1.x: with a bucket there is none");
    else if (api == 2 && (has(f, "username") || has(f, "password") || has(f, "passwordRef")))
        sink_fail(f, "versions 2.x and 3.x take a token, no username and password");
    if (!f->failed)
        json_object_set_new(f->out, "api", json_string(api == 1 ? "1" : "2"));
}

static void read_tags(struct sink_fields *f)
{
    const json_t *tags = json_object_get(f->in, "tags");
    const char *key;
    json_t *value;
    if (f->failed || !tags || json_is_null(tags))
        return;
    if (!json_is_object(tags) && !(json_is_array(tags) && json_array_size(tags) == 0)) {
        f->failed = option_expected("influx sink: tags", "names and texts", tags, f->err);
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)tags, key, value)
    {
        if (!*key || !json_is_string(value) || !*json_string_value(value))
            sink_fail(f, "tags: %.60s: expected a text", key);
    }
    if (!f->failed)
        json_object_set_new(f->out, "tags", json_deep_copy(tags));
}

static void read_all(struct sink_fields *f)
{
    static const char *const texts[] = {"url",      "database", "retentionPolicy", "org", "bucket", "token", "tokenRef",
                                        "username", "password", "passwordRef",     "ca",  "cert",   "key"};
    static const char *const full[] = {"block", "drop", NULL};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        sink_text(f, texts[i], NULL);
    read_url(f);
    read_api(f);
    read_tags(f);
    sink_text(f, "measurement", "telemetry");
    sink_bool(f, "create", true);
    sink_bool(f, "gzip", true);
    sink_bool(f, "events", true);
    sink_bool(f, "verify", true);
    sink_duration(f, "retention", 0, 0, 100 * YEAR_US);
    sink_duration(f, "flush", 1000000, 10000, 60000000);
    sink_duration(f, "timeout", 10000000, 100000, 600000000);
    sink_duration(f, "statsInterval", 5000000, 100000, 3600000000);
    sink_count(f, "batch", 5000, 1, 100000);
    sink_count(f, "connections", 2, 1, INFLUX_POSTS_MAX);
    sink_size(f, "memory", 64u << 20, 1u << 20, 1u << 30);
    sink_text_or_false(f, "spill", "iotix-spill");
    sink_size(f, "spillMax", SPILL_MAX_BYTES, SPILL_SEGMENT_BYTES, (uint64_t)1 << 40);
    sink_choice(f, "full", "block", full);
    if (!f->failed && has(f, "token") && has(f, "tokenRef"))
        sink_fail(f, "token and tokenRef: give one of them");
    if (!f->failed && has(f, "password") && has(f, "passwordRef"))
        sink_fail(f, "password and passwordRef: give one of them");
    if (!f->failed && (has(f, "cert") != has(f, "key")))
        sink_fail(f, "cert and key: give both of them, or none");
}

json_t *influx_parse(const char *target, const json_t *options, struct error *err)
{
    json_t *own = target ? from_target(target, err) : NULL;
    struct sink_fields f = {.type = "influx", .in = target ? own : options, .out = json_object(), .err = err};
    if ((target && !own) || !f.out)
        f.failed = target && !own ? error_prefix(err, "influx sink") : error_set(err, ERR_NO_MEMORY, "out of memory");
    if (!f.failed && f.in && option_object("influx sink", f.in, "a table of options", keys, err))
        f.failed = -1;
    read_all(&f);
    json_decref(own);
    if (!f.failed)
        return f.out;
    json_decref(f.out);
    return NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static int64_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

void influx_read_options(const json_t *o, struct influx_options *out)
{
    *out = (struct influx_options){
        .url = text_of(o, "url"),
        .api = text_of(o, "api")[0] == '2' ? 2 : 1,
        .database = text_of(o, "database"),
        .policy = text_of(o, "retentionPolicy"),
        .org = text_of(o, "org"),
        .bucket = text_of(o, "bucket"),
        .token = text_of(o, "token"),
        .token_ref = text_of(o, "tokenRef"),
        .username = text_of(o, "username"),
        .password = text_of(o, "password"),
        .password_ref = text_of(o, "passwordRef"),
        .create = json_is_true(json_object_get(o, "create")),
        .gzip = json_is_true(json_object_get(o, "gzip")),
        .events = json_is_true(json_object_get(o, "events")),
        .retention_us = number_of(o, "retention"),
        .batch = (uint32_t)number_of(o, "batch"),
        .connections = (uint32_t)number_of(o, "connections"),
        .memory = (uint32_t)number_of(o, "memory"),
        .flush_us = number_of(o, "flush"),
        .timeout_us = number_of(o, "timeout"),
        .stats_us = number_of(o, "statsInterval"),
        .spill = text_of(o, "spill"),
        .spill_max = (uint64_t)number_of(o, "spillMax"),
        .block = strcmp(text_of(o, "full"), "block") == 0,
        .measurement = text_of(o, "measurement"),
        .tags = json_object_get(o, "tags"),
        .ca = text_of(o, "ca"),
        .cert = text_of(o, "cert"),
        .key = text_of(o, "key"),
        .verify = json_is_true(json_object_get(o, "verify")),
    };
}
