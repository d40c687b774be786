// What a model does by itself: behaviors, compiled once. What they do then is in rule.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "device/model_template.h"
#include "device/rule.h"

enum { MAX_MS = 2000000000 };

struct behavior {
    struct model_parse *p;
    struct model_behavior *b;
    const json_t *trigger, *action;
    char where[64];                        // of the behavior
    const char *names[COMMAND_MAX_VALUES]; // that its templates may use
    int precision[COMMAND_MAX_VALUES];
    struct template_names template;
};

// A pointer below the behavior, in the parse's.
static const char *below(struct behavior *x, const char *path)
{
    return model_pointer(x->p, "%s/%s", x->where, path);
}

static int object_at(struct behavior *x, const json_t *object, const char *key, const json_t **out)
{
    *out = json_object_get(object, key);
    if (!*out)
        return model_bad(x->p, ERR_INVALID, x->where, "\"%s\" is missing", key);
    if (!json_is_object(*out))
        return model_bad(x->p, ERR_INVALID, below(x, key), "expected an object");
    return 0;
}

static int get_ms(struct behavior *x, const json_t *object, const char *path, const char *key, int64_t *us)
{
    int64_t ms;
    char pointer[100];
    snprintf(pointer, sizeof(pointer), "%s/%s", x->where, path);
    if (json_get_int(object, key, 0, &ms, x->p->err))
        return model_at(x->p, pointer);
    if (ms < 0 || ms > MAX_MS)
        return model_bad(x->p, ERR_INVALID, model_pointer(x->p, "%s/%s", pointer, key),
                         "must be 0 to %d milliseconds, is %lld", MAX_MS, (long long)ms);
    *us = ms * 1000;
    return 0;
}

// --- triggers -----------------------------------------------------------------------------------------------------

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const struct model_command *command_of(const struct model *m, const char *name, size_t n)
{
    for (unsigned i = 0; i < m->n_commands; i++) {
        if (strlen(m->commands[i].name) == n && !memcmp(m->commands[i].name, name, n))
            return &m->commands[i];
    }
    return NULL;
}

// command:NAME or command:NAME:PARAM=VALUE
static int parse_command_event(struct behavior *x, const char *text)
{
    struct rule_event *e = &x->b->event;
    const char *name = text + strlen("command:"), *colon = strchr(name, ':');
    size_t n = colon ? (size_t)(colon - name) : strlen(name);
    e->name.n = (size_t)(name - text) + n;
    x->b->command = command_of(x->p->model, name, n);
    if (!n)
        return model_bad(x->p, ERR_INVALID, below(x, "trigger/event"), "expected command:NAME, there is no name");
    if (!colon)
        return 0;
    const char *equals = strchr(colon + 1, '=');
    if (!equals || equals == colon + 1)
        return model_bad(x->p, ERR_INVALID, below(x, "trigger/event"),
                         "\"%.100s\": expected PARAM=VALUE behind command:NAME:", text);
    e->parameter = (struct rule_text){colon + 1, (size_t)(equals - colon - 1)};
    e->value = (struct rule_text){equals + 1, strlen(equals + 1)};
    if (e->parameter.n > 255 || e->value.n > 255)
        return model_bad(x->p, ERR_LIMIT, below(x, "trigger/event"), "a parameter or value of more than 255 bytes");
    for (unsigned i = 0; x->b->command && i < x->b->command->n_parameters; i++) {
        const char *parameter = x->b->command->parameters[i].name;
        if (strlen(parameter) == e->parameter.n && !memcmp(parameter, e->parameter.s, e->parameter.n))
            return 0;
    }
    return !x->b->command
               ? 0
               : model_bad(x->p, ERR_INVALID, below(x, "trigger/event"), "the command %s has no parameter \"%.*s\"",
                           x->b->command->name, (int)e->parameter.n, e->parameter.s);
}

// behavior:NAME, failure:KIND, recovered:KIND: there must be such a one.
static int check_named(struct behavior *x, const char *text)
{
    const char *name = strchr(text, ':') + 1;
    if (!starts_with(text, "behavior:"))
        return model_choose(x->p, below(x, "trigger/event"), name, failure_names()) < 0 ? -1 : 0;
    const json_t *list = json_object_get(x->p->model->source, "behaviors");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *other = json_string_value(json_object_get(json_array_get(list, i), "name"));
        if (other && !strcmp(other, name))
            return 0;
    }
    return model_bad(x->p, ERR_INVALID, below(x, "trigger/event"), "there is no behavior named \"%.100s\"", name);
}

