// From the JSON of a model to what a device runs on. The schema has accepted the document (the script room sees to
// that); every value used is checked here all the same, because this is C and the document came from outside.
//
// Errors read "PATH: /json/pointer: what is wrong".
#include "device/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"

enum { MAX_ATTRIBUTES = 256, MAX_COMMANDS = 256, MAX_INTERVAL_MS = 2000000000, MIN_INTERVAL_MS = 100 };

#define DEFAULT_TOPIC "${groupId}/${deviceId}/telemetry"
#define DEFAULT_CLIENT_ID "iotix-${deviceId}"

struct parse {
    struct model *model;
    const json_t *telemetry;
    const char *payload; // template of the joint message, NULL: an object
    char pointer[256];   // where we are
    struct error *err;
};

struct source { // an attribute on its way into a stream
    struct model_attribute attribute;
    const char *topic; // its own, or NULL
    int64_t interval_us;
    size_t place; // in /telemetry
    bool alone, taken;
};

// Puts "path: pointer" in front of the error that was set below. The pointer may end in a key.
static int at(struct parse *p, const char *pointer)
{
    return error_prefix(p->err, "%s: %s", p->model->path, pointer[0] ? pointer : "/");
}

static int bad(struct parse *p, enum error_code code, const char *pointer, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int bad(struct parse *p, enum error_code code, const char *pointer, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return error_set(p->err, code, "%s: %s: %s", p->model->path, pointer, text);
}

static int no_memory(struct parse *p)
{
    return error_set(p->err, ERR_NO_MEMORY, "%s: out of memory", p->model->path);
}

static const char *pointer_to(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static const char *pointer_to(struct parse *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->pointer, sizeof(p->pointer), fmt, args);
    va_end(args);
    return p->pointer;
}

// One of `names` (NULL-terminated); its place, or -1 with an error that lists them.
static int choose(struct parse *p, const char *pointer, const char *value, const char *const *names)
{
    char list[200] = "";
    size_t used = 0;
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], value))
            return i;
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", names[i]);
    }
    return bad(p, ERR_INVALID, pointer, "unknown value \"%s\"; valid: %s", value, list);
}

static int required(struct parse *p, const json_t *object, const char *where, const char *key, const char **out)
{
    if (json_get_str(object, key, NULL, out, p->err))
        return at(p, where);
    if (!*out || !**out)
        return bad(p, ERR_INVALID, where[0] ? where : "/", "\"%s\" is missing", key);
    return 0;
}

// A member that must be an array when it is there; *out NULL when it is not.
static int array(struct parse *p, const char *key, size_t max, json_t **out)
{
    *out = json_object_get(p->model->source, key);
    if (!*out)
        return 0;
    if (!json_is_array(*out))
        return bad(p, ERR_INVALID, pointer_to(p, "/%s", key), "expected an array");
    if (json_array_size(*out) > max)
        return bad(p, ERR_LIMIT, pointer_to(p, "/%s", key), "at most %zu entries, there are %zu", max,
                   json_array_size(*out));
    return 0;
}

// --- head and connection ------------------------------------------------------------------------------------------

static int parse_head(struct parse *p)
{
    static const char *const types[] = {"sensor", "actuator", "gateway", "custom", "proxy", NULL};
    struct model *m = p->model;
    const char *type;
    if (required(p, m->source, "", "id", &m->id) || required(p, m->source, "", "name", &m->name) ||
        required(p, m->source, "", "type", &type) || required(p, m->source, "", "protocol", &m->protocol))
        return -1;
    if (json_get_str(m->source, "version", "1.0.0", &m->version, p->err) ||
        json_get_str(m->source, "payload", NULL, &p->payload, p->err))
        return at(p, "");
    int i = choose(p, "/type", type, types);
    if (i < 0)
        return -1;
    m->type = (enum model_type)i;
    if (m->type == MODEL_GATEWAY || m->type == MODEL_PROXY)
        return bad(p, ERR_UNSUPPORTED, "/type", "models of type %s are not supported yet", type);
    return 0;
}

