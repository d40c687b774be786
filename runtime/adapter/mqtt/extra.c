#include "adapter/mqtt/extra.h"
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/exchange.h"
#include "adapter/mqtt/share.h"

static void set_defaults(struct mqtt_extra *x, const struct mqtt_options *o)
{
    x->max_packet = UINT32_MAX;
    x->window = o->queue.window;
    x->keep_alive = o->keep_alive;
    x->alias_max = 0;
    x->max_qos = 2;
    x->can = MQTT_CAN_RETAIN | MQTT_CAN_WILDCARD | MQTT_CAN_SUBSCRIPTION_ID | MQTT_CAN_SHARED;
    x->reason = 0;
    x->auth = MQTT_AUTH_NONE;
    x->response = MQTT_RESPONSE_NONE;
    x->receiving = 0;
}

struct mqtt_extra *mqtt_extra_get(struct mqtt_conn *c, struct error *err)
{
    if (c->extra)
        return c->extra;
    c->extra = calloc(1, sizeof *c->extra);
    if (!c->extra) {
        error_set(err, ERR_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    set_defaults(c->extra, &c->target->options);
    return c->extra;
}

void mqtt_extra_reset(struct mqtt_conn *c)
{
    struct mqtt_extra *x = c->extra;
    if (!x)
        return;
    set_defaults(x, &c->target->options);
    mqtt_aliases_in_delete(x->aliases_in);
    mqtt_aliases_out_delete(x->aliases_out);
    free(x->response_topic);
    free((char *)(uintptr_t)x->response_info.data);
    x->aliases_in = NULL;
    x->aliases_out = NULL;
    x->response_topic = NULL;
    x->response_info = (struct mqtt_text){NULL, 0};
}

void mqtt_extra_delete(struct mqtt_extra *x)
{
    if (!x)
        return;
    transport_forget(&x->memory);
    mqtt_aliases_in_delete(x->aliases_in);
    mqtt_aliases_out_delete(x->aliases_out);
    free(x->response_topic);
    free((char *)(uintptr_t)x->response_info.data);
    free(x->client_id);
    mqtt_members_delete(x->memberships);
    free(x);
}

size_t mqtt_extra_footprint(const struct mqtt_extra *x)
{
    if (!x)
        return 0;
    return sizeof *x + transport_memory_footprint(&x->memory) + mqtt_aliases_in_footprint(x->aliases_in) +
           mqtt_aliases_out_footprint(x->aliases_out) + mqtt_exchanges_footprint(x) +
           (x->client_id ? strlen(x->client_id) + 1 : 0) + x->response_topic_len + x->response_info.len;
}
