// The telemetry of a model: attributes with their generators, gathered into streams.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/model_parse.h"

enum { MAX_INTERVAL_MS = 2000000000, MIN_INTERVAL_MS = 100 };

struct source { // an attribute on its way into a stream
    struct model_attribute attribute;
    const char *topic; // its own, or NULL
    int64_t interval_us;
    bool alone, taken;
};

struct telemetry {
    struct model_parse *p;
    const json_t *list;
    size_t n;
    struct source *sources;
    const char *encoding; // "json" … "lua"
};

static bool mentions(const char *pattern, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = pattern ? strchr(pattern, '{') : NULL; s; s = strchr(s + 1, '{')) {
        if (!strncmp(s + 1, name, n) && s[1 + n] == '}')
            return true;
    }
    return false;
}

// What a binary attribute packs into one message.
static int parse_samples(struct model_parse *p, const json_t *object, const char *where, struct gen_samples *out)
{
    static const char *const endians[] = {"little", "big", NULL};
    int64_t count, bits;
    const char *endian;
    if (json_get_int(object, "samples", 1, &count, p->err) || json_get_int(object, "sampleSize", 8, &bits, p->err) ||
        json_get_bool(object, "signed", false, &out->signed_samples, p->err) ||
        json_get_str(object, "endian", "little", &endian, p->err))
        return model_at(p, where);
    if (count < 1 || count > 65536)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/samples", where), "must be 1..65536, is %lld",
                         (long long)count);
    if (bits != 8 && bits != 16 && bits != 32)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/sampleSize", where), "must be 8, 16 or 32, is %lld",
                         (long long)bits);
    int big = model_choose(p, model_pointer(p, "%s/endian", where), endian, endians);
    out->count = (unsigned)count;
    out->bits = (unsigned)bits;
    out->big_endian = big == 1;
    return big < 0 ? -1 : 0;
}

static int parse_generator(struct model_parse *p, const json_t *object, const char *where, struct source *s)
{
    const json_t *g = json_object_get(object, "generator");
    const char *dirs[17];
    unsigned n_dirs = 0;
    if (!json_is_object(g))
        return model_bad(p, ERR_INVALID, where, "\"generator\" is missing or no object");
    dirs[n_dirs++] = p->dir;
    for (unsigned i = 0; i < p->env->n_dirs && n_dirs < 17; i++)
        dirs[n_dirs++] = p->env->dirs[i];
    struct gen_env env = {.names = p->model->names,
                          .n_names = p->model->n_attributes,
                          .attribute = s->attribute.name,
                          .dirs = dirs,
                          .n_dirs = n_dirs,
                          .datasets = p->env->datasets,
                          .find_hook = model_hook,
                          .find_hook_arg = p};
    if (s->attribute.type == VALUE_BINARY) {
        struct gen_samples samples = {.interval_us = s->interval_us};
        if (parse_samples(p, object, where, &samples))
            return -1;
        s->attribute.gen = gen_parse_samples(g, &samples, &env, p->err);
    } else {
        s->attribute.gen = gen_parse(g, s->attribute.type, &env, p->err);
    }
    if (!s->attribute.gen)
        return model_at(p, model_pointer(p, "%s/generator", where));
    p->model->keeps_values |= gen_uses_values(s->attribute.gen);
    p->model->uses_scratch |= gen_uses_scratch(s->attribute.gen) || gen_uses_hook(s->attribute.gen);
    return 0;
}

