// The options that only MQTT 5 has: properties of CONNECT and of the will, and how a connection uses version 5.
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/options.h"
#include "core/option.h"
#include "adapter/mqtt/topic.h"

#define MAX_USER 64u // user properties of one packet

static struct mqtt_text text_of(const json_t *v)
{
    return (struct mqtt_text){json_string_value(v), json_string_length(v)};
}

// A UTF-8 text as MQTT has it (1.5.4).
static int get_text(const char *key, const json_t *v, struct mqtt_text *out, struct error *err)
{
    if (!json_is_string(v))
        return option_expected(key, "a text", v, err);
    *out = text_of(v);
    if (out->len > UINT16_MAX)
        return error_set(err, ERR_INVALID, "%s: %zu bytes, at most 65535 are possible", key, out->len);
    if (memchr(out->data, 0, out->len))
        return error_set(err, ERR_INVALID, "%s: holds a NUL character (MQTT 1.5.4)", key);
    return 0;
}

static int get_topic(const char *key, const json_t *v, struct mqtt_text *out, struct error *err)
{
    if (get_text(key, v, out, err) < 0)
        return -1;
    if (mqtt_topic_check(out->data, out->len, err) < 0)
        return error_prefix(err, "%s", key);
    return 0;
}

static int opt_session_expiry(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    const char *s = json_string_value(v);
    if (s && strcmp(s, "never") == 0) {
        o->session_expiry = MQTT_NEVER;
        return 0;
    }
    struct error why;
    if (mqtt_option_seconds(key, v, 100u * 365 * 86400, &o->session_expiry, &why) == 0)
        return 0;
    return option_expected(key, "whole seconds like \"1h\" (at most 100 years), or \"never\"", v, err);
}

static int opt_receive_maximum(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    uint32_t n;
    if (option_count(key, v, 1, UINT16_MAX, &n, err) < 0)
        return -1;
    o->receive_maximum = o->connect5.receive_maximum = (uint16_t)n;
    mqtt5_set(&o->connect5, MQTT5_RECEIVE_MAXIMUM);
    return 0;
}

static int opt_topic_alias_maximum(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    uint32_t n;
    if (option_count(key, v, 0, UINT16_MAX, &n, err) < 0)
        return -1;
    o->topic_alias_maximum = o->connect5.topic_alias_maximum = (uint16_t)n;
    if (n)
        mqtt5_set(&o->connect5, MQTT5_TOPIC_ALIAS_MAXIMUM);
    return 0;
}

static int opt_topic_aliases(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_bool(key, v, &o->topic_aliases, err);
}

static int opt_follow_redirect(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_bool(key, v, &o->follow_redirect, err);
}

static int opt_response_info(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    bool on;
    if (option_bool(key, v, &on, err) < 0)
        return -1;
    o->connect5.request_response_info = on;
    if (on)
        mqtt5_set(&o->connect5, MQTT5_REQUEST_RESPONSE_INFO);
    return 0;
}

static int opt_problem_info(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    bool on;
    if (option_bool(key, v, &on, err) < 0)
        return -1;
    o->connect5.request_problem_info = on;
    if (!on) // 1 is the default of the standard
        mqtt5_set(&o->connect5, MQTT5_REQUEST_PROBLEM_INFO);
    return 0;
}

static int add_user(const char *key, const char *name, const json_t *v, struct adapter_property *list, unsigned *n,
                    struct error *err)
{
    struct mqtt_text text;
    if (!json_is_string(v))
        return error_set(err, ERR_INVALID, "%s: the value of \"%.60s\" must be a text or a list of texts", key, name);
    if (get_text(key, v, &text, err) < 0)
        return -1;
    if (*n == MAX_USER)
        return error_set(err, ERR_INVALID, "%s: at most %u properties", key, MAX_USER);
    list[(*n)++] = (struct adapter_property){name, strlen(name), text.data, text.len};
    return 0;
}

