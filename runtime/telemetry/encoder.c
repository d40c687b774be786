// Compiling an encoding: its options, the fields, and what of a message is the same every time. Writing is one switch
// an encoding; see encode.h for single values.
#include "telemetry/encoder_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "telemetry/cbor.h"

enum { MAX_TAGS = 64, MAX_NAME_BYTES = 512 * 1024 };

static const char *const names[] = {"json", "cbor", "binary", "csv", "influx", "sparkplug", NULL};

const char *encoding_name(enum encoding e)
{
    return names[e];
}

enum encoding encoder_encoding(const struct encoder *e)
{
    return e->encoding;
}

static int no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "no memory for an encoder");
}

// --- options ------------------------------------------------------------------------------------------------------

static int read_type(struct encoder *e, const json_t *spec, struct error *err)
{
    const char *type = "json";
    if (json_is_string(spec))
        type = json_string_value(spec);
    else if (json_is_object(spec) && json_get_str(spec, "type", NULL, &type, err))
        return -1;
    else if (spec && !json_is_object(spec))
        return error_set(err, ERR_INVALID, "encoding: expected a name such as \"cbor\", or an object with a type");
    if (!type)
        return error_set(err, ERR_INVALID, "encoding: an object needs a \"type\", such as \"cbor\"");
    int k = name_choose("unknown encoding", type, names, err);
    e->encoding = k < 0 ? ENCODING_JSON : (enum encoding)k;
    return k < 0 ? -1 : 0;
}

static int check_keys(const struct encoder *e, const json_t *spec, struct error *err)
{
    static const char *const valid[][5] = {
        [ENCODING_JSON] = {"type", "timestamp"},
        [ENCODING_CBOR] = {"type", "timestamp"},
        [ENCODING_BINARY] = {"type", "endian", "timestamp"},
        [ENCODING_CSV] = {"type", "delimiter", "timestamp", "header"},
        [ENCODING_INFLUX] = {"type", "measurement", "tags", "precision"},
        [ENCODING_SPARKPLUG] = {"type", "groupId", "nodeId"},
    };
    const char *key;
    json_t *value;
    char what[64];
    snprintf(what, sizeof(what), "encoding %s: unknown option", names[e->encoding]);
    json_object_foreach((json_t *)(uintptr_t)spec, key, value)
    {
        if (name_choose(what, key, valid[e->encoding], err) < 0)
            return -1;
    }
    return 0;
}

static int read_csv(struct encoder *e, const json_t *spec, struct error *err)
{
    const char *delimiter;
    if (json_get_str(spec, "delimiter", ",", &delimiter, err) || json_get_bool(spec, "header", false, &e->header, err))
        return -1;
    if (strlen(delimiter) != 1 || !csv_delimiter_valid(delimiter[0]))
        return error_set(err, ERR_INVALID,
                         "delimiter: expected one character such as \",\", \";\", \"|\" or a tab (no letter, digit, "
                         "quote, point or sign), got \"%.16s\"",
                         delimiter);
    e->delimiter = delimiter[0];
    return 0;
}

static int read_sparkplug(const json_t *spec, struct error *err)
{
    static const char *const keys[] = {"groupId", "nodeId"}; // of the topics, which the device room makes
    for (unsigned i = 0; i < 2; i++) {
        const char *text;
        if (json_get_str(spec, keys[i], "x", &text, err))
            return -1;
        if (!*text || strpbrk(text, "/+#"))
            return error_set(err, ERR_INVALID,
                             "%s: expected one level of a topic (not empty, without / + #), got \"%.64s\"", keys[i],
                             text);
    }
    return 0;
}

