// Gateways and proxies: what a model says about its children, and which physical device it stands for.
//
// A child's model is compiled as any other, but for its topic: the pattern of `children` takes the place of its own. In
// that one ${deviceId} is the gateway and ${childId} the child, while everywhere else in the child's model ${deviceId}
// is the child; so the names are exchanged when the pattern is read, and whoever renders it needs to know nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/gateway.h"
#include "device/model_parse.h"
#include "device/proxy.h"

#define DEFAULT_ID "${deviceId}-${childIndex}"
#define DEFAULT_TOPIC "${groupId}/${deviceId}/${childId}/telemetry"
#define DEFAULT_BATCH_TOPIC "${groupId}/${deviceId}/batch"

enum { MAX_INTERVAL_MS = 2000000000, MIN_INTERVAL_MS = 100, MAX_PATTERN = 64 << 10 };

static const char *const child_names[] = {"childId", "childIndex"};

static bool mentions(const char *pattern, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = strchr(pattern, '{'); s; s = strchr(s + 1, '{')) {
        if (!strncmp(s + 1, name, n) && s[1 + n] == '}')
            return true;
    }
    return false;
}

// --- patterns -----------------------------------------------------------------------------------------------------

// Length of "${name}" or "{name}" at s, 0: something else stands there.
static size_t placeholder(const char *s, const char *name)
{
    size_t n = strlen(name), at = s[0] == '$';
    return s[at] == '{' && !strncmp(s + at + 1, name, n) && s[at + 1 + n] == '}' ? at + n + 2 : 0;
}

static int exchange_names(const char *pattern, struct buf *out)
{
    static const struct {
        const char *name, *becomes;
    } table[] = {{"deviceId", "${" PAYLOAD_GATEWAY_ID "}"},
                 {"childId", "${deviceId}"},
                 {"childIndex", "${" PAYLOAD_CHILD_INDEX "}"}};
    while (*pattern) {
        size_t n = 0, literal = !strncmp(pattern, "$${", 3) ? 3 : 1;
        for (unsigned i = 0; i < 3 && !n; i++) {
            n = placeholder(pattern, table[i].name);
            if (n && buf_append_str(out, table[i].becomes))
                return -1;
        }
        if (!n && buf_append(out, pattern, literal))
            return -1;
        pattern += n ? n : literal;
    }
    return 0;
}

// The pattern with its names exchanged, owned by the caller. Unknown names are errors that list the author's.
static char *child_pattern(struct model_parse *p, const char *pointer, const char *pattern, unsigned n_names)
{
    struct payload *asked = payload_compile(pattern, child_names + 2 - n_names, NULL, n_names, false, p->err);
    struct buf text;
    if (!asked) {
        model_at(p, pointer);
        return NULL;
    }
    payload_delete(asked);
    buf_create(&text, MAX_PATTERN);
    char *copy = exchange_names(pattern, &text) ? NULL : strdup(buf_cstr(&text));
    buf_destroy(&text);
    if (!copy)
        model_bad(p, ERR_LIMIT, pointer, "the pattern takes more than %d bytes", MAX_PATTERN);
    return copy;
}

// --- ids ----------------------------------------------------------------------------------------------------------