// A command that the model does not have, or an event of a name of the author's own, is not an error: models of the
// published format may name what only their scripts raise.
static int parse_event(struct behavior *x)
{
    const char *text;
    if (model_required(x->p, x->trigger, below(x, "trigger"), "event", &text))
        return -1;
    x->b->event.all = x->b->event.name = (struct rule_text){text, strlen(text)};
    if (starts_with(text, "command:"))
        return parse_command_event(x, text);
    if (starts_with(text, "behavior:") || starts_with(text, "failure:") || starts_with(text, "recovered:"))
        return check_named(x, text);
    return 0;
}

static int parse_schedule(struct behavior *x)
{
    const char *text, *zone;
    if (model_required(x->p, x->trigger, below(x, "trigger"), "schedule", &text))
        return -1;
    if (json_get_str(x->trigger, "timeZone", NULL, &zone, x->p->err))
        return model_at(x->p, below(x, "trigger"));
    if (cron_parse(text, &x->b->cron, x->p->err))
        return model_at(x->p, below(x, "trigger/schedule"));
    if (zone && !(x->b->zone = zone_open(zone, x->p->err)))
        return model_at(x->p, below(x, "trigger/timeZone"));
    return 0;
}

static int parse_expression(struct behavior *x, const char *key, bool required, struct expr **out)
{
    const struct model *m = x->p->model;
    char path[32];
    const char *text;
    snprintf(path, sizeof(path), "trigger/%s", key);
    if (json_get_str(x->trigger, key, NULL, &text, x->p->err))
        return model_at(x->p, below(x, "trigger"));
    if (!text)
        return required ? model_bad(x->p, ERR_INVALID, below(x, "trigger"), "\"%s\" is missing", key) : 0;
    *out = expr_compile(text, m->names, m->n_attributes, x->p->err);
    return *out ? 0 : model_at(x->p, below(x, path));
}

static int parse_condition(struct behavior *x)
{
    x->p->model->has_conditions = true;
    return parse_expression(x, "condition", true, &x->b->condition) ||
                   parse_expression(x, "reset", false, &x->b->reset) ||
                   get_ms(x, x->trigger, "trigger", "forMs", &x->b->for_us)
               ? -1
               : 0;
}

static int parse_trigger(struct behavior *x)
{
    static const char *const types[] = {"event", "schedule", "condition", "startup", NULL};
    const char *type;
    if (model_required(x->p, x->trigger, below(x, "trigger"), "type", &type))
        return -1;
    int i = model_choose(x->p, below(x, "trigger/type"), type, types);
    if (i < 0 || get_ms(x, x->trigger, "trigger", "cooldownMs", &x->b->cooldown_us))
        return -1;
    x->b->trigger = (enum rule_trigger)i;
    switch (x->b->trigger) {
    case TRIGGER_EVENT:
        return parse_event(x);
    case TRIGGER_SCHEDULE:
        return parse_schedule(x);
    case TRIGGER_CONDITION:
        return parse_condition(x);
    case TRIGGER_STARTUP:
        break;
    }
    return 0;
}

// --- actions ------------------------------------------------------------------------------------------------------

// Parameters of the command that triggers it hide attributes of the same name.
static void gather_names(struct behavior *x)
{
    const struct model *m = x->p->model;
    unsigned n = 0;
    for (unsigned i = 0; x->b->command && i < x->b->command->n_parameters; i++) {
        x->precision[n] = 9; // as it was sent, as far as that goes
        x->names[n++] = x->b->command->parameters[i].name;
    }
    for (unsigned i = 0; i < m->n_attributes; i++) {
        x->precision[n] = m->precisions[i];
        x->names[n++] = m->names[i];
    }
    x->b->n_names = n;
    x->template = (struct template_names){x->names, x->precision, n};
}