static int parse_connection(struct parse *p)
{
    struct model *m = p->model;
    const json_t *c = json_object_get(m->source, "connection");
    int64_t port, qos, keep_alive;
    if (c && !json_is_object(c))
        return bad(p, ERR_INVALID, "/connection", "expected an object");
    if (json_object_get(c, "passwordRef"))
        return bad(p, ERR_UNSUPPORTED, "/connection/passwordRef",
                   "the secrets store is not supported yet; give the group a password in the scenario");
    if (json_get_str(c, "broker", NULL, &m->broker, p->err) || json_get_int(c, "port", 0, &port, p->err) ||
        json_get_bool(c, "tls", false, &m->tls, p->err) ||
        json_get_str(c, "clientIdPattern", DEFAULT_CLIENT_ID, &m->client_id_pattern, p->err) ||
        json_get_str(c, "topicPattern", DEFAULT_TOPIC, &m->topic_pattern, p->err) ||
        json_get_int(c, "qos", 1, &qos, p->err) || json_get_int(c, "keepAlive", 60, &keep_alive, p->err) ||
        json_get_bool(c, "cleanSession", true, &m->clean_session, p->err) ||
        json_get_str(c, "username", NULL, &m->username, p->err))
        return at(p, "/connection");
    if (port < 0 || port > 65535 || (port == 0 && json_object_get(c, "port")))
        return bad(p, ERR_INVALID, "/connection/port", "must be 1..65535, is %lld", (long long)port);
    if (qos < 0 || qos > 2)
        return bad(p, ERR_INVALID, "/connection/qos", "must be 0, 1 or 2, is %lld", (long long)qos);
    if (keep_alive < 0 || keep_alive > 65535)
        return bad(p, ERR_INVALID, "/connection/keepAlive", "must be 0..65535 seconds, is %lld", (long long)keep_alive);
    m->port = (int)port;
    m->qos = (int)qos;
    m->keep_alive_s = (int)keep_alive;
    return 0;
}

// --- telemetry ----------------------------------------------------------------------------------------------------

// A topic to publish to: its pattern must not contain wildcards.
static struct payload *compile_topic(struct parse *p, const char *pointer, const char *pattern,
                                     const char *const *names, const int *precision, unsigned n)
{
    if (!pattern[0] || strpbrk(pattern, "+#")) {
        bad(p, ERR_INVALID, pointer, "\"%s\" is no topic to publish to: it is empty or contains + or #", pattern);
        return NULL;
    }
    struct payload *topic = payload_compile(pattern, names, precision, n, false, p->err);
    if (!topic)
        at(p, pointer);
    return topic;
}

static bool mentions(const char *pattern, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = pattern ? strchr(pattern, '{') : NULL; s; s = strchr(s + 1, '{')) {
        if (!strncmp(s + 1, name, n) && s[1 + n] == '}')
            return true;
    }
    return false;
}

static int parse_generator(struct parse *p, const json_t *object, const char *where, enum value_type type,
                           bool only_constant, struct source *s)
{
    const json_t *g = json_object_get(object, "generator");
    const char *kind;
    if (!json_is_object(g))
        return bad(p, ERR_INVALID, where, "\"generator\" is missing or no object");
    if (json_get_str(g, "type", "", &kind, p->err))
        return at(p, pointer_to(p, "%s/generator", where));
    if (!strcmp(kind, "replay"))
        return bad(p, ERR_UNSUPPORTED, pointer_to(p, "%s/generator/type", where), "replay is not supported yet");
    if (!strcmp(kind, "custom"))
        return bad(p, ERR_UNSUPPORTED, pointer_to(p, "%s/generator/type", where),
                   "custom generators are not supported yet; make the value in a behaviour of the scenario");
    if (only_constant && strcmp(kind, "constant"))
        return bad(p, ERR_UNSUPPORTED, pointer_to(p, "%s/generator/type", where),
                   "binary, object and array attributes can only be constant yet, not %s", kind);
    s->attribute.gen = gen_parse(g, type, p->err);
    return s->attribute.gen ? 0 : at(p, pointer_to(p, "%s/generator", where));
}