static int compile_id(struct model_parse *p, struct model_child *c, const char *where, const char *pattern)
{
    char pointer[96];
    snprintf(pointer, sizeof(pointer), "%s/idPattern", where);
    if (!pattern[0] || strpbrk(pattern, "/+#"))
        return model_bad(p, ERR_INVALID, pointer,
                         "\"%.100s\": a child's id is one level of a topic: not empty, without / + #", pattern);
    if (mentions(pattern, "childId"))
        return model_bad(p, ERR_INVALID, pointer, "\"%.100s\" cannot contain ${childId}, it makes it", pattern);
    if (c->count > 1 && !mentions(pattern, "childIndex"))
        return model_bad(p, ERR_INVALID, pointer,
                         "\"%.100s\" must contain ${childIndex}: %u children would have the same id", pattern,
                         c->count);
    char *text = child_pattern(p, pointer, pattern, 1);
    c->id = text ? payload_compile(text, NULL, NULL, 0, false, p->err) : NULL;
    free(text);
    return c->id ? 0 : -1;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int render_ids(const struct model_children *c, char **ids)
{
    struct payload_scope scope = {.group_id = "g", .index = 1, .gateway_id = "gateway"};
    struct buf id;
    unsigned n = 0;
    buf_create(&id, MAX_PATTERN);
    for (unsigned k = 0; k < c->n_kinds; k++) {
        for (unsigned i = 0; i < c->kinds[k].count; i++, n++) {
            scope.child_index = n + 1;
            buf_clear(&id);
            if (payload_render(c->kinds[k].id, &scope, &id) || !(ids[n] = strdup(buf_cstr(&id))))
                n = c->n; // leaves both loops
            if (n == c->n) {
                buf_destroy(&id);
                return -1;
            }
        }
    }
    buf_destroy(&id);
    return 0;
}

// No two children of a gateway may have the same id, whatever the patterns are.
static int check_ids(struct model_parse *p, const struct model_children *c)
{
    char **ids = calloc(c->n, sizeof(*ids));
    int rc = ids && !render_ids(c, ids) ? 0 : model_no_memory(p);
    if (!rc)
        qsort(ids, c->n, sizeof(*ids), by_text);
    for (unsigned i = 1; i < c->n && !rc; i++) {
        if (!strcmp(ids[i - 1], ids[i]))
            rc = model_bad(p, ERR_INVALID, "/children",
                           "two children have the id \"%.100s\"; ${childIndex} in "
                           "idPattern numbers all children of a gateway",
                           ids[i]);
    }
    for (unsigned i = 0; ids && i < c->n; i++)
        free(ids[i]);
    free(ids);
    return rc;
}

// --- children -----------------------------------------------------------------------------------------------------

static int parse_child(struct model_parse *p, const json_t *object, size_t i, struct model_child *c)
{
    char where[64], pointer[80];
    const char *id, *topic;
    int64_t count;
    snprintf(where, sizeof(where), "/children/%zu", i);
    snprintf(pointer, sizeof(pointer), "%s/model", where);
    if (!json_is_object(object))
        return model_bad(p, ERR_INVALID, where, "expected an object");
    if (json_get_int(object, "count", 1, &count, p->err) ||
        json_get_str(object, "idPattern", DEFAULT_ID, &id, p->err) ||
        json_get_str(object, "topicPattern", DEFAULT_TOPIC, &topic, p->err))
        return model_at(p, where);
    if (count < 1 || count > MODEL_MAX_CHILDREN)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/count", where), "must be 1..%d, is %lld",
                         MODEL_MAX_CHILDREN, (long long)count);
    json_t *document = json_object_get(object, "model");
    if (!json_is_object(document))
        return model_bad(p, ERR_INVALID, pointer,
                         json_is_string(document) ? "\"%s\" was not resolved: the model itself is expected here"
                                                  : "\"model\" is missing%s",
                         json_is_string(document) ? json_string_value(document) : "");
    c->count = (unsigned)count;
    if (compile_id(p, c, where, id))
        return -1;
    char topic_pointer[80];
    snprintf(topic_pointer, sizeof(topic_pointer), "%s/topicPattern", where);
    if (!topic[0] || strpbrk(topic, "+#"))
        return model_bad(p, ERR_INVALID, topic_pointer,
                         "\"%.100s\" is no topic to publish to: it is empty or contains + or #", topic);
    char *pattern = child_pattern(p, topic_pointer, topic, 2);
    c->model = pattern ? model_parse_child(p, pointer, document, pattern) : NULL;
    free(pattern);
    return c->model ? 0 : -1;
}

static int parse_list(struct model_parse *p, const json_t *list)
{
    struct model_children *c = p->model->children;
    size_t n = json_array_size(list);
    c->kinds = calloc(n, sizeof(*c->kinds));
    if (!c->kinds)
        return model_no_memory(p);
    for (size_t i = 0; i < n; i++) {
        c->n_kinds++;
        if (parse_child(p, json_array_get(list, i), i, &c->kinds[i]))
            return -1;
        c->n += c->kinds[i].count;
        if (c->n > MODEL_MAX_CHILDREN)
            return model_bad(p, ERR_LIMIT, "/children", "more than %d children", MODEL_MAX_CHILDREN);
    }
    return check_ids(p, c);
}

// --- aggregation --------------------------------------------------------------------------------------------------

