// From the bytes of a command to parameters that are what the model says they are.
#include "device/command_impl.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"

static const char *const reasons[COMMAND_REASON_MAX] = {
    "malformed", "unknown", "missing", "type", "range", "busy", "handler", "timeout", "unsent",
};

const char *command_reason_name(enum command_reason r)
{
    return reasons[r];
}

int command_fault(struct command_fault *f, enum command_reason reason, const char *parameter, const char *fmt, ...)
{
    char text[sizeof(f->err.text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    f->reason = reason;
    f->parameter = parameter;
    return error_set(&f->err, ERR_INVALID, "%s", text);
}

// --- names --------------------------------------------------------------------------------------------------------

// "; valid: a, b, c; did you mean "b"?" into text. names is NULL-terminated.
static void say_names(const char *word, const char *const *names, char *text, size_t size)
{
    struct buf b;
    const char *near = suggest(word, names);
    buf_create(&b, (uint32_t)size);
    for (unsigned i = 0; names[i]; i++) {
        if (buf_printf(&b, "%s%s", i ? ", " : "; valid: ", names[i])) // what does not fit is left out
            break;
    }
    if (!names[0])
        snprintf(text, size, "; it takes none");
    else
        snprintf(text, size, "%s%s%s%s", buf_cstr(&b), near ? "; did you mean \"" : "", near ? near : "",
                 near ? "\"?" : "");
    buf_destroy(&b);
}

static int unknown_parameter(const struct model_command *c, const char *name, struct command_fault *f)
{
    const char *names[COMMAND_MAX_PARAMETERS + 1];
    char valid[320];
    for (unsigned i = 0; i < c->n_parameters; i++)
        names[i] = c->parameters[i].name;
    names[c->n_parameters] = NULL;
    say_names(name, names, valid, sizeof(valid));
    return command_fault(f, COMMAND_UNKNOWN, name, "%s has no parameter \"%.60s\"%s", c->name, name, valid);
}

static int unknown_command(const struct model *model, const char *name, struct command_fault *f)
{
    const char *names[MODEL_MAX_COMMANDS + 1];
    char valid[320];
    for (unsigned i = 0; i < model->n_commands; i++)
        names[i] = model->commands[i].name;
    names[model->n_commands] = NULL;
    say_names(name, names, valid, sizeof(valid));
    return command_fault(f, COMMAND_UNKNOWN, NULL, "there is no command \"%.60s\"%s", name, valid);
}

static const struct model_parameter *find_parameter(const struct model_command *c, const char *name)
{
    for (unsigned i = 0; i < c->n_parameters; i++) {
        if (!strcmp(c->parameters[i].name, name))
            return &c->parameters[i];
    }
    return NULL;
}

// --- parameters ---------------------------------------------------------------------------------------------------

static const char *type_of(const json_t *v)
{
    static const char *const names[] = {"an object", "an array", "a text", "a number",
                                        "a number",  "true",     "false",  "null"};
    return names[json_typeof(v)];
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static int check_values(const struct model_parameter *p, const json_t *v, struct command_fault *f)
{
    size_t n = json_array_size(p->values);
    for (size_t i = 0; i < n; i++) {
        if (same(json_array_get(p->values, i), v))
            return 0;
    }
    struct buf list;
    struct error err;
    buf_create(&list, 300);
    for (size_t i = 0; i < n; i++) {
        if ((i && buf_append_str(&list, ", ")) || json_write(json_array_get(p->values, i), &list, &err))
            break;
    }
    command_fault(f, COMMAND_RANGE, p->name, "%s: must be one of %s", p->name, buf_cstr(&list));
    buf_destroy(&list);
    return -1;
}

static int check_range(const struct model_parameter *p, const json_t *v, struct command_fault *f)
{
    double x = json_number_value(v);
    if ((p->has_min && x < p->min) || (p->has_max && x > p->max)) {
        char low[40] = "", high[40] = "";
        if (p->has_min)
            snprintf(low, sizeof(low), " at least %.14g", p->min);
        if (p->has_max)
            snprintf(high, sizeof(high), "%s at most %.14g", p->has_min ? " and" : "", p->max);
        return command_fault(f, COMMAND_RANGE, p->name, "%s: must be%s%s, is %.14g", p->name, low, high, x);
    }
    return p->values ? check_values(p, v, f) : 0;
}

static int check_parameter(const struct model_parameter *p, json_t *params, struct command_fault *f)
{
    const json_t *v = json_object_get(params, p->name);
    if (!v) // null was as good as nothing, and has been taken out
        return p->required ? command_fault(f, COMMAND_MISSING, p->name, "%s is missing", p->name) : 0;
    if (!model_parameter_fits(p, v))
        return command_fault(f, COMMAND_TYPE, p->name, "%s: expected %s, got %s", p->name, model_parameter_type(p),
                             json_is_real(v) && p->type == VALUE_INTEGER ? "a fraction" : type_of(v));
    if (p->type == VALUE_INTEGER && json_is_real(v)) {
        if (json_object_set_new(params, p->name, json_integer((json_int_t)json_real_value(v))))
            return command_fault(f, COMMAND_BUSY, NULL, "out of memory");
        v = json_object_get(params, p->name);
    }
    return check_range(p, v, f);
}

static int check_parameters(const struct model_command *c, json_t *params, struct command_fault *f)
{
    const char *key;
    json_t *v;
    void *next;
    json_object_foreach_safe(params, next, key, v)
    {
        if (!find_parameter(c, key))
            return unknown_parameter(c, key, f);
        if (json_is_null(v))
            json_object_del(params, key);
    }
    for (unsigned i = 0; i < c->n_parameters; i++) {
        if (check_parameter(&c->parameters[i], params, f))
            return -1;
    }
    return 0;
}

// --- the message --------------------------------------------------------------------------------------------------

static int find_command(const struct model *model, struct command_message *m, struct command_fault *f)
{
    const json_t *name = json_object_get(m->document, "command");
    if (!name)
        return command_fault(f, COMMAND_MALFORMED, NULL,
                             "\"command\" is missing: expected {\"command\": \"%s\", \"params\": {…}, \"id\": …}",
                             model->commands[0].name);
    if (!json_is_string(name))
        return command_fault(f, COMMAND_MALFORMED, NULL, "\"command\" must be a text, is %s", type_of(name));
    for (unsigned i = 0; i < model->n_commands && !m->model; i++) {
        if (!strcmp(model->commands[i].name, json_string_value(name)))
            m->model = &model->commands[i];
    }
    return m->model ? 0 : unknown_command(model, json_string_value(name), f);
}

// {"params": {…}} with whatever else beside it, or the parameters themselves, among which "command" (where it has a
// meaning) and "id" are not counted unless the command has a parameter of that name.
static void take_params(struct command_message *m, bool named)
{
    json_t *inner = json_object_get(m->document, "params");
    if (json_is_object(inner) && !find_parameter(m->model, "params")) {
        m->params = json_copy(inner);
        m->id = json_incref(json_object_get(m->document, "id"));
        return;
    }
    m->params = json_copy(m->document);
    if (named && !find_parameter(m->model, "command"))
        json_object_del(m->params, "command");
    if (find_parameter(m->model, "id"))
        return;
    m->id = json_incref(json_object_get(m->document, "id"));
    json_object_del(m->params, "id");
}

static bool blank(const char *s, size_t n)
{
    while (n && strchr(" \t\r\n", *s) && *s)
        s++, n--;
    return n == 0;
}

static json_t *parse(const void *payload, size_t n, bool named, struct command_fault *f)
{
    struct error err = {0};
    if (!named && blank(payload, n))
        return json_object();
    json_t *document = json_parse(payload ? payload : "", n, "command", &err);
    if (!document)
        command_fault(f, COMMAND_MALFORMED, NULL, "%s", err.text);
    return document;
}

int command_read(const struct model *model, const void *payload, size_t n, struct command_message *m,
                 struct command_fault *f)
{
    bool named = !m->model;
    m->document = parse(payload, n, named, f);
    if (!m->document)
        return f->err.code ? -1 : command_fault(f, COMMAND_BUSY, NULL, "out of memory");
    if (!json_is_object(m->document))
        return command_fault(f, COMMAND_MALFORMED, NULL, "expected an object such as %s, got %s",
                             named ? "{\"command\": NAME, \"params\": {…}}" : "{\"params\": {…}}",
                             type_of(m->document));
    if (named && find_command(model, m, f)) {
        m->id = json_incref(json_object_get(m->document, "id"));
        return -1;
    }
    take_params(m, named);
    if (!m->params)
        return command_fault(f, COMMAND_BUSY, NULL, "out of memory");
    return check_parameters(m->model, m->params, f);
}

void command_message_free(struct command_message *m)
{
    json_decref(m->params);
    json_decref(m->id);
    json_decref(m->document);
}
