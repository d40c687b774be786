// Where the answer to a command goes that its sender said himself: a request (CoAP, HTTP), or the response topic of an
// MQTT 5 message (4.10). Otherwise the model says where, see command_reply.c.
#include <stdlib.h>
#include <string.h>
#include "device/command_impl.h"

struct command_return *command_return_new(const struct command_return *from)
{
    struct command_return *to = calloc(1, sizeof(*to) + from->topic_len + from->correlation_len);
    if (!to)
        return NULL;
    char *bytes = (char *)(to + 1);
    *to = *from;
    if (from->topic_len)
        to->topic = memcpy(bytes, from->topic, from->topic_len);
    if (from->correlation_len)
        to->correlation = memcpy(bytes + from->topic_len, from->correlation, from->correlation_len);
    return to;
}

struct command_return command_return_of(const struct adapter_message *m)
{
    const struct adapter_meta *meta = m->meta;
    if (!meta || !meta->response_topic_len)
        return (struct command_return){0};
    return (struct command_return){.topic = meta->response_topic,
                                   .topic_len = meta->response_topic_len,
                                   .correlation = meta->correlation,
                                   .correlation_len = meta->correlation ? meta->correlation_len : 0};
}

static unsigned status_of(const struct device *d, const struct command_fault *f)
{
    static const uint16_t statuses[COMMAND_REASON_MAX] = {
        [COMMAND_MALFORMED] = 400, [COMMAND_UNKNOWN] = 404, [COMMAND_MISSING] = 400,
        [COMMAND_TYPE] = 400,      [COMMAND_RANGE] = 400,   [COMMAND_BUSY] = 503,
        [COMMAND_HANDLER] = 500,   [COMMAND_TIMEOUT] = 504, [COMMAND_UNSENT] = 500,
    };
    if (f)
        return statuses[f->reason];
    return strcmp(d->group->adapter->name, "coap") == 0 ? 204 : 200; // 2.04 Changed; HTTP's 204 would have no body
}

int command_return_send(struct device *d, const struct command_return *to, const struct command_fault *f,
                        const uint8_t *payload, size_t n, struct error *err)
{
    static const struct adapter_property type = {"content-type", 12, "application/json", 16};
    if (to->asked) {
        bool json = n && (payload[0] == '{' || payload[0] == '[');
        struct adapter_response r = {
            .status = status_of(d, f), .payload = payload, .payload_len = n, .headers = &type, .n_headers = json};
        return device_respond(d, to->ticket, &r, err);
    }
    struct adapter_meta meta = {.correlation = to->correlation, .correlation_len = to->correlation_len};
    return device_emit_with(d, to->topic, to->topic_len, payload, n, to->correlation_len ? &meta : NULL, err);
}
