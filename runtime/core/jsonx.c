#include "core/jsonx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

// jansson's own limit is 2048 levels and not configurable: count brackets outside of strings first. Returns the line
// and column where the nesting becomes too deep, or 0.
static bool too_deep(const char *text, size_t n, int *line, int *column)
{
    int depth = 0;
    bool in_string = false;
    *line = 1;
    *column = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\n') {
            ++*line;
            *column = 0;
            continue;
        }
        ++*column;
        if (in_string) {
            if (c == '\\' && i + 1 < n && text[i + 1] != '\n') {
                i++;
                ++*column;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

json_t *json_parse(const char *text, size_t n, const char *what, struct error *err)
{
    int line, column;
    if (too_deep(text, n, &line, &column)) {
        error_set(err, ERR_INVALID, "%s:%d:%d: nested deeper than %d levels", what, line, column, MAX_DEPTH);
        return NULL;
    }
    json_error_t why;
    // Without JSON_DISABLE_EOF_CHECK trailing text is an error, without JSON_ALLOW_NUL so is \u0000.
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!v)
        error_set(err, json_error_code(&why) == json_error_out_of_memory ? ERR_NO_MEMORY : ERR_INVALID, "%s:%d:%d: %s",
                  what, why.line, why.column, why.text);
    return v;
}

json_t *json_text(const char *bytes, size_t n)
{
    static const char replacement[] = "\xef\xbf\xbd";
    char *clean = malloc(3 * n + 1);
    size_t used = 0;
    for (size_t i = 0, len; clean && i < n; i += len ? len : 1) {
        len = bytes[i] ? utf8_length(bytes + i, n - i) : 0; // NUL: json_parse takes none
        const char *from = len ? bytes + i : replacement;
        size_t k = len ? len : sizeof(replacement) - 1;
        memcpy(clean + used, from, k);
        used += k;
    }
    json_t *text = clean ? json_stringn(clean, used) : NULL;
    free(clean);
    return text;
}

json_t *json_text_of(const char *s)
{
    return json_text(s ? s : "", s ? strlen(s) : 0);
}

static int append_chunk(const char *bytes, size_t n, void *arg)
{
    return buf_append(arg, bytes, n);
}

int json_write(const json_t *v, struct buf *out, struct error *err)
{
    uint32_t before = out->len;
    if (json_dump_callback(v, append_chunk, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return 0;
    out->len = before;
    return error_set(err, ERR_LIMIT, "cannot write JSON: more than %u bytes, or not a JSON value", out->cap);
}

json_t *json_num(double v)
{
    if (!isfinite(v))
        return json_null();
    return fabs(v) <= 0x1p53 && v == floor(v) ? json_integer((json_int_t)v) : json_real(v);
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static int wrong_type(const char *key, const char *expected, const json_t *got, struct error *err)
{
    return error_set(err, ERR_INVALID, "%s: expected %s, got %s", key, expected, type_name(got));
}

int json_get_str(const json_t *obj, const char *key, const char *dflt, const char **out, struct error *err)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_string(v))
        return wrong_type(key, "a string", v, err);
    *out = v ? json_string_value(v) : dflt;
    return 0;
}

int json_get_int(const json_t *obj, const char *key, int64_t dflt, int64_t *out, struct error *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v) {
        *out = dflt;
        return 0;
    }
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return 0;
    }
    // JSON does not tell 1.0 from 1: a writer in another language may print either.
    double d = json_is_real(v) ? json_real_value(v) : NAN;
    if (d >= -0x1p53 && d <= 0x1p53 && d == floor(d)) {
        *out = (int64_t)d;
        return 0;
    }
    return wrong_type(key, "an integer", v, err);
}

int json_get_num(const json_t *obj, const char *key, double dflt, double *out, struct error *err)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_number(v))
        return wrong_type(key, "a number", v, err);
    *out = v ? json_number_value(v) : dflt;
    return 0;
}

int json_get_bool(const json_t *obj, const char *key, bool dflt, bool *out, struct error *err)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_boolean(v))
        return wrong_type(key, "a boolean", v, err);
    *out = v ? json_is_true(v) : dflt;
    return 0;
}
