// Answers to commands: the model's template, or the shape that every answer has without one.
#include "device/command_impl.h"

#include <string.h>
#include "core/jsonx.h"

// --- by the template ----------------------------------------------------------------------------------------------

// A JSON value as a template takes it; texts live until the scratch is cleared.
static int value_of(const json_t *v, struct scratch *texts, struct value *out)
{
    struct buf text;
    struct error err;
    out->type = VALUE_NULL;
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_NULL:
        return 0;
    case JSON_INTEGER:
        *out = (struct value){.type = VALUE_INTEGER, .integer = json_integer_value(v)};
        return 0;
    case JSON_REAL:
        *out = (struct value){.type = VALUE_NUMBER, .number = json_real_value(v)};
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = (struct value){.type = VALUE_BOOLEAN, .boolean = json_is_true(v)};
        return 0;
    case JSON_STRING:
        *out = (struct value){.type = VALUE_STRING, .str = {json_string_value(v), json_string_length(v)}};
        return 0;
    default:
        break;
    }
    buf_create(&text, FLEET_MAX_PAYLOAD);
    char *copy = json_write(v, &text, &err) ? NULL : scratch_copy(texts, text.data, text.len);
    if (copy)
        *out = (struct value){.type = VALUE_JSON, .str = {copy, text.len}};
    buf_destroy(&text);
    return copy ? 0 : -1;
}

// By the names of model_command.response_names.
static int values_of(const struct device *d, const struct command_subject *about, const json_t *result,
                     struct value *values)
{
    const struct model_command *c = about->model;
    struct scratch *texts = &d->group->fleet->texts;
    unsigned n = 0, attributes = c->n_response_names - c->n_parameters - 3;
    scratch_clear(texts);
    for (; n < c->n_parameters; n++) {
        if (value_of(json_object_get(about->params, c->parameters[n].name), texts, &values[n]))
            return -1;
    }
    for (unsigned slot = 0; slot < attributes; slot++)
        device_value(d, slot, &values[n++]);
    values[n++] = (struct value){.type = VALUE_STRING, .str = {c->name, strlen(c->name)}};
    return value_of(about->id, texts, &values[n]) || value_of(result, texts, &values[n + 1]) ? -1 : 0;
}

static int write_templates(struct device *d, const struct command_subject *about, const json_t *result, bool done,
                           struct buf *topic, struct buf *payload, struct error *err)
{
    const struct model_command *c = about->model;
    struct value values[COMMAND_MAX_VALUES];
    if (values_of(d, about, result, values))
        return error_set(err, ERR_LIMIT, "what the answer holds takes more than %d bytes", FLEET_MAX_PAYLOAD);
    if (c->response_topic && device_render(d, c->response_topic, values, topic, err))
        return -1;
    return done && c->response ? device_render(d, c->response, values, payload, err) : 0;
}

// --- without one --------------------------------------------------------------------------------------------------

static int write_member(struct buf *out, const char *key, const json_t *v)
{
    if (!v)
        return 0;
    return buf_printf(out, ",\"%s\":", key) || json_write(v, out, NULL) ? -1 : 0;
}

static int write_text(struct buf *out, const char *key, const char *text)
{
    if (!text)
        return 0;
    return buf_printf(out, ",\"%s\":", key) || buf_append_json_string(out, text, strlen(text)) ? -1 : 0;
}

static int write_plain(const struct command_subject *about, const json_t *result, const struct command_fault *f,
                       struct buf *out, struct error *err)
{
    error_set(err, ERR_LIMIT, "the answer takes more than %u bytes", out->cap);
    if (buf_append_str(out, f ? "{\"ok\":false" : "{\"ok\":true") || write_text(out, "command", about->name) ||
        write_member(out, "id", about->id))
        return -1;
    if (!f)
        return write_member(out, "result", result) || buf_append_char(out, '}') ? -1 : 0;
    return write_text(out, "error", f->err.text) || write_text(out, "code", command_reason_name(f->reason)) ||
                   write_text(out, "parameter", f->parameter) || buf_append_char(out, '}')
               ? -1
               : 0;
}

// ------------------------------------------------------------------------------------------------------------------

static int default_topic(const struct device *d, struct buf *out, struct error *err)
{
    if (device_base(d, out, err))
        return -1;
    return buf_append_str(out, "/response") ? error_set(err, ERR_LIMIT, "the topic of the answer is too long") : 0;
}

static int write_answer(struct device *d, const struct command_subject *about, const json_t *result,
                        const struct command_fault *f, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    const struct model_command *c = about->model;
    bool own = about->to && (about->to->asked || about->to->topic_len);
    buf_clear(&fleet->topic);
    buf_clear(&fleet->payload);
    if (c && (c->response_topic || (c->response && !f)) &&
        write_templates(d, about, result, !f, &fleet->topic, &fleet->payload, err))
        return -1;
    if (own)
        buf_clear(&fleet->topic);
    else if (!(c && c->response_topic) && default_topic(d, &fleet->topic, err))
        return -1;
    return c && c->response && !f ? 0 : write_plain(about, result, f, &fleet->payload, err);
}

// The connection takes it now, or keeps it until it is back.
static bool can_send(const struct device *d)
{
    bool closing = d->flags & FLAG_CLOSING && !(d->flags & FLAG_CLOSE_DUE); // due: this goes out before
    if (!d->conn || d->conn_state == CONN_DISCONNECTED || closing || d->flags & (FLAG_OPEN_GIVEN_UP) ||
        (d->flags & FLAG_OPEN && !(d->flags & FLAG_CLOSE_DUE)))
        return false;
    return d->conn_state == CONN_CONNECTED || d->group->config.model->qos > 0;
}

int command_reply(struct device *d, const struct command_subject *about, const json_t *result,
                  const struct command_fault *f, enum command_reason *why)
{
    struct fleet *fleet = d->group->fleet;
    struct error err = {0};
    struct command_fault bad = {0};
    int rc = 0;
    bool asked = about->to && about->to->asked, own = asked || (about->to && about->to->topic_len);
    if (!asked && !can_send(d)) {
        *why = COMMAND_UNSENT;
        return -1;
    }
    if (write_answer(d, about, result, f, &err)) {
        command_fault(&bad, COMMAND_HANDLER, NULL, "the answer cannot be made: %s", err.text);
        *why = COMMAND_HANDLER;
        rc = -1;
        struct command_subject short_subject = *about; // an id of a megabyte is no reason to stay silent
        if (f || json_is_object(about->id) || json_is_array(about->id) || json_string_length(about->id) > 256)
            short_subject.id = NULL;
        if (write_answer(d, &short_subject, NULL, &bad, &err))
            return -1;
    }
    if (own ? command_return_send(d, about->to, rc ? &bad : f, fleet->payload.data, fleet->payload.len, &err)
            : device_emit(d, (const char *)fleet->topic.data, fleet->topic.len, fleet->payload.data, fleet->payload.len,
                          &err)) {
        *why = COMMAND_UNSENT;
        return -1;
    }
    return rc;
}