static int parse_attribute(struct telemetry *t, size_t i)
{
    static const char *const types[] = {"number", "integer", "boolean", "string", "binary", "object", "array", NULL};
    static const enum value_type values[] = {VALUE_NUMBER, VALUE_INTEGER, VALUE_BOOLEAN, VALUE_STRING,
                                             VALUE_BINARY, VALUE_JSON,    VALUE_JSON};
    struct model_parse *p = t->p;
    struct source *s = &t->sources[i];
    const json_t *object = json_array_get(t->list, i);
    char where[64];
    const char *type;
    int64_t interval;
    snprintf(where, sizeof(where), "/telemetry/%zu", i);
    if (model_required(p, object, where, "type", &type))
        return -1;
    if (json_get_int(object, "intervalMs", 1000, &interval, p->err) ||
        json_get_str(object, "topic", NULL, &s->topic, p->err) ||
        json_get_str(object, "format", NULL, &s->attribute.format, p->err))
        return model_at(p, where);
    if (interval < MIN_INTERVAL_MS || interval > MAX_INTERVAL_MS)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/intervalMs", where), "must be %d..%d, is %lld",
                         MIN_INTERVAL_MS, MAX_INTERVAL_MS, (long long)interval);
    int k = model_choose(p, model_pointer(p, "%s/type", where), type, types);
    if (k < 0)
        return -1;
    s->attribute.name = p->model->names[i];
    s->attribute.precision = p->model->precisions[i];
    s->attribute.type = values[k];
    s->attribute.slot = (unsigned)i;
    s->interval_us = interval * 1000;
    // Own topic: alone. So is binary, which goes out as raw bytes where the encoding has no place for it, and every
    // attribute whose name is part of the topic.
    bool raw = values[k] == VALUE_BINARY &&
               (!strcmp(t->encoding, "json") || !strcmp(t->encoding, "csv") || !strcmp(t->encoding, "influx"));
    s->alone = s->topic || raw || mentions(p->model->topic_pattern, "attribute");
    if (s->topic && p->model->sparkplug)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/topic", where),
                         "Sparkplug says which topic: an attribute has none of its own");
    return parse_generator(p, object, where, s);
}

// A joint template is JSON when it looks like it: then strings are quoted and escaped.
static bool looks_like_json(const char *text)
{
    text += strspn(text, " \t\r\n");
    return *text == '{' || *text == '[';
}

// How the message of a stream is made: raw bytes, the model's template, a Lua hook, or an encoder.
static int compile_message(struct telemetry *t, const struct source *first, struct model_stream *stream,
                           const char *const *names, const int *precision)
{
    struct model_parse *p = t->p;
    unsigned n = stream->n_attributes, place = first->attribute.slot;
    char raw[300];
    if (first->attribute.type == VALUE_BINARY && first->alone) {
        snprintf(raw, sizeof(raw), "${%s}", names[0]);
        stream->payload = payload_compile(raw, names, precision, n, false, p->err);
        return stream->payload ? 0 : model_at(p, model_pointer(p, "/telemetry/%u", place));
    }
    if (p->payload && !first->topic) {
        stream->payload = payload_compile(p->payload, names, precision, n, looks_like_json(p->payload), p->err);
        return stream->payload ? 0
                               : error_prefix(p->err, "%s: /payload: of the message with %s every %lld ms",
                                              p->model->path, names[0], (long long)(first->interval_us / 1000));
    }
    if (!strcmp(t->encoding, "lua")) {
        const char *handler;
        if (model_required(p, p->model->encoding, "/encoding", "handler", &handler))
            return -1;
        stream->encode_hook = model_hook(p, handler, p->err);
        return stream->encode_hook < 0 ? model_at(p, "/encoding") : 0;
    }
    struct encoder_field fields[MODEL_MAX_ATTRIBUTES];
    for (unsigned i = 0; i < n; i++) {
        const struct model_attribute *a = &stream->attributes[i];
        fields[i] = (struct encoder_field){
            .name = a->name, .type = a->type, .precision = a->precision, .format = a->format, .alias = a->slot + 1};
    }
    stream->encoder = encoder_new(p->model->encoding, fields, n, p->model->id, p->err);
    return stream->encoder ? 0 : model_at(p, "/encoding");
}

// ${attribute} in a topic stands for the one attribute of the stream: put in here, once and for all.
static char *expand_attribute(const char *pattern, const char *name)
{
    struct buf b;
    static const char *const forms[] = {"${attribute}", "{attribute}"};
    buf_create(&b, 64 << 10);
    while (*pattern) {
        size_t skip = 0;
        for (unsigned i = 0; i < 2 && !skip; i++)
            skip = strncmp(pattern, forms[i], strlen(forms[i])) ? 0 : strlen(forms[i]);
        if (skip ? buf_append_str(&b, name) : buf_append_char(&b, *pattern))
            break;
        pattern += skip ? skip : 1;
    }
    char *text = *pattern ? NULL : strdup(buf_cstr(&b));
    buf_destroy(&b);
    return text;
}

