#include "sink/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"
#include "core/units.h"

static const json_t *given(const struct sink_fields *f, const char *key)
{
    const json_t *v = json_object_get(f->in, key);
    return json_is_null(v) ? NULL : v;
}

static const char *label(const struct sink_fields *f, const char *key, char dst[100])
{
    snprintf(dst, 100, "%s sink: %s", f->type, key);
    return dst;
}

static void put(struct sink_fields *f, const char *key, json_t *stolen)
{
    if (json_object_set_new(f->out, key, stolen))
        f->failed = error_set(f->err, ERR_NO_MEMORY, "no memory for the options of a sink");
}

void sink_text(struct sink_fields *f, const char *key, const char *dflt)
{
    char name[100];
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    if (v && (!json_is_string(v) || !*json_string_value(v) || strlen(json_string_value(v)) != json_string_length(v)))
        f->failed = option_expected(label(f, key, name), "a text", v, f->err);
    else if (v || dflt)
        put(f, key, v ? json_string(json_string_value(v)) : json_string(dflt));
}

void sink_text_or_false(struct sink_fields *f, const char *key, const char *dflt)
{
    char name[100];
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    if (json_is_false(v) || (json_is_string(v) && strcmp(json_string_value(v), "false") == 0))
        return;
    if (v && !json_is_string(v))
        f->failed = option_expected(label(f, key, name), "a path, or false", v, f->err);
    else
        sink_text(f, key, dflt);
}

void sink_bool(struct sink_fields *f, const char *key, bool dflt)
{
    char name[100];
    bool yes = dflt;
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    // A command line has texts only.
    if (json_is_string(v) && (!strcmp(json_string_value(v), "true") || !strcmp(json_string_value(v), "false")))
        yes = json_string_value(v)[0] == 't';
    else if (v && option_bool(label(f, key, name), v, &yes, f->err))
        f->failed = -1;
    if (!f->failed)
        put(f, key, json_boolean(yes));
}

void sink_count(struct sink_fields *f, const char *key, uint32_t dflt, uint32_t min, uint32_t max)
{
    char name[100];
    uint32_t n = dflt;
    int64_t parsed;
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    if (json_is_string(v) && int_parse(json_string_value(v), min, max, &parsed, NULL) == 0)
        n = (uint32_t)parsed;
    else if (v && option_count(label(f, key, name), v, min, max, &n, f->err))
        f->failed = -1;
    if (!f->failed)
        put(f, key, json_integer((json_int_t)n));
}

void sink_size(struct sink_fields *f, const char *key, uint64_t dflt, uint64_t min, uint64_t max)
{
    char name[100], low[32], high[32], what[120];
    uint64_t n = dflt;
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    bool bad = false;
    if (json_is_string(v))
        bad = size_parse(json_string_value(v), &n, NULL) != 0;
    else if (json_is_integer(v) || json_is_real(v))
        n = json_number_value(v) < 0 ? 0 : (uint64_t)json_number_value(v);
    else
        bad = v != NULL;
    if (bad || n < min || n > max) {
        snprintf(what, sizeof(what), "a size from %s to %s", size_format((double)min, low, sizeof(low)),
                 size_format((double)max, high, sizeof(high)));
        f->failed = option_expected(label(f, key, name), what, v, f->err);
    } else {
        put(f, key, json_integer((json_int_t)n));
    }
}

void sink_duration(struct sink_fields *f, const char *key, int64_t dflt_us, int64_t min_us, int64_t max_us)
{
    char name[100];
    int64_t us = dflt_us;
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    if (v && option_duration(label(f, key, name), v, min_us, max_us, &us, f->err))
        f->failed = -1;
    else
        put(f, key, json_integer(us));
}

void sink_choice(struct sink_fields *f, const char *key, const char *dflt, const char *const *names)
{
    char name[100];
    const json_t *v = given(f, key);
    if (f->failed)
        return;
    int i = v ? option_choice(label(f, key, name), v, names, f->err) : 0;
    if (i < 0)
        f->failed = -1;
    else
        put(f, key, json_string(v ? names[i] : dflt));
}

void sink_fail(struct sink_fields *f, const char *fmt, ...)
{
    char text[400];
    va_list args;
    if (f->failed)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    f->failed = error_set(f->err, ERR_INVALID, "%s sink: %s", f->type, text);
}

int sink_query(const char *query, json_t *into, struct error *err)
{
    for (const char *p = query; *p; p += strcspn(p, "&"), p += *p == '&') {
        char key[64], value[1024];
        size_t n = strcspn(p, "&"), k = strcspn(p, "=&"), used = 0;
        if (k == n || k == 0 || k >= sizeof(key) || n - k > sizeof(value))
            return error_set(err, ERR_INVALID, "expected NAME=VALUE behind the ? of the target, and & between them");
        snprintf(key, sizeof(key), "%.*s", (int)k, p);
        for (const char *v = p + k + 1; v < p + n; v++) {
            char hex[3] = {v + 2 < p + n ? v[1] : 0, v + 2 < p + n ? v[2] : 0, 0};
            bool coded = *v == '%' && hex[0] && strspn(hex, "0123456789abcdefABCDEF") == 2;
            value[used++] = coded ? (char)strtoul(hex, NULL, 16) : *v == '+' ? ' ' : *v;
            v += coded ? 2 : 0;
        }
        value[used] = 0;
        if (json_object_set_new(into, key, json_string(value)))
            return error_set(err, ERR_INVALID, "option %s of the target is no UTF-8", key);
    }
    return 0;
}