static int read_options(struct encoder *e, const json_t *spec, struct error *err)
{
    static const char *const endians[] = {"little", "big", NULL};
    const char *word;
    int k;
    if (!json_is_object(spec))
        spec = NULL;
    bool by_default = e->encoding == ENCODING_JSON || e->encoding == ENCODING_CBOR || e->encoding == ENCODING_CSV;
    if (check_keys(e, spec, err) || json_get_bool(spec, "timestamp", by_default, &e->timestamp, err))
        return -1;
    switch (e->encoding) {
    case ENCODING_BINARY:
        if (json_get_str(spec, "endian", "little", &word, err) || (k = name_choose("endian", word, endians, err)) < 0)
            return -1;
        e->big_endian = k == 1;
        return 0;
    case ENCODING_CSV:
        return read_csv(e, spec, err);
    case ENCODING_INFLUX:
        if (json_get_str(spec, "precision", "ns", &word, err) ||
            (k = name_choose("precision", word, influx_precisions(), err)) < 0)
            return -1;
        e->precision = (unsigned)k;
        return 0;
    case ENCODING_SPARKPLUG:
        return read_sparkplug(spec, err);
    default:
        return 0;
    }
}

// --- fields -------------------------------------------------------------------------------------------------------

static int read_format(struct encoder_slot *f, const char *format, struct error *err)
{
    static const char *const types[] = {"null", "number", "integer", "boolean", "string", "binary", "object or array"};
    enum value_type type = f->type;
    bool text = type == VALUE_STRING || type == VALUE_BINARY || type == VALUE_JSON;
    if (format && text)
        return error_set(err, ERR_INVALID, "%s: format: an attribute of type %s has none, \"%.32s\" is for numbers",
                         f->name, types[type], format);
    f->format = type == VALUE_BINARY    ? BINARY_BYTES
                : text                  ? BINARY_TEXT
                : type == VALUE_INTEGER ? BINARY_I32
                : type == VALUE_BOOLEAN ? BINARY_BOOL
                                        : BINARY_F32;
    if (!format)
        return 0;
    int k = name_choose("unknown format", format, binary_format_names(), err);
    if (k < 0)
        return error_prefix(err, "%s", f->name);
    f->format = (enum binary_format)k;
    return 0;
}

static int copy_field(struct encoder_slot *f, const struct encoder_field *from, struct error *err)
{
    f->type = from->type;
    f->precision = from->precision;
    f->name = strdup(from->name);
    if (!f->name)
        return no_memory(err);
    if (f->precision < -1 || f->precision > 9)
        return error_set(err, ERR_INVALID, "%s: precision: must be 0..9, is %d", f->name, f->precision);
    return read_format(f, from->format, err);
}

static int copy_fields(struct encoder *e, const struct encoder_field *fields, unsigned n, struct error *err)
{
    size_t bytes = 0;
    if (n > PAYLOAD_MAX_VALUES)
        return error_set(err, ERR_LIMIT, "at most %u values in a message, there are %u", PAYLOAD_MAX_VALUES, n);
    e->fields = calloc(n + 1, sizeof(*e->fields));
    e->metrics = calloc(n + 1, sizeof(*e->metrics));
    if (!e->fields || !e->metrics)
        return no_memory(err);
    e->n = n;
    for (unsigned i = 0; i < n; i++) {
        if (copy_field(&e->fields[i], &fields[i], err))
            return -1;
        e->metrics[i] = fields[i];
        e->metrics[i].name = e->fields[i].name;
        e->metrics[i].format = NULL; // the caller's text
        bytes += strlen(fields[i].name);
    }
    return bytes > MAX_NAME_BYTES ? error_set(err, ERR_LIMIT, "the names take more than %d bytes", MAX_NAME_BYTES) : 0;
}

// An attribute that is itself named timestamp takes the place of the automatic one.
static void drop_timestamp(struct encoder *e)
{
    for (unsigned i = 0; i < e->n; i++) {
        if (!strcmp(e->fields[i].name, "timestamp"))
            e->timestamp = false;
    }
}

// --- what is the same in every message ----------------------------------------------------------------------------

// All names and precisions, as payload.h wants them.
struct lists {
    const char **names;
    int *precision;
};