// --- Sparkplug B --------------------------------------------------------------------------------------------------

// spBv1.0/GROUP/KIND/NODE
static struct payload *sparkplug_topic(struct model_parse *p, const char *kind)
{
    const json_t *e = p->model->encoding;
    const char *group, *node;
    char topic[2048];
    if (json_get_str(e, "groupId", "${groupId}", &group, p->err) ||
        json_get_str(e, "nodeId", "${deviceId}", &node, p->err)) {
        model_at(p, "/encoding");
        return NULL;
    }
    if (strpbrk(group, "/") || strpbrk(node, "/") || strlen(group) + strlen(node) > 900) {
        model_bad(p, ERR_INVALID, "/encoding", "groupId and nodeId are single levels of a topic, without /");
        return NULL;
    }
    snprintf(topic, sizeof(topic), "spBv1.0/%s/%s/%s", group, kind, node);
    return model_topic(p, "/encoding", topic, NULL, NULL, 0);
}

static int sparkplug_topics(struct model_parse *p)
{
    struct model_sparkplug *s = p->model->sparkplug = calloc(1, sizeof(*s));
    if (!s)
        return model_no_memory(p);
    s->birth_topic = sparkplug_topic(p, "NBIRTH");
    s->death_topic = s->birth_topic ? sparkplug_topic(p, "NDEATH") : NULL;
    s->command_topic = s->death_topic ? sparkplug_topic(p, "NCMD") : NULL;
    p->model->keeps_values = true; // a birth carries them
    if (json_object_get(json_object_get(p->model->source, "connection"), "qos") && p->model->qos)
        return model_bad(p, ERR_INVALID, "/connection/qos", "Sparkplug publishes with QoS 0, not %d", p->model->qos);
    p->model->qos = 0;
    return s->command_topic ? 0 : -1;
}

static int sparkplug_fields(struct telemetry *t)
{
    struct model_sparkplug *s = t->p->model->sparkplug;
    s->fields = calloc(t->n, sizeof(*s->fields));
    if (!s->fields)
        return model_no_memory(t->p);
    for (unsigned i = 0; i < t->n; i++) {
        const struct model_attribute *a = &t->sources[i].attribute;
        s->fields[i] = (struct encoder_field){
            .name = a->name, .type = a->type, .precision = a->precision, .format = a->format, .alias = i + 1};
    }
    return 0;
}

// --- streams ------------------------------------------------------------------------------------------------------

static int compile_stream(struct telemetry *t, const struct source *first, struct model_stream *stream)
{
    struct model_parse *p = t->p;
    const char *names[MODEL_MAX_ATTRIBUTES];
    int precision[MODEL_MAX_ATTRIBUTES];
    unsigned n = stream->n_attributes;
    for (unsigned i = 0; i < n; i++) {
        names[i] = stream->attributes[i].name;
        precision[i] = stream->attributes[i].precision;
    }
    if (compile_message(t, first, stream, names, precision))
        return -1;
    if (p->model->sparkplug) {
        stream->topic_template = sparkplug_topic(p, "NDATA");
        return stream->topic_template ? 0 : -1;
    }
    const char *pattern = first->topic ? first->topic : p->model->topic_pattern;
    char *topic = first->alone ? expand_attribute(pattern, names[0]) : strdup(pattern);
    if (!topic)
        return model_no_memory(p);
    const char *pointer =
        first->topic ? model_pointer(p, "/telemetry/%u/topic", first->attribute.slot) : "/connection/topicPattern";
    stream->topic_template = model_topic(p, pointer, topic, names, precision, n);
    free(topic);
    return stream->topic_template ? 0 : -1;
}