static int parse_publish(struct behavior *x)
{
    const json_t *payload = json_object_get(x->action, "payload");
    const char *topic, *where = "action/topic";
    char pointer[100];
    if (json_get_str(x->action, "topic", NULL, &topic, x->p->err))
        return model_at(x->p, below(x, "action"));
    if (!topic) {
        topic = x->p->model->topic_pattern;
        where = "action";
        if (strstr(topic, "{attribute}"))
            return model_bad(x->p, ERR_INVALID, below(x, where),
                             "\"topic\" is missing, and that of the model is one for each attribute");
    }
    snprintf(pointer, sizeof(pointer), "%s/%s", x->where, where);
    x->b->topic = model_topic(x->p, pointer, topic, x->names, x->precision, x->template.n);
    if (!x->b->topic)
        return -1;
    json_t *own = payload ? json_incref((json_t *)(uintptr_t)payload)
                          : json_pack("{s:s, s:s}", "behavior", x->b->name, "timestamp", "${timestamp}");
    snprintf(pointer, sizeof(pointer), "%s/action/payload", x->where);
    x->b->payload = own ? model_template(x->p, pointer, own, &x->template) : NULL;
    json_decref(own);
    return x->b->payload ? 0 : own ? -1 : model_no_memory(x->p);
}

static int parse_log(struct behavior *x)
{
    const char *message;
    if (json_get_str(x->action, "message", x->b->name, &message, x->p->err))
        return model_at(x->p, below(x, "action"));
    x->b->message = payload_compile(message, x->names, x->precision, x->template.n, false, x->p->err);
    return x->b->message ? 0 : model_at(x->p, below(x, "action/message"));
}

static const struct model_attribute *attribute_of(const struct model *m, unsigned slot)
{
    for (unsigned i = 0; i < m->n_attributes; i++) {
        if (m->attributes[i].slot == slot)
            return &m->attributes[i];
    }
    return NULL;
}

// A constant generator knows what fits a type.
static int check_value(struct behavior *x, const json_t *value, unsigned slot, const char *pointer)
{
    const struct model_attribute *a = attribute_of(x->p->model, slot);
    json_t *constant = json_pack("{s:s, s:O}", "type", "constant", "value", value);
    struct gen_spec *spec = constant && a ? gen_parse(constant, a->type, NULL, x->p->err) : NULL;
    json_decref(constant);
    if (!spec)
        return model_at(x->p, pointer);
    gen_delete(spec);
    return 0;
}

static int unknown_attribute(struct behavior *x, const char *pointer, const char *name)
{
    const struct model *m = x->p->model;
    const char *names[MODEL_MAX_ATTRIBUTES + 1];
    for (unsigned i = 0; i < m->n_attributes; i++)
        names[i] = m->names[i];
    names[m->n_attributes] = NULL;
    return model_choose(x->p, pointer, name, names) < 0 ? -1 : 0;
}

static int parse_one_state(struct behavior *x, const char *name, const json_t *value, struct rule_state *s)
{
    char pointer[200];
    snprintf(pointer, sizeof(pointer), "%s/action/state/%.100s", x->where, name);
    int slot = model_slot(x->p->model, name);
    if (slot < 0)
        return unknown_attribute(x, pointer, name);
    s->slot = (unsigned)slot;
    const char *text = json_string_value(value);
    if (!text || !strchr(text, '{')) {
        s->value = value;
        return json_is_null(value) ? 0 : check_value(x, value, s->slot, pointer);
    }
    int place = template_placeholder(text, &x->template);
    if (place >= 0) {
        s->parameter = x->names[place];
        return 0;
    }
    s->text = payload_compile(text, x->names, x->precision, x->template.n, false, x->p->err);
    return s->text ? 0 : model_at(x->p, pointer);
}

static int parse_state(struct behavior *x)
{
    const json_t *state;
    const char *name;
    json_t *value;
    if (object_at(x, x->action, "state", &state))
        return -1;
    size_t n = json_object_size(state);
    if (!n || n > RULE_MAX_STATES)
        return model_bad(x->p, ERR_INVALID, below(x, "action/state"), "expected 1 to %d attributes, there are %zu",
                         RULE_MAX_STATES, n);
    x->b->states = calloc(n, sizeof(*x->b->states));
    if (!x->b->states)
        return model_no_memory(x->p);
    json_object_foreach((json_t *)(uintptr_t)state, name, value)
    {
        if (parse_one_state(x, name, value, &x->b->states[x->b->n_states++]))
            return -1;
    }
    return 0;
}

static int parse_custom(struct behavior *x)
{
    const char *handler;
    if (model_required(x->p, x->action, below(x, "action"), "handler", &handler))
        return -1;
    x->b->params = json_object_get(x->action, "params");
    x->b->hook = model_hook(x->p, handler, x->p->err);
    return x->b->hook < 0 ? model_at(x->p, below(x, "action")) : 0;
}