static int parse_attribute(struct parse *p, size_t i, struct source *s)
{
    static const char *const types[] = {"number", "integer", "boolean", "string", "binary", "object", "array", NULL};
    static const enum value_type values[] = {VALUE_NUMBER, VALUE_INTEGER, VALUE_BOOLEAN, VALUE_STRING,
                                             VALUE_BINARY, VALUE_JSON,    VALUE_JSON};
    const json_t *object = json_array_get(p->telemetry, i);
    char where[64];
    const char *type;
    int64_t interval, precision;
    snprintf(where, sizeof(where), "/telemetry/%zu", i);
    s->place = i;
    if (!json_is_object(object))
        return bad(p, ERR_INVALID, where, "expected an object");
    if (required(p, object, where, "name", &s->attribute.name) || required(p, object, where, "type", &type))
        return -1;
    if (json_get_int(object, "intervalMs", 1000, &interval, p->err) ||
        json_get_str(object, "topic", NULL, &s->topic, p->err) ||
        json_get_int(object, "precision", -1, &precision, p->err))
        return at(p, where);
    if (interval < MIN_INTERVAL_MS || interval > MAX_INTERVAL_MS)
        return bad(p, ERR_INVALID, pointer_to(p, "%s/intervalMs", where), "must be %d..%d, is %lld", MIN_INTERVAL_MS,
                   MAX_INTERVAL_MS, (long long)interval);
    if (precision < -1 || precision > 9)
        return bad(p, ERR_INVALID, pointer_to(p, "%s/precision", where), "must be 0..9, is %lld", (long long)precision);
    int t = choose(p, pointer_to(p, "%s/type", where), type, types);
    if (t < 0)
        return -1;
    s->attribute.type = values[t];
    s->attribute.precision = (int)precision;
    s->interval_us = interval * 1000;
    // Own topic: alone. So is binary, which goes out as raw bytes, and every attribute whose name is part of the topic.
    s->alone = s->topic || values[t] == VALUE_BINARY || mentions(p->model->topic_pattern, "attribute");
    return parse_generator(p, object, where, values[t], values[t] == VALUE_BINARY || values[t] == VALUE_JSON, s);
}

// A joint template is JSON when it looks like it: then strings are quoted and escaped.
static bool looks_like_json(const char *text)
{
    text += strspn(text, " \t\r\n");
    return *text == '{' || *text == '[';
}

static struct payload *compile_payload(struct parse *p, const struct source *first, const char *const *names,
                                       const int *precision, unsigned n)
{
    struct payload *payload;
    char raw[300];
    if (first->attribute.type == VALUE_BINARY) {
        snprintf(raw, sizeof(raw), "${%s}", names[0]);
        payload = payload_compile(raw, names, precision, n, false, p->err);
    } else if (p->payload && !first->topic) {
        payload = payload_compile(p->payload, names, precision, n, looks_like_json(p->payload), p->err);
        if (!payload)
            error_prefix(p->err, "%s: /payload: of the message with %s every %lld ms", p->model->path, names[0],
                         (long long)(first->interval_us / 1000));
        return payload;
    } else {
        payload = payload_compile_object(names, precision, n, true, p->err);
    }
    if (!payload)
        at(p, pointer_to(p, "/telemetry/%zu", first->place));
    return payload;
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

static int compile_stream(struct parse *p, const struct source *first, struct model_stream *stream)
{
    const char *names[MAX_ATTRIBUTES];
    int precision[MAX_ATTRIBUTES];
    unsigned n = stream->n_attributes;
    for (unsigned i = 0; i < n; i++) {
        names[i] = stream->attributes[i].name;
        precision[i] = stream->attributes[i].precision;
    }
    const char *pattern = first->topic ? first->topic : p->model->topic_pattern;
    char *topic = first->alone ? expand_attribute(pattern, names[0]) : strdup(pattern);
    if (!topic)
        return no_memory(p);
    stream->topic_template = compile_topic(
        p, first->topic ? pointer_to(p, "/telemetry/%zu/topic", first->place) : "/connection/topicPattern", topic,
        names, precision, n);
    free(topic);
    if (!stream->topic_template)
        return -1;
    stream->payload = compile_payload(p, first, names, precision, n);
    return stream->payload ? 0 : -1;
}

// Gathers what goes out with sources[first] behind the attributes placed so far, in declared order.
static int gather_stream(struct parse *p, struct source *sources, size_t n, size_t first)
{
    struct model *m = p->model;
    struct model_stream *stream = &m->streams[m->n_streams++];
    const struct source *head = &sources[first];
    stream->interval_us = head->interval_us;
    stream->topic = head->topic;
    stream->attributes = &m->attributes[m->n_attributes];
    for (size_t i = first; i < n; i++) {
        struct source *s = &sources[i];
        if (s->taken || (i != first && (head->alone || s->alone || s->interval_us != head->interval_us)))
            continue;
        s->taken = true;
        m->attributes[m->n_attributes++] = s->attribute;
        stream->n_attributes++;
    }
    return compile_stream(p, head, stream);
}

static int check_names(struct parse *p, const struct source *sources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (!strcmp(sources[i].attribute.name, sources[k].attribute.name))
                return bad(p, ERR_INVALID, pointer_to(p, "/telemetry/%zu/name", i), "there are two attributes named %s",
                           sources[i].attribute.name);
        }
    }
    return 0;
}

