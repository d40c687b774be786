// From the JSON of a model to what a device runs on. The schema has accepted the document (the script room sees to
// that); every value used is checked here all the same, because this is C and the document came from outside.
#include "device/model_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/file.h"
#include "core/jsonx.h"

#define DEFAULT_TOPIC "${groupId}/${deviceId}/telemetry"
#define DEFAULT_CLIENT_ID "iotix-${deviceId}"

// Puts "path: pointer" in front of the error that was set below. The pointer may end in a key.
int model_at(struct model_parse *p, const char *pointer)
{
    return error_prefix(p->err, "%s: %s", p->model->path, pointer[0] ? pointer : "/");
}

int model_bad(struct model_parse *p, enum error_code code, const char *pointer, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return error_set(p->err, code, "%s: %s: %s", p->model->path, pointer, text);
}

int model_no_memory(struct model_parse *p)
{
    return error_set(p->err, ERR_NO_MEMORY, "%s: out of memory", p->model->path);
}

const char *model_pointer(struct model_parse *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->pointer, sizeof(p->pointer), fmt, args);
    va_end(args);
    return p->pointer;
}

// One of `names` (NULL-terminated); its place, or -1 with an error that lists them.
int model_choose(struct model_parse *p, const char *pointer, const char *value, const char *const *names)
{
    char list[200] = "";
    size_t used = 0;
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], value))
            return i;
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", names[i]);
    }
    return model_bad(p, ERR_INVALID, pointer, "unknown value \"%s\"; valid: %s", value, list);
}

int model_required(struct model_parse *p, const json_t *object, const char *where, const char *key, const char **out)
{
    if (json_get_str(object, key, NULL, out, p->err))
        return model_at(p, where);
    if (!*out || !**out)
        return model_bad(p, ERR_INVALID, where[0] ? where : "/", "\"%s\" is missing", key);
    return 0;
}

// A member that must be an array when it is there; *out NULL when it is not.
int model_array(struct model_parse *p, const char *key, size_t max, json_t **out)
{
    *out = json_object_get(p->model->source, key);
    if (!*out)
        return 0;
    if (!json_is_array(*out))
        return model_bad(p, ERR_INVALID, model_pointer(p, "/%s", key), "expected an array");
    if (json_array_size(*out) > max)
        return model_bad(p, ERR_LIMIT, model_pointer(p, "/%s", key), "at most %zu entries, there are %zu", max,
                         json_array_size(*out));
    return 0;
}

struct payload *model_topic(struct model_parse *p, const char *pointer, const char *pattern, const char *const *names,
                            const int *precision, unsigned n)
{
    if (!pattern[0] || strpbrk(pattern, "+#")) {
        model_bad(p, ERR_INVALID, pointer, "\"%s\" is no topic to publish to: it is empty or contains + or #", pattern);
        return NULL;
    }
    struct payload *topic = payload_compile(pattern, names, precision, n, false, p->err);
    if (!topic)
        model_at(p, pointer);
    return topic;
}

// --- head and connection ------------------------------------------------------------------------------------------

static int parse_head(struct model_parse *p)
{
    static const char *const types[] = {"sensor", "actuator", "gateway", "custom", "proxy", NULL};
    struct model *m = p->model;
    const char *type;
    if (model_required(p, m->source, "", "id", &m->id) || model_required(p, m->source, "", "name", &m->name) ||
        model_required(p, m->source, "", "type", &type) || model_required(p, m->source, "", "protocol", &m->protocol))
        return -1;
    if (json_get_str(m->source, "version", "1.0.0", &m->version, p->err) ||
        json_get_str(m->source, "payload", NULL, &p->payload, p->err))
        return model_at(p, "");
    int i = model_choose(p, "/type", type, types);
    if (i < 0)
        return -1;
    m->type = (enum model_type)i;
    m->encoding = json_object_get(m->source, "encoding");
    return 0;
}

static int parse_connection(struct model_parse *p)
{
    struct model *m = p->model;
    const json_t *c = json_object_get(m->source, "connection");
    int64_t port, qos, keep_alive;
    if (c && !json_is_object(c))
        return model_bad(p, ERR_INVALID, "/connection", "expected an object");
    if (json_get_str(c, "broker", NULL, &m->broker, p->err) || json_get_int(c, "port", 0, &port, p->err) ||
        json_get_bool(c, "tls", false, &m->tls, p->err) ||
        json_get_str(c, "clientIdPattern", DEFAULT_CLIENT_ID, &m->client_id_pattern, p->err) ||
        json_get_str(c, "topicPattern", DEFAULT_TOPIC, &m->topic_pattern, p->err) ||
        json_get_int(c, "qos", 1, &qos, p->err) || json_get_int(c, "keepAlive", 60, &keep_alive, p->err) ||
        json_get_bool(c, "cleanSession", true, &m->clean_session, p->err) ||
        json_get_str(c, "username", NULL, &m->username, p->err) ||
        json_get_str(c, "passwordRef", NULL, &m->password_ref, p->err))
        return model_at(p, "/connection");
    if (port < 0 || port > 65535 || (port == 0 && json_object_get(c, "port")))
        return model_bad(p, ERR_INVALID, "/connection/port", "must be 1..65535, is %lld", (long long)port);
    if (qos < 0 || qos > 2)
        return model_bad(p, ERR_INVALID, "/connection/qos", "must be 0, 1 or 2, is %lld", (long long)qos);
    if (keep_alive < 0 || keep_alive > 65535)
        return model_bad(p, ERR_INVALID, "/connection/keepAlive", "must be 0..65535 seconds, is %lld",
                         (long long)keep_alive);
    if (p->child_topic)
        m->topic_pattern = m->child_topic;
    m->port = (int)port;
    m->qos = (int)qos;
    m->keep_alive_s = (int)keep_alive;
    return 0;
}