// Gathers what goes out with sources[first] behind the attributes placed so far, in declared order.
static int gather_stream(struct telemetry *t, size_t first, unsigned *placed)
{
    struct model *m = t->p->model;
    struct model_stream *stream = &m->streams[m->n_streams++];
    const struct source *head = &t->sources[first];
    stream->interval_us = head->interval_us;
    stream->topic = head->topic;
    stream->encode_hook = -1;
    stream->attributes = &m->attributes[*placed];
    for (size_t i = first; i < t->n; i++) {
        struct source *s = &t->sources[i];
        if (s->taken || (i != first && (head->alone || s->alone || s->interval_us != head->interval_us)))
            continue;
        s->taken = true;
        s->attribute.first_state = stream->n_states;
        stream->n_states += gen_state_count(s->attribute.gen);
        m->attributes[(*placed)++] = s->attribute;
        stream->n_attributes++;
    }
    return compile_stream(t, head, stream);
}

// Names and precisions by slot come first: an expression may use an attribute that stands below it.
static int read_names(struct telemetry *t)
{
    struct model_parse *p = t->p;
    struct model *m = p->model;
    m->names = calloc(t->n, sizeof(*m->names));
    m->precisions = calloc(t->n, sizeof(*m->precisions));
    m->attributes = calloc(t->n, sizeof(*m->attributes));
    m->streams = calloc(t->n, sizeof(*m->streams));
    t->sources = calloc(t->n, sizeof(*t->sources));
    if (!m->names || !m->precisions || !m->attributes || !m->streams || !t->sources)
        return model_no_memory(p);
    for (size_t i = 0; i < t->n; i++) {
        const json_t *object = json_array_get(t->list, i);
        char where[64];
        int64_t precision;
        snprintf(where, sizeof(where), "/telemetry/%zu", i);
        if (!json_is_object(object))
            return model_bad(p, ERR_INVALID, where, "expected an object");
        if (model_required(p, object, where, "name", &m->names[i]))
            return -1;
        if (json_get_int(object, "precision", -1, &precision, p->err))
            return model_at(p, where);
        if (precision < -1 || precision > 9)
            return model_bad(p, ERR_INVALID, model_pointer(p, "%s/precision", where), "must be 0..9, is %lld",
                             (long long)precision);
        m->precisions[i] = (int)precision;
        for (size_t k = 0; k < i; k++) {
            if (!strcmp(m->names[i], m->names[k]))
                return model_bad(p, ERR_INVALID, model_pointer(p, "%s/name", where),
                                 "there are two attributes named %s", m->names[i]);
        }
        m->n_attributes++;
    }
    return 0;
}

static int parse_list(struct telemetry *t)
{
    unsigned placed = 0;
    int failed = read_names(t);
    for (size_t i = 0; i < t->n && !failed; i++)
        failed = parse_attribute(t, i);
    if (!failed && t->p->model->sparkplug)
        failed = sparkplug_fields(t);
    for (size_t i = 0; i < t->n && !failed; i++) {
        if (!t->sources[i].taken)
            failed = gather_stream(t, i, &placed);
    }
    for (size_t i = 0; t->sources && i < t->n; i++) {
        if (!t->sources[i].taken) // the rest belongs to the model
            gen_delete(t->sources[i].attribute.gen);
    }
    free(t->sources);
    return failed;
}

static int read_encoding(struct telemetry *t)
{
    const json_t *e = t->p->model->encoding;
    if (e && !json_is_string(e) && !json_is_object(e))
        return model_bad(t->p, ERR_INVALID, "/encoding", "expected a name such as \"cbor\", or an object with a type");
    if (json_is_object(e) && json_get_str(e, "type", "json", &t->encoding, t->p->err))
        return model_at(t->p, "/encoding");
    if (json_is_string(e))
        t->encoding = json_string_value(e);
    return strcmp(t->encoding, "sparkplug") ? 0 : sparkplug_topics(t->p);
}

int model_parse_telemetry(struct model_parse *p)
{
    json_t *list;
    if (model_array(p, "telemetry", MODEL_MAX_ATTRIBUTES, &list))
        return -1;
    struct telemetry t = {.p = p, .list = list, .n = list ? json_array_size(list) : 0, .encoding = "json"};
    return read_encoding(&t) || (t.n && parse_list(&t)) ? -1 : 0;
}