static int parse_failure(struct behavior *x, const char *kind)
{
    int64_t duration_us;
    if (get_ms(x, x->action, "action", "duration", &duration_us))
        return -1;
    if (failure_parse(kind, json_object_get(x->action, "params"), duration_us, x->p->model, &x->b->failure, x->p->err))
        return model_at(x->p, below(x, "action"));
    x->b->failure.action = x->b->action == ACTION_DISCONNECT;
    return 0;
}

static int parse_action(struct behavior *x)
{
    static const char *const types[] = {"publish", "disconnect", "reconnect", "setState",
                                        "log",     "custom",     "fail",      NULL};
    const char *type;
    if (model_required(x->p, x->action, below(x, "action"), "type", &type))
        return -1;
    int i = model_choose(x->p, below(x, "action/type"), type, types);
    if (i < 0)
        return -1;
    x->b->action = (enum rule_action)i;
    gather_names(x);
    switch (x->b->action) {
    case ACTION_PUBLISH:
        return parse_publish(x);
    case ACTION_LOG:
        return parse_log(x);
    case ACTION_SET_STATE:
        return parse_state(x);
    case ACTION_CUSTOM:
        return parse_custom(x);
    case ACTION_DISCONNECT:
        return parse_failure(x, failure_names()[FAILURE_DISCONNECT]);
    case ACTION_FAIL:
        return model_required(x->p, x->action, below(x, "action"), "failure", &type) ? -1 : parse_failure(x, type);
    case ACTION_RECONNECT:
        break;
    }
    return 0;
}

// ------------------------------------------------------------------------------------------------------------------

static int parse_behavior(struct model_parse *p, const json_t *object, size_t place, int *timers, int *cooldowns)
{
    struct model *m = p->model;
    struct behavior *x = calloc(1, sizeof(*x)); // names take some KB
    if (!x)
        return model_no_memory(p);
    struct model_behavior *b = x->b = &m->behaviors[m->n_behaviors++];
    x->p = p;
    b->hook = b->timer = b->cooldown = -1;
    snprintf(x->where, sizeof(x->where), "/behaviors/%zu", place);
    int failed = model_required(p, object, x->where, "name", &b->name) ||
                 object_at(x, object, "trigger", &x->trigger) || object_at(x, object, "action", &x->action) ||
                 parse_trigger(x) || parse_action(x);
    if (!failed && (b->trigger == TRIGGER_SCHEDULE || b->for_us))
        b->timer = (*timers)++;
    if (!failed && b->cooldown_us)
        b->cooldown = (*cooldowns)++;
    free(x);
    return failed ? -1 : 0;
}

int model_parse_behaviors(struct model_parse *p)
{
    struct model *m = p->model;
    json_t *list;
    int timers = 0, cooldowns = 0;
    if (model_array(p, "behaviors", MODEL_MAX_BEHAVIORS, &list))
        return -1;
    size_t n = list ? json_array_size(list) : 0;
    if (!n)
        return 0;
    m->behaviors = calloc(n, sizeof(*m->behaviors));
    if (!m->behaviors)
        return model_no_memory(p);
    for (size_t i = 0; i < n; i++) {
        const json_t *object = json_array_get(list, i);
        bool enabled;
        if (!json_is_object(object))
            return model_bad(p, ERR_INVALID, model_pointer(p, "/behaviors/%zu", i), "expected an object");
        if (json_get_bool(object, "enabled", true, &enabled, p->err))
            return model_at(p, model_pointer(p, "/behaviors/%zu", i));
        if (enabled && parse_behavior(p, object, i, &timers, &cooldowns))
            return -1;
    }
    m->keeps_values |= m->n_behaviors > 0; // conditions, placeholders and setState look at them
    return 0;
}

void model_delete_behaviors(struct model *m)
{
    for (unsigned i = 0; m->behaviors && i < m->n_behaviors; i++) {
        struct model_behavior *b = &m->behaviors[i];
        zone_close(b->zone);
        expr_delete(b->condition);
        expr_delete(b->reset);
        payload_delete(b->topic);
        payload_delete(b->payload);
        payload_delete(b->message);
        for (unsigned k = 0; k < b->n_states; k++)
            payload_delete(b->states[k].text);
        free(b->states);
    }
    free(m->behaviors);
}