static int parse_aggregation(struct model_parse *p, struct model_children *c)
{
    static const char *const modes[] = {"forward", "batch", NULL};
    const json_t *a = json_object_get(p->model->source, "aggregation");
    const char *mode, *topic;
    int64_t interval_ms, max_messages;
    if (a && !json_is_object(a))
        return model_bad(p, ERR_INVALID, "/aggregation", "expected an object");
    if (json_get_str(a, "mode", "forward", &mode, p->err) ||
        json_get_int(a, "intervalMs", 5000, &interval_ms, p->err) ||
        json_get_int(a, "maxMessages", 100, &max_messages, p->err) ||
        json_get_str(a, "topic", DEFAULT_BATCH_TOPIC, &topic, p->err))
        return model_at(p, "/aggregation");
    int k = model_choose(p, "/aggregation/mode", mode, modes);
    if (k < 0)
        return -1;
    if (interval_ms < MIN_INTERVAL_MS || interval_ms > MAX_INTERVAL_MS)
        return model_bad(p, ERR_INVALID, "/aggregation/intervalMs", "must be %d..%d, is %lld", MIN_INTERVAL_MS,
                         MAX_INTERVAL_MS, (long long)interval_ms);
    if (max_messages < 1 || max_messages > 65536)
        return model_bad(p, ERR_INVALID, "/aggregation/maxMessages", "must be 1..65536, is %lld",
                         (long long)max_messages);
    c->mode = (enum aggregation_mode)k;
    c->interval_us = interval_ms * 1000;
    c->max_messages = (unsigned)max_messages;
    c->topic = model_topic(p, "/aggregation/topic", topic, NULL, NULL, 0);
    return c->topic ? 0 : -1;
}

// ------------------------------------------------------------------------------------------------------------------

static int misplaced(struct model_parse *p, const char *key, enum model_type type, const char *name)
{
    char pointer[32];
    snprintf(pointer, sizeof(pointer), "/%s", key);
    if (p->model->type == type || !json_object_get(p->model->source, key))
        return 0;
    return model_bad(p, ERR_INVALID, pointer, "only a %s has this", name);
}

// What a child cannot be.
static int check_child(struct model_parse *p)
{
    const struct model *m = p->model;
    if (m->type == MODEL_GATEWAY || m->type == MODEL_PROXY)
        return model_bad(p, ERR_UNSUPPORTED, "/type", "%s is a %s; a child is a sensor, an actuator or custom", m->id,
                         m->type == MODEL_GATEWAY ? "gateway" : "proxy");
    if (m->sparkplug)
        return model_bad(p, ERR_UNSUPPORTED, "/encoding",
                         "%s is a Sparkplug node, which has a connection of its own; give it another encoding", m->id);
    return 0;
}

int model_parse_children(struct model_parse *p)
{
    struct model *m = p->model;
    json_t *list;
    if (p->child_topic && check_child(p))
        return -1;
    if (misplaced(p, "children", MODEL_GATEWAY, "gateway") || misplaced(p, "aggregation", MODEL_GATEWAY, "gateway") ||
        misplaced(p, "proxy", MODEL_PROXY, "proxy") || model_array(p, "children", MODEL_MAX_CHILD_KINDS, &list))
        return -1;
    m->proxy = json_object_get(m->source, "proxy");
    if (m->proxy && proxy_check(m->proxy, p->err))
        return model_at(p, "/proxy");
    if (m->type != MODEL_GATEWAY)
        return 0;
    struct model_children *c = m->children = calloc(1, sizeof(*c));
    if (!c)
        return model_no_memory(p);
    c->refs = 1;
    if (parse_aggregation(p, c)) // also of a gateway without children: nothing wrong is passed over
        return -1;
    if (list && json_array_size(list))
        return parse_list(p, list);
    model_delete_children(m);
    return 0;
}

void model_delete_children(struct model *m)
{
    struct model_children *c = m->children;
    m->children = NULL;
    if (!c || --c->refs)
        return;
    for (unsigned i = 0; i < c->n_kinds; i++) {
        model_delete(c->kinds[i].model);
        payload_delete(c->kinds[i].id);
    }
    payload_delete(c->topic);
    free(c->kinds);
    free(c);
}

const struct model *model_child(const struct model *m, unsigned kind)
{
    return m && m->children && kind < m->children->n_kinds ? m->children->kinds[kind].model : NULL;
}

static bool same_member(const struct model *a, const struct model *b, const char *key)
{
    const json_t *x = json_object_get(a->source, key), *y = json_object_get(b->source, key);
    return x && y ? json_equal(x, y) : x == y;
}

bool model_children_same(const struct model *a, const struct model *b)
{
    return !a->children == !b->children && same_member(a, b, "children") && same_member(a, b, "aggregation");
}

void model_children_keep(const struct model *from, struct model *to)
{
    model_delete_children(to);
    to->children = from->children;
    if (to->children)
        to->children->refs++;
}