static int lists_new(const struct encoder *e, struct lists *out, struct error *err)
{
    out->names = calloc(e->n + 1, sizeof(*out->names));
    out->precision = calloc(e->n + 1, sizeof(*out->precision));
    if (!out->names || !out->precision)
        return no_memory(err);
    for (unsigned i = 0; i < e->n; i++) {
        out->names[i] = e->fields[i].name;
        out->precision[i] = e->fields[i].precision;
    }
    return 0;
}

static void lists_free(struct lists *l)
{
    free(l->names);
    free(l->precision);
}

static int compile_cbor(struct encoder *e, struct error *err)
{
    struct buf *b = &e->literals;
    int failed = cbor_put_head(b, CBOR_MAP, e->n + e->timestamp);
    e->head_len = b->len;
    for (unsigned i = 0; i < e->n && !failed; i++) {
        struct encoder_slot *f = &e->fields[i];
        f->at = b->len;
        failed = cbor_put_text(b, f->name, strlen(f->name));
        f->len = b->len - f->at;
    }
    e->time_at = b->len;
    failed = failed || cbor_put_text(b, "timestamp", 9);
    e->time_len = b->len - e->time_at;
    return failed ? no_memory(err) : 0;
}

static int compile_csv(struct encoder *e, struct error *err)
{
    struct buf *b = &e->literals;
    if (!e->header)
        return 0;
    int failed = e->timestamp && buf_append_str(b, "timestamp");
    for (unsigned i = 0; i < e->n && !failed; i++) {
        const char *name = e->fields[i].name;
        failed = (b->len && buf_append_char(b, e->delimiter)) || csv_put_text(b, name, strlen(name), e->delimiter);
    }
    failed = failed || buf_append_char(b, '\n');
    e->head_len = b->len;
    return failed ? no_memory(err) : 0;
}

static int compile_tag(struct encoder *e, const char *key, const char *pattern, const struct lists *lists,
                       struct error *err)
{
    struct encoder_tag *t = &e->tags[e->n_tags];
    struct buf *b = &e->literals;
    const char *problem = influx_name_problem(key);
    if (problem)
        return error_set(err, ERR_INVALID, "tags: \"%.64s\": %s", key, problem);
    t->at = b->len;
    if (buf_append_char(b, ',') || influx_put_text(b, key, strlen(key), INFLUX_KEY) || buf_append_char(b, '='))
        return no_memory(err);
    t->len = b->len - t->at;
    t->value = payload_compile(pattern, lists->names, lists->precision, e->n, false, err);
    if (!t->value)
        return error_prefix(err, "tags: %.64s", key);
    e->n_tags++;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Sorted by key, as InfluxDB wants them for speed.
static int compile_tags(struct encoder *e, const json_t *tags, const struct lists *lists, struct error *err)
{
    const char *keys[MAX_TAGS], *key;
    json_t *value;
    unsigned n = 0;
    if (tags && !json_is_object(tags))
        return error_set(err, ERR_INVALID, "tags: expected an object of patterns, such as {\"site\": \"${groupId}\"}");
    e->tags = calloc(MAX_TAGS, sizeof(*e->tags));
    if (!e->tags)
        return no_memory(err);
    if (!tags)
        return compile_tag(e, "device", "${deviceId}", lists, err) || compile_tag(e, "group", "${groupId}", lists, err)
                   ? -1
                   : 0;
    json_object_foreach((json_t *)(uintptr_t)tags, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, ERR_INVALID, "tags: %.64s: expected a pattern such as \"${deviceId}\"", key);
        if (n == MAX_TAGS)
            return error_set(err, ERR_LIMIT, "tags: at most %d", MAX_TAGS);
        keys[n++] = key;
    }
    qsort(keys, n, sizeof(*keys), compare_keys);
    for (unsigned i = 0; i < n; i++) {
        if (compile_tag(e, keys[i], json_string_value(json_object_get(tags, keys[i])), lists, err))
            return -1;
    }
    return 0;
}

