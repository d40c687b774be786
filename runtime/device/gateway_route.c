// What arrives at a gateway for its children.
#include <stdio.h>
#include <string.h>
#include "adapter/topic.h"
#include "core/jsonx.h"
#include "device/command_impl.h"
#include "device/gateway_impl.h"

static bool runs(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

static void refuse(struct gateway *gw, const char *name, const json_t *id, enum command_reason reason,
                   const char *parameter, const char *text)
{
    struct command_subject about = {.name = name, .id = id};
    struct command_fault fault = {0};
    command_fault(&fault, reason, parameter, "%s", text);
    command_refuse(gw->device, &about, &fault);
}

static void refuse_unknown(struct gateway *gw, const char *target, size_t n, const char *name, const json_t *id)
{
    char text[400], first[100] = "?", last[100] = "?";
    struct buf *b = &gw->relay->text;
    buf_clear(b);
    if (!device_name(&gw->children[0].device, b))
        snprintf(first, sizeof(first), "%s", buf_cstr(b));
    buf_clear(b);
    if (!device_name(&gw->children[gw->n - 1].device, b))
        snprintf(last, sizeof(last), "%s", buf_cstr(b));
    snprintf(text, sizeof(text), "there is no child \"%.*s\"; this gateway has %u, %s to %s", n < 100 ? (int)n : 100,
             target, gw->n, first, last);
    refuse(gw, name, id, COMMAND_UNKNOWN, "target", text);
}

static void deliver(struct gateway *gw, struct device *child, const struct adapter_message *m)
{
    struct adapter_conn *c = &child_of(child)->link;
    (void)gw;
    if (c->state == CHILD_ON && !c->frozen && !(c->due & DUE_CLOSED))
        c->events->on_message(c->owner, m);
}

// {"target": CHILD, …} becomes a command on the child's own topic.
static void deliver_document(struct gateway *gw, struct device *child, json_t *document)
{
    struct buf topic, payload;
    struct error err;
    json_object_del(document, "target");
    buf_create(&topic, FLEET_MAX_TEXT);
    buf_create(&payload, FLEET_MAX_PAYLOAD);
    if (!device_base(child, &topic, &err) && !buf_append_str(&topic, "/command") &&
        !json_write(document, &payload, &err)) {
        struct adapter_message m = {.topic = (const char *)topic.data,
                                    .topic_len = topic.len,
                                    .payload = payload.data,
                                    .payload_len = payload.len};
        deliver(gw, child, &m);
    }
    buf_destroy(&topic);
    buf_destroy(&payload);
}

// A message on BASE/command. false: it is the gateway's own.
static bool targeted(struct gateway *gw, const struct adapter_message *m)
{
    struct error err;
    bool own = gw->device->group->config.model->n_commands;
    json_t *document = json_parse((const char *)m->payload, m->payload_len, "command", &err);
    const json_t *target = json_object_get(document, "target"), *id = json_object_get(document, "id");
    const char *name = json_string_value(json_object_get(document, "command"));
    if (!target && own) {
        json_decref(document);
        return false;
    }
    struct device *child = NULL;
    if (json_is_string(target))
        child = gateway_find(gw->device, json_string_value(target), json_string_length(target));
    if (!document)
        refuse(gw, NULL, NULL, COMMAND_MALFORMED, NULL, err.text);
    else if (!json_is_string(target))
        refuse(gw, name, id, COMMAND_MALFORMED, "target",
               "expected {\"target\": CHILD, \"command\": NAME, \"params\": {…}, \"id\": …}");
    else if (!child)
        refuse_unknown(gw, json_string_value(target), json_string_length(target), name, id);
    else if (child_of(child)->link.state != CHILD_ON)
        refuse(gw, name, id, COMMAND_HANDLER, "target", "the child is offline");
    else
        deliver_document(gw, child, document);
    json_decref(document);
    return true;
}

// BASE/CHILD/command, BASE/CHILD/commands/NAME. below: behind BASE/.
static bool addressed(struct gateway *gw, const struct adapter_message *m, const char *below, size_t n)
{
    const char *slash = memchr(below, '/', n);
    size_t id_len = slash ? (size_t)(slash - below) : 0, rest = slash ? n - id_len - 1 : 0;
    if (!slash || !((rest == 7 && !memcmp(slash + 1, "command", 7)) ||
                    (rest > 9 && !memcmp(slash + 1, "commands/", 9) && !memchr(slash + 10, '/', rest - 9))))
        return false;
    struct device *child = gateway_find(gw->device, below, id_len);
    if (!child)
        refuse_unknown(gw, below, id_len, NULL, NULL);
    else if (child_of(child)->link.state != CHILD_ON)
        refuse(gw, NULL, NULL, COMMAND_HANDLER, "target", "the child is offline");
    else
        deliver(gw, child, m);
    return true;
}

static void overhear(struct gateway *gw, const struct adapter_message *m)
{
    struct buf *text = &gw->relay->text;
    const struct filter *f = gw->filters;
    buf_clear(text);
    if (!f || buf_append(text, m->topic, m->topic_len))
        return;
    while (f && !topic_matches(f->text, buf_cstr(text)))
        f = f->next;
    for (unsigned i = 0; f && i < gw->n; i++) { // each knows what it waits for
        if (gw->children[i].link.listens)
            deliver(gw, &gw->children[i].device, m);
    }
}

bool gateway_message(struct device *d, const struct adapter_message *m)
{
    struct gateway *gw = d->gateway;
    if (!gw || !gw->n || !runs(d))
        return false;
    struct buf *base = &gw->relay->text;
    buf_clear(base);
    if (!device_base(d, base, NULL) && m->topic_len > base->len && !memcmp(m->topic, base->data, base->len) &&
        m->topic[base->len] == '/') {
        const char *below = m->topic + base->len + 1;
        size_t n = m->topic_len - base->len - 1;
        if (n == 7 && !memcmp(below, "command", 7))
            return targeted(gw, m);
        if (addressed(gw, m, below, n))
            return true;
    }
    overhear(gw, m);
    return false;
}