static int make_streams(struct parse *p, struct source *sources, size_t n)
{
    struct model *m = p->model;
    if (check_names(p, sources, n))
        return -1;
    m->attributes = calloc(n, sizeof(*m->attributes));
    m->streams = calloc(n, sizeof(*m->streams));
    if (!m->attributes || !m->streams)
        return no_memory(p);
    for (size_t i = 0; i < n; i++) {
        if (!sources[i].taken && gather_stream(p, sources, n, i))
            return -1;
    }
    return 0;
}

static int parse_telemetry(struct parse *p)
{
    json_t *list;
    if (array(p, "telemetry", MAX_ATTRIBUTES, &list))
        return -1;
    size_t n = list ? json_array_size(list) : 0;
    if (!n)
        return 0;
    p->telemetry = list;
    struct source *sources = calloc(n, sizeof(*sources));
    if (!sources)
        return no_memory(p);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i++)
        failed = parse_attribute(p, i, &sources[i]);
    if (!failed)
        failed = make_streams(p, sources, n);
    for (size_t i = 0; i < n; i++) {
        if (!sources[i].taken) // the rest belongs to the model
            gen_delete(sources[i].attribute.gen);
    }
    free(sources);
    return failed;
}

// --- commands and behaviors ---------------------------------------------------------------------------------------

static int parse_command(struct parse *p, const json_t *object, size_t i)
{
    struct model_command *c = &p->model->commands[i];
    char where[64];
    snprintf(where, sizeof(where), "/commands/%zu", i);
    if (!json_is_object(object))
        return bad(p, ERR_INVALID, where, "expected an object");
    if (required(p, object, where, "name", &c->name))
        return -1;
    if (json_get_str(object, "topic", NULL, &c->topic, p->err))
        return at(p, where);
    static const char *const later[] = {"handler", "response"};
    for (unsigned k = 0; k < 2; k++) {
        if (json_object_get(object, later[k]))
            return bad(p, ERR_UNSUPPORTED, pointer_to(p, "%s/%s", where, later[k]),
                       "not supported yet; answer the command in a behaviour of the scenario");
    }
    if (!c->topic)
        return 0;
    c->topic_template = payload_compile(c->topic, NULL, NULL, 0, false, p->err);
    return c->topic_template ? 0 : at(p, pointer_to(p, "%s/topic", where));
}

static int parse_commands(struct parse *p)
{
    struct model *m = p->model;
    json_t *list;
    if (array(p, "commands", MAX_COMMANDS, &list))
        return -1;
    size_t n = list ? json_array_size(list) : 0;
    if (!n)
        return 0;
    m->commands = calloc(n, sizeof(*m->commands));
    if (!m->commands)
        return no_memory(p);
    m->n_commands = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        if (parse_command(p, json_array_get(list, i), i))
            return -1;
    }
    return 0;
}

static int parse_behaviors(struct parse *p)
{
    json_t *list;
    if (array(p, "behaviors", SIZE_MAX, &list))
        return -1;
    for (size_t i = 0; list && i < json_array_size(list); i++) {
        bool enabled;
        if (json_get_bool(json_array_get(list, i), "enabled", true, &enabled, p->err))
            return at(p, pointer_to(p, "/behaviors/%zu", i));
        if (enabled)
            return bad(p, ERR_UNSUPPORTED, pointer_to(p, "/behaviors/%zu", i),
                       "behaviors of a model are not supported yet; write a behaviour in the scenario, or set "
                       "\"enabled\": false");
    }
    return 0;
}

// ------------------------------------------------------------------------------------------------------------------

struct model *model_parse(const char *text, size_t n, const char *path, struct error *err)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m)
        m->path = strdup(path);
    if (!m || !m->path) {
        free(m);
        error_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
        return NULL;
    }
    struct parse p = {.model = m, .err = err};
    m->source = json_parse(text, n, path, err);
    if (m->source && !json_is_object(m->source))
        bad(&p, ERR_INVALID, "/", "a model must be an object");
    else if (m->source && !parse_head(&p) && !parse_connection(&p) && !parse_telemetry(&p) && !parse_commands(&p) &&
             !parse_behaviors(&p))
        return m;
    model_delete(m);
    return NULL;
}

void model_delete(struct model *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->n_streams; i++) {
        payload_delete(m->streams[i].topic_template);
        payload_delete(m->streams[i].payload);
    }
    for (unsigned i = 0; i < m->n_attributes; i++)
        gen_delete(m->attributes[i].gen);
    for (unsigned i = 0; i < m->n_commands; i++)
        payload_delete(m->commands[i].topic_template);
    free(m->streams);
    free(m->attributes);
    free(m->commands);
    json_decref(m->source);
    free((char *)m->path);
    free(m);
}