static int compile_fields(struct encoder *e, struct error *err)
{
    struct buf *b = &e->literals;
    for (unsigned i = 0; i < e->n; i++) {
        struct encoder_slot *f = &e->fields[i];
        const char *problem = influx_name_problem(f->name);
        if (problem)
            return error_set(err, ERR_INVALID, "attribute \"%s\": %s", f->name, problem);
        f->at = b->len;
        if (influx_put_text(b, f->name, strlen(f->name), INFLUX_KEY) || buf_append_char(b, '='))
            return no_memory(err);
        f->len = b->len - f->at;
    }
    return 0;
}

static int compile_measurement(struct encoder *e, const char *pattern, const char *model, const struct lists *lists,
                               struct error *err)
{
    if (!*pattern)
        return error_set(err, ERR_INVALID, "measurement: must not be empty; without it the model's id is taken");
    if (*pattern == '_')
        return error_set(err, ERR_INVALID, "measurement: InfluxDB keeps names that begin with _ for itself");
    e->measurement = payload_compile(pattern, lists->names, lists->precision, e->n, false, err);
    if (!e->measurement)
        return error_prefix(err, "measurement");
    e->model_at = e->literals.len;
    if (influx_put_text(&e->literals, model, strlen(model), INFLUX_MEASUREMENT))
        return no_memory(err);
    e->model_len = e->literals.len - e->model_at;
    return 0;
}

static int compile_influx(struct encoder *e, const json_t *spec, const char *model, const struct lists *lists,
                          struct error *err)
{
    const char *pattern;
    model = model && *model ? model : "iotix";
    if (!json_is_object(spec))
        spec = NULL;
    if (json_get_str(spec, "measurement", model, &pattern, err))
        return -1;
    return compile_measurement(e, pattern, model, lists, err) || compile_fields(e, err) ||
                   compile_tags(e, json_object_get(spec, "tags"), lists, err)
               ? -1
               : 0;
}

static int compile(struct encoder *e, const json_t *spec, const char *model, struct error *err)
{
    struct lists lists = {NULL, NULL};
    int failed = lists_new(e, &lists, err);
    if (!failed) {
        switch (e->encoding) {
        case ENCODING_JSON:
            e->json = payload_compile_object(lists.names, lists.precision, e->n, e->timestamp, err);
            failed = !e->json;
            break;
        case ENCODING_CBOR:
            failed = compile_cbor(e, err);
            break;
        case ENCODING_CSV:
            failed = compile_csv(e, err);
            break;
        case ENCODING_INFLUX:
            failed = compile_influx(e, spec, model, &lists, err);
            break;
        case ENCODING_BINARY:
        case ENCODING_SPARKPLUG:
            break;
        }
    }
    lists_free(&lists);
    return failed;
}

struct encoder *encoder_new(const json_t *spec, const struct encoder_field *fields, unsigned n, const char *measurement,
                            struct error *err)
{
    struct encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        no_memory(err);
        return NULL;
    }
    buf_create(&e->literals, 4u * MAX_NAME_BYTES);
    if (read_type(e, spec, err) || read_options(e, spec, err) || copy_fields(e, fields, n, err)) {
        encoder_delete(e);
        return NULL;
    }
    if (e->encoding != ENCODING_BINARY)
        drop_timestamp(e);
    if (compile(e, spec, measurement, err)) {
        encoder_delete(e);
        return NULL;
    }
    return e;
}

void encoder_delete(struct encoder *e)
{
    if (!e)
        return;
    for (unsigned i = 0; i < e->n; i++)
        free((char *)(uintptr_t)e->fields[i].name);
    for (unsigned i = 0; i < e->n_tags; i++)
        payload_delete(e->tags[i].value);
    payload_delete(e->json);
    payload_delete(e->measurement);
    buf_destroy(&e->literals);
    free(e->tags);
    free(e->fields);
    free(e->metrics);
    free(e);
}
