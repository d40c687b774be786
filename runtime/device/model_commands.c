// The commands of a model: where they come from, what they take, who carries them out, what is answered.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/model_template.h"

enum { MAX_PARAMETERS = COMMAND_MAX_PARAMETERS, MAX_NAMES = COMMAND_MAX_VALUES, MAX_TIMEOUT_MS = 86400000 };

// --- parameters ---------------------------------------------------------------------------------------------------

static const char *const types[] = {"number", "integer", "boolean", "string", "object", NULL};
static const enum value_type values[] = {VALUE_NUMBER, VALUE_INTEGER, VALUE_BOOLEAN, VALUE_STRING, VALUE_JSON};

bool model_parameter_fits(const struct model_parameter *parameter, const json_t *value)
{
    switch (parameter->type) {
    case VALUE_NULL:
        return !json_is_null(value);
    case VALUE_NUMBER:
        return json_is_number(value);
    case VALUE_INTEGER: // 3.0 is a whole number: JSON has only one kind of number, and some senders write it so
        return json_is_integer(value) || (json_is_real(value) && fabs(json_real_value(value)) <= 0x1p53 &&
                                          json_real_value(value) == floor(json_real_value(value)));
    case VALUE_BOOLEAN:
        return json_is_boolean(value);
    case VALUE_STRING:
        return json_is_string(value);
    default:
        return json_is_object(value);
    }
}

const char *model_parameter_type(const struct model_parameter *parameter)
{
    for (unsigned i = 0; types[i]; i++) {
        if (values[i] == parameter->type)
            return types[i];
    }
    return "any value";
}

static int parse_bound(struct model_parse *p, const json_t *object, const char *where, const char *key, bool *has,
                       double *bound)
{
    *has = json_object_get(object, key) != NULL;
    return json_get_num(object, key, 0, bound, p->err) ? model_at(p, where) : 0;
}

static int parse_limits(struct model_parse *p, const json_t *object, const char *where, struct model_parameter *q)
{
    if (parse_bound(p, object, where, "min", &q->has_min, &q->min) ||
        parse_bound(p, object, where, "max", &q->has_max, &q->max))
        return -1;
    bool numeric = q->type == VALUE_NUMBER || q->type == VALUE_INTEGER;
    if ((q->has_min || q->has_max) && !numeric)
        return model_bad(p, ERR_INVALID, where, "min and max are for number and integer, \"%s\" is %s", q->name,
                         q->type == VALUE_NULL ? "of no type" : model_parameter_type(q));
    if (q->has_min && q->has_max && q->min > q->max)
        return model_bad(p, ERR_INVALID, where, "min %.14g is above max %.14g", q->min, q->max);
    q->values = json_object_get(object, "values");
    if (!q->values)
        return 0;
    if (!json_is_array(q->values) || !json_array_size(q->values))
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/values", where), "expected a list of at least one value");
    for (size_t i = 0; i < json_array_size(q->values); i++) {
        if (!model_parameter_fits(q, json_array_get(q->values, i)))
            return model_bad(p, ERR_INVALID, model_pointer(p, "%s/values/%zu", where, i), "expected %s, as its type",
                             model_parameter_type(q));
    }
    return 0;
}

static int parse_parameter(struct model_parse *p, struct model_command *c, const char *command, const json_t *object,
                           size_t i)
{
    struct model_parameter *q = &c->parameters[i];
    char where[96];
    const char *type;
    snprintf(where, sizeof(where), "%s/parameters/%zu", command, i);
    if (!json_is_object(object))
        return model_bad(p, ERR_INVALID, where, "expected an object");
    if (model_required(p, object, where, "name", &q->name))
        return -1;
    if (json_get_str(object, "type", NULL, &type, p->err) ||
        json_get_bool(object, "required", false, &q->required, p->err))
        return model_at(p, where);
    int k = type ? model_choose(p, model_pointer(p, "%s/type", where), type, types) : 0;
    if (k < 0)
        return -1;
    q->type = type ? values[k] : VALUE_NULL;
    for (size_t j = 0; j < i; j++) {
        if (!strcmp(c->parameters[j].name, q->name))
            return model_bad(p, ERR_INVALID, model_pointer(p, "%s/name", where), "there are two parameters named %s",
                             q->name);
    }
    return parse_limits(p, object, where, q);
}

static int parse_parameters(struct model_parse *p, struct model_command *c, const json_t *object, const char *where)
{
    const json_t *list = json_object_get(object, "parameters");
    size_t n = json_array_size(list);
    if (list && !json_is_array(list))
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/parameters", where), "expected an array");
    if (n > MAX_PARAMETERS)
        return model_bad(p, ERR_LIMIT, model_pointer(p, "%s/parameters", where), "at most %d parameters, there are %zu",
                         MAX_PARAMETERS, n);
    if (!n)
        return 0;
    c->parameters = calloc(n, sizeof(*c->parameters));
    if (!c->parameters)
        return model_no_memory(p);
    c->n_parameters = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        if (parse_parameter(p, c, where, json_array_get(list, i), i))
            return -1;
    }
    return 0;
}

// --- answers ------------------------------------------------------------------------------------------------------

