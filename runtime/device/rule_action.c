// What rules do.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/log.h"
#include "device/rule_impl.h"

// --- what templates name ------------------------------------------------------------------------------------------

// The values of a rule's names: parameters of its command, then attributes. Texts made for it are freed with it.
struct rule_values {
    struct value values[COMMAND_MAX_VALUES];
    char *texts[COMMAND_MAX_PARAMETERS];
    unsigned n_texts;
};

static struct value value_of(struct rule_values *out, const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_INTEGER:
        return (struct value){.type = VALUE_INTEGER, .integer = json_integer_value(v)};
    case JSON_REAL:
        return (struct value){.type = VALUE_NUMBER, .number = json_real_value(v)};
    case JSON_TRUE:
    case JSON_FALSE:
        return (struct value){.type = VALUE_BOOLEAN, .boolean = json_is_true(v)};
    case JSON_STRING:
        return (struct value){.type = VALUE_STRING, .str = {json_string_value(v), json_string_length(v)}};
    case JSON_NULL:
        return (struct value){.type = VALUE_NULL};
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    char *text = json_dumps(v, JSON_COMPACT);
    if (!text)
        return (struct value){.type = VALUE_NULL};
    out->texts[out->n_texts++] = text;
    return (struct value){.type = VALUE_JSON, .str = {text, strlen(text)}};
}

static void values_create(const struct device *d, const struct model_behavior *b, const json_t *params,
                          struct rule_values *out)
{
    unsigned n = b->command ? b->command->n_parameters : 0;
    out->n_texts = 0;
    for (unsigned i = 0; i < n; i++)
        out->values[i] = value_of(out, json_object_get(params, b->command->parameters[i].name));
    for (unsigned i = n; i < b->n_names; i++)
        device_value(d, i - n, &out->values[i]);
}

static void values_destroy(struct rule_values *v)
{
    while (v->n_texts)
        free(v->texts[--v->n_texts]);
}

// --- publish, log -------------------------------------------------------------------------------------------------

static int render(const struct payload *p, const struct payload_scope *scope, struct buf *out, struct error *err)
{
    buf_clear(out);
    return payload_render(p, scope, out) ? error_set(err, ERR_LIMIT, "it takes more than %u bytes", out->cap) : 0;
}

static int publish(struct device *d, const struct model_behavior *b, const struct rule_values *values,
                   struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    struct payload_scope scope;
    if (device_scope(d, values->values, &scope, err) || render(b->topic, &scope, &fleet->topic, err) ||
        render(b->payload, &scope, &fleet->payload, err))
        return -1;
    if (!d->conn || d->conn_state == CONN_DISCONNECTED)
        return error_set(err, ERR_STATE, "not connected");
    return device_emit(d, (const char *)fleet->topic.data, fleet->topic.len, fleet->payload.data, fleet->payload.len,
                       err);
}

static int write_log(struct device *d, const struct model_behavior *b, const struct rule_values *values,
                     struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    struct payload_scope scope;
    if (device_scope(d, values->values, &scope, err) || render(b->message, &scope, &fleet->payload, err))
        return -1;
    log_write(fleet->config.env.log, LOG_INFO, scope.device_id, "%s", buf_cstr(&fleet->payload));
    return 0;
}

// --- setState -----------------------------------------------------------------------------------------------------

static json_t *json_of(const struct value *v)
{
    switch (v->type) {
    case VALUE_NUMBER:
    case VALUE_NUMERAL:
        return isfinite(v->number) ? json_real(v->number) : json_null();
    case VALUE_INTEGER:
        return json_integer(v->integer);
    case VALUE_BOOLEAN:
        return json_boolean(v->boolean);
    case VALUE_STRING:
        return json_text(v->str.s, v->str.n);
    case VALUE_JSON:
        return json_loadb(v->str.s, v->str.n, JSON_DECODE_ANY, NULL);
    default:
        return json_null();
    }
}

// Equal for equal values; there is nothing to decide that 64 bits could not.
static uint64_t fingerprint(const struct device *d, unsigned slot)
{
    struct value v;
    device_value(d, slot, &v);
    if (v.type == VALUE_STRING || v.type == VALUE_JSON)
        return hash_bytes(v.str.s, v.str.n, (uint64_t)v.type);
    if (v.type == VALUE_NULL)
        return 0;
    if (v.type == VALUE_BOOLEAN)
        v.integer = v.boolean;
    return hash_bytes(&v.integer, sizeof(v.integer), (uint64_t)v.type);
}

static int fix(struct device *d, unsigned slot, const json_t *value, bool *changed, struct error *err)
{
    uint64_t before = fingerprint(d, slot);
    if (device_fix(d, slot, value, err))
        return -1;
    *changed |= fingerprint(d, slot) != before;
    return 0;
}

static unsigned place_of(const struct model_behavior *b, const struct model *m, const char *name)
{
    unsigned n = b->command ? b->command->n_parameters : 0;
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(b->command->parameters[i].name, name))
            return i;
    }
    return n + (unsigned)model_slot(m, name);
}