// --- hooks --------------------------------------------------------------------------------------------------------

// A handler is a function's name, or MODULE.FUNCTION. What looks like Python is most likely from an older model.
static int check_handler(const char *handler, struct error *err)
{
    size_t n = strlen(handler),
           letters = strspn(handler, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
    bool python = strchr(handler, ':') || (n > 3 && !strcmp(handler + n - 3, ".py"));
    if (python)
        return error_set(
            err, ERR_INVALID,
            "handler: \"%.100s\" looks like Python; write \"module.function\" for a function of module.lua "
            "beside the model, or the name of a function in the group's handlers",
            handler);
    if (!n || n > 200 || letters != n || handler[0] == '.' || handler[n - 1] == '.' || strstr(handler, ".."))
        return error_set(err, ERR_INVALID,
                         "handler: \"%.100s\" is no name of a function; write \"function\" or \"module.function\"",
                         handler);
    return 0;
}

int model_hook(void *arg, const char *handler, struct error *err)
{
    struct model_parse *p = arg;
    struct model *m = p->model;
    if (check_handler(handler, err))
        return -1;
    for (unsigned i = 0; i < m->n_hooks; i++) {
        if (!strcmp(m->hooks[i], handler))
            return (int)i;
    }
    if (m->n_hooks == MODEL_MAX_HOOKS)
        return error_set(err, ERR_LIMIT, "handler: more than %d different ones", MODEL_MAX_HOOKS);
    if (!m->hooks)
        m->hooks = calloc(MODEL_MAX_HOOKS, sizeof(*m->hooks));
    if (!m->hooks)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    m->hooks[m->n_hooks] = handler;
    return (int)m->n_hooks++;
}

int model_slot(const struct model *m, const char *name)
{
    for (unsigned i = 0; i < m->n_attributes; i++) {
        if (!strcmp(m->names[i], name))
            return (int)i;
    }
    return -1;
}

// ------------------------------------------------------------------------------------------------------------------

static struct model *new_model(json_t *document, const char *path, const char *child_topic, struct error *err)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m) {
        m->path = strdup(path);
        m->child_topic = child_topic ? strdup(child_topic) : NULL;
        m->source = json_incref(document);
    }
    if (m && m->path && !m->child_topic == !child_topic)
        return m;
    model_delete(m);
    error_set(err, ERR_NO_MEMORY, "%s: out of memory", path);
    return NULL;
}

static int parse_document(struct model_parse *p)
{
    if (!json_is_object(p->model->source))
        return model_bad(p, ERR_INVALID, "/", "a model must be an object");
    return parse_head(p) || parse_connection(p) || model_parse_telemetry(p) || model_parse_commands(p) ||
                   model_parse_behaviors(p) || model_parse_children(p)
               ? -1
               : 0;
}

struct model *model_parse_json(json_t *document, const char *path, const struct model_env *env, struct error *err)
{
    static const struct model_env nothing = {0};
    struct model *m = new_model(document, path, NULL, err);
    if (!m)
        return NULL;
    struct model_parse p = {.model = m, .env = env ? env : &nothing, .err = err};
    if (path_dirname(path, p.dir, sizeof(p.dir)))
        error_set(err, ERR_INVALID, "%.200s: the path is too long", path);
    else if (!parse_document(&p))
        return m;
    model_delete(m);
    return NULL;
}

struct model *model_parse_child(struct model_parse *gateway, const char *where, json_t *document, const char *topic)
{
    struct buf path; // "gateway.json: /children/0/model" in front of what is wrong
    buf_create(&path, 8192);
    int failed = buf_printf(&path, "%s: %s", gateway->model->path, where);
    struct model *m = failed ? NULL : new_model(document, buf_cstr(&path), topic, gateway->err);
    buf_destroy(&path);
    if (failed)
        model_bad(gateway, ERR_LIMIT, where, "the path is too long");
    if (!m)
        return NULL;
    struct model_parse p = {.model = m, .env = gateway->env, .child_topic = m->child_topic, .err = gateway->err};
    memcpy(p.dir, gateway->dir, sizeof(p.dir));
    if (!parse_document(&p))
        return m;
    model_delete(m);
    return NULL;
}

struct model *model_parse(const char *text, size_t n, const char *path, const struct model_env *env, struct error *err)
{
    json_t *document = json_parse(text, n, path, err);
    struct model *m = document ? model_parse_json(document, path, env, err) : NULL;
    json_decref(document);
    return m;
}

static void delete_sparkplug(struct model_sparkplug *s)
{
    if (!s)
        return;
    payload_delete(s->birth_topic);
    payload_delete(s->command_topic);
    payload_delete(s->death_topic);
    free(s->fields);
    free(s);
}

void model_delete(struct model *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->n_streams; i++) {
        payload_delete(m->streams[i].topic_template);
        payload_delete(m->streams[i].payload);
        encoder_delete(m->streams[i].encoder);
    }
    for (unsigned i = 0; m->attributes && i < m->n_attributes; i++)
        gen_delete(m->attributes[i].gen);
    model_delete_commands(m);
    model_delete_behaviors(m);
    model_delete_children(m);
    delete_sparkplug(m->sparkplug);
    free(m->streams);
    free(m->attributes);
    free(m->names);
    free(m->precisions);
    free(m->hooks);
    json_decref(m->source);
    free(m->child_topic);
    free((char *)m->path);
    free(m);
}