// What the answer and its topic may name: see COMMAND_MAX_VALUES. precision gets as many places.
static int answer_names(struct model_parse *p, struct model_command *c, int *precision)
{
    static const char *const own[] = {"command", "id", "result"};
    const struct model *m = p->model;
    unsigned n = 0;
    const char **names = calloc(c->n_parameters + m->n_attributes + 3, sizeof(*names));
    if (!names)
        return model_no_memory(p);
    c->response_names = names;
    for (unsigned i = 0; i < c->n_parameters; i++) {
        precision[n] = 9; // as it was sent, as far as that goes
        names[n++] = c->parameters[i].name;
    }
    for (unsigned i = 0; i < m->n_attributes; i++) {
        precision[n] = m->precisions[i];
        names[n++] = m->names[i];
    }
    for (unsigned i = 0; i < 3; i++) {
        precision[n] = -1;
        names[n++] = own[i];
    }
    c->n_response_names = n;
    return 0;
}

static bool mentions(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = strchr(text, '{'); s; s = strchr(s + 1, '{')) {
        if (!strncmp(s + 1, name, n) && s[1 + n] == '}')
            return true;
    }
    return false;
}

// A device keeps its latest values only where somebody asks for them.
static void keep_what_is_named(struct model_parse *p, const char *text)
{
    for (unsigned i = 0; text && i < p->model->n_attributes; i++)
        p->model->keeps_values |= mentions(text, p->model->names[i]);
}

static int compile_answer(struct model_parse *p, struct model_command *c, const json_t *template, const char *where,
                          const int *precision)
{
    struct template_names names = {c->response_names, precision, c->n_response_names};
    char pointer[96];
    snprintf(pointer, sizeof(pointer), "%s/response/template", where);
    if (!json_is_string(template) && !json_is_object(template))
        return model_bad(p, ERR_INVALID, pointer, "expected a text or an object");
    c->response = model_template(p, pointer, template, &names);
    if (!c->response)
        return -1;
    char *text = json_dumps(template, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text)
        return model_no_memory(p);
    keep_what_is_named(p, text);
    free(text);
    return 0;
}

static int parse_response(struct model_parse *p, struct model_command *c, const json_t *object, const char *where)
{
    const json_t *response = json_object_get(object, "response");
    const char *topic;
    int precision[MAX_NAMES];
    if (!response)
        return 0;
    if (!json_is_object(response))
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/response", where), "expected an object");
    if (json_get_str(response, "topic", NULL, &topic, p->err))
        return model_at(p, model_pointer(p, "%s/response", where));
    if (answer_names(p, c, precision))
        return -1;
    if (topic) {
        char pointer[96];
        snprintf(pointer, sizeof(pointer), "%s/response/topic", where);
        c->response_topic = model_topic(p, pointer, topic, c->response_names, precision, c->n_response_names);
        if (!c->response_topic)
            return -1;
        keep_what_is_named(p, topic);
    }
    const json_t *template = json_object_get(response, "template");
    return template ? compile_answer(p, c, template, where, precision) : 0;
}

// --- commands -----------------------------------------------------------------------------------------------------

static int parse_handler(struct model_parse *p, struct model_command *c, const json_t *object, const char *where)
{
    const char *handler;
    int64_t timeout_ms;
    if (json_get_str(object, "handler", NULL, &handler, p->err) ||
        json_get_int(object, "timeoutMs", 10000, &timeout_ms, p->err))
        return model_at(p, where);
    if (timeout_ms < 1 || timeout_ms > MAX_TIMEOUT_MS)
        return model_bad(p, ERR_INVALID, model_pointer(p, "%s/timeoutMs", where), "must be 1..%d, is %lld",
                         MAX_TIMEOUT_MS, (long long)timeout_ms);
    c->timeout_us = timeout_ms * 1000;
    c->hook = handler ? model_hook(p, handler, p->err) : -1;
    return handler && c->hook < 0 ? model_at(p, where) : 0;
}

static int parse_command(struct model_parse *p, const json_t *object, size_t i)
{
    struct model_command *c = &p->model->commands[i];
    char where[64];
    snprintf(where, sizeof(where), "/commands/%zu", i);
    if (!json_is_object(object))
        return model_bad(p, ERR_INVALID, where, "expected an object");
    if (model_required(p, object, where, "name", &c->name))
        return -1;
    for (size_t k = 0; k < i; k++) {
        if (!strcmp(p->model->commands[k].name, c->name))
            return model_bad(p, ERR_INVALID, model_pointer(p, "%s/name", where), "there are two commands named %s",
                             c->name);
    }
    if (json_get_str(object, "topic", NULL, &c->topic, p->err))
        return model_at(p, where);
    if (parse_handler(p, c, object, where) || parse_parameters(p, c, object, where) ||
        parse_response(p, c, object, where))
        return -1;
    if (!c->topic)
        return 0;
    c->topic_template = payload_compile(c->topic, NULL, NULL, 0, false, p->err);
    return c->topic_template ? 0 : model_at(p, model_pointer(p, "%s/topic", where));
}

int model_parse_commands(struct model_parse *p)
{
    struct model *m = p->model;
    json_t *list;
    if (model_array(p, "commands", MODEL_MAX_COMMANDS, &list))
        return -1;
    size_t n = list ? json_array_size(list) : 0;
    if (!n)
        return 0;
    m->commands = calloc(n, sizeof(*m->commands));
    if (!m->commands)
        return model_no_memory(p);
    m->n_commands = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        if (parse_command(p, json_array_get(list, i), i))
            return -1;
    }
    return 0;
}

void model_delete_commands(struct model *m)
{
    for (unsigned i = 0; m->commands && i < m->n_commands; i++) {
        struct model_command *c = &m->commands[i];
        payload_delete(c->topic_template);
        payload_delete(c->response_topic);
        payload_delete(c->response);
        free((void *)(uintptr_t)c->response_names);
        free(c->parameters);
    }
    free(m->commands);
}