// What one attribute is set to. *out NULL: a parameter that was not given leaves the attribute as it is.
static int make_one(struct device *d, const struct model_behavior *b, const struct rule_state *s,
                    const struct rule_values *values, const json_t *params, json_t **out, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    struct payload_scope scope;
    *out = NULL;
    if (s->value) {
        *out = json_incref((json_t *)(uintptr_t)s->value);
        return 0;
    }
    if (s->parameter) {
        json_t *given = json_object_get(params, s->parameter);
        unsigned place = place_of(b, d->group->config.model, s->parameter);
        if (b->command && place < b->command->n_parameters) {
            *out = json_incref(given);
            return 0;
        }
        *out = json_of(&values->values[place]);
    } else {
        if (device_scope(d, values->values, &scope, err) || render(s->text, &scope, &fleet->payload, err))
            return -1;
        *out = json_text((const char *)fleet->payload.data, fleet->payload.len);
    }
    return *out ? 0 : error_set(err, ERR_NO_MEMORY, "out of memory");
}

// Behaviors that look at the state hear of it.
static void state_changed(struct device *d)
{
    rules_event(d, "stateChanged", NULL);
    rules_values(d);
}

// All are made before the first is set: each sees the values from before (two may be exchanged), and the texts among
// them are freed by setting them.
static int set_state(struct device *d, const struct model_behavior *b, const struct rule_values *values,
                     const json_t *params, bool *changed, struct error *err)
{
    int rc = 0;
    struct error one;
    json_t **made = calloc(b->n_states ? b->n_states : 1, sizeof(json_t *));
    if (!made)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    for (unsigned i = 0; i < b->n_states; i++) { // one that fails does not keep the others from being set
        if (make_one(d, b, &b->states[i], values, params, &made[i], rc ? &one : err))
            rc = -1;
    }
    for (unsigned i = 0; i < b->n_states; i++) {
        if (made[i] && fix(d, b->states[i].slot, made[i], changed, rc ? &one : err))
            rc = -1;
        json_decref(made[i]);
    }
    free(made);
    return rc;
}

int device_set_state(struct device *d, const json_t *state, struct error *err)
{
    const struct model *m = d->group->config.model;
    const char *name;
    json_t *value;
    bool changed = false;
    if (device_busy(d, err))
        return -1;
    if (!json_is_object(state))
        return error_set(err, ERR_INVALID, "expected an object of attributes and their values");
    if (!m || device_keep_values(d, err))
        return m ? -1 : error_set(err, ERR_STATE, "the device has no model");
    json_object_foreach((json_t *)(uintptr_t)state, name, value)
    {
        int slot = model_slot(m, name);
        if (slot < 0)
            return error_set(err, ERR_INVALID, "the model %s has no attribute \"%.60s\"", m->id, name);
        if (fix(d, (unsigned)slot, value, &changed, err))
            return -1;
    }
    if (changed)
        state_changed(d);
    return 0;
}

// --- the others ---------------------------------------------------------------------------------------------------

static int reconnect(struct device *d, struct error *err)
{
    if (device_failing(d, FAILURE_DISCONNECT))
        return device_heal(d, failure_names()[FAILURE_DISCONNECT], err);
    if (d->conn_state != CONN_DISCONNECTED)
        device_disconnect(d, ADAPTER_GRACEFUL);
    return device_connect(d, err);
}

static int run_custom(struct device *d, const struct model_behavior *b, const json_t *params, struct error *err)
{
    static const char *const triggers[] = {NULL, "schedule", "condition", "startup"};
    const struct fleet_config *config = &d->group->fleet->config;
    if (!config->ops || !config->ops->hook_custom)
        return error_set(err, ERR_UNSUPPORTED, "nobody runs handlers here");
    json_t *event =
        b->trigger == TRIGGER_EVENT ? json_stringn(b->event.all.s, b->event.all.n) : json_string(triggers[b->trigger]);
    json_t *what = json_pack("{s:s, s:o, s:O*}", "behavior", b->name, "event", event, "params", params);
    if (!what)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    int rc = config->ops->hook_custom(config->ops_arg, d, b->hook, b->params, what, err);
    json_decref(what);
    return rc;
}

// The templates' values lie on the stack only while they are needed: what an action causes may go deep.
static int act_with_values(struct device *d, const struct model_behavior *b, const json_t *params, bool *changed,
                           struct error *err)
{
    struct rule_values values;
    values_create(d, b, params, &values);
    int rc = b->action == ACTION_PUBLISH ? publish(d, b, &values, err)
             : b->action == ACTION_LOG   ? write_log(d, b, &values, err)
                                         : set_state(d, b, &values, params, changed, err);
    values_destroy(&values);
    return rc;
}

int rule_act(struct device *d, const struct model_behavior *b, const json_t *params, struct error *err)
{
    bool changed = false;
    int rc = 0;
    switch (b->action) {
    case ACTION_PUBLISH:
    case ACTION_LOG:
    case ACTION_SET_STATE:
        rc = act_with_values(d, b, params, &changed, err);
        if (changed)
            state_changed(d);
        break;
    case ACTION_RECONNECT:
        return reconnect(d, err);
    case ACTION_CUSTOM:
        return run_custom(d, b, params, err);
    case ACTION_DISCONNECT:
    case ACTION_FAIL:
        return device_fail_spec(d, &b->failure, err);
    }
    return rc;
}