static int get_user(const char *key, const json_t *v, struct adapter_property **list, struct mqtt5_properties *p,
                    struct error *err)
{
    const char *name;
    json_t *value;
    if (!json_is_object(v))
        return option_expected(key, "an object of texts", v, err);
    if (!*list && !(*list = calloc(MAX_USER, sizeof **list)))
        return error_set(err, ERR_NO_MEMORY, "no memory for user properties");
    p->user = *list;
    p->n_user = 0;
    json_object_foreach((json_t *)v, name, value)
    {
        size_t n = json_is_array(value) ? json_array_size(value) : 1;
        if (strlen(name) > UINT16_MAX)
            return error_set(err, ERR_INVALID, "%s: a name of more than 65535 bytes", key);
        for (size_t i = 0; i < n; i++)
            if (add_user(key, name, json_is_array(value) ? json_array_get(value, i) : value, *list, &p->n_user, err) <
                0)
                return -1;
    }
    if (p->n_user)
        mqtt5_set(p, MQTT5_USER_PROPERTY);
    return 0;
}

static int opt_user(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_user(key, v, &o->user, &o->connect5, err);
}

static int opt_auth_method(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    if (get_text(key, v, &o->connect5.auth_method, err) < 0)
        return -1;
    o->auth_method = o->connect5.auth_method.data;
    mqtt5_set(&o->connect5, MQTT5_AUTH_METHOD);
    return 0;
}

static int opt_response_topic(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    struct mqtt_text text;
    if (get_topic(key, v, &text, err) < 0)
        return -1;
    if (text.len > 1024)
        return error_set(err, ERR_INVALID, "%s: at most 1024 bytes", key);
    o->response_topic = text.data;
    return 0;
}

static int opt_will_delay(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    if (mqtt_option_seconds(key, v, 100u * 365 * 86400, &o->will5.will_delay, err) < 0)
        return -1;
    if (o->will5.will_delay)
        mqtt5_set(&o->will5, MQTT5_WILL_DELAY);
    return 0;
}

static int opt_will_expiry(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    mqtt5_set(&o->will5, MQTT5_MESSAGE_EXPIRY);
    return mqtt_option_seconds(key, v, 100u * 365 * 86400, &o->will5.message_expiry, err);
}

static int opt_will_content_type(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    mqtt5_set(&o->will5, MQTT5_CONTENT_TYPE);
    return get_text(key, v, &o->will5.content_type, err);
}

static int opt_will_response_topic(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    mqtt5_set(&o->will5, MQTT5_RESPONSE_TOPIC);
    return get_topic(key, v, &o->will5.response_topic, err);
}

static int opt_will_correlation(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    mqtt5_set(&o->will5, MQTT5_CORRELATION_DATA);
    return get_text(key, v, &o->will5.correlation_data, err);
}

static int opt_will_user(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_user(key, v, &o->will_user, &o->will5, err);
}

const struct mqtt_option mqtt_options5[] = {{"sessionExpiry", opt_session_expiry},
                                            {"receiveMaximum", opt_receive_maximum},
                                            {"topicAliasMaximum", opt_topic_alias_maximum},
                                            {"topicAliases", opt_topic_aliases},
                                            {"userProperties", opt_user},
                                            {"requestResponseInfo", opt_response_info},
                                            {"requestProblemInfo", opt_problem_info},
                                            {"followRedirect", opt_follow_redirect},
                                            {"authMethod", opt_auth_method},
                                            {"responseTopic", opt_response_topic},
                                            {"willDelay", opt_will_delay},
                                            {"willExpiry", opt_will_expiry},
                                            {"willContentType", opt_will_content_type},
                                            {"willResponseTopic", opt_will_response_topic},
                                            {"willCorrelation", opt_will_correlation},
                                            {"willUserProperties", opt_will_user},
                                            {NULL, NULL}};

void mqtt_options5_finish(struct mqtt_options *o)
{
    // As a 3.1.1 session that is not clean: without an expiry the server would end it with the connection.
    if (!o->clean_session && !json_object_get(o->json, "sessionExpiry"))
        o->session_expiry = MQTT_NEVER;
    if (o->session_expiry) {
        o->connect5.session_expiry = o->session_expiry;
        mqtt5_set(&o->connect5, MQTT5_SESSION_EXPIRY);
    }
    o->connect5.maximum_packet_size = o->max_packet;
    mqtt5_set(&o->connect5, MQTT5_MAXIMUM_PACKET_SIZE);
}
