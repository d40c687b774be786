#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/options.h"
#include "core/option.h"
#include "core/units.h"

int mqtt_option_seconds(const char *key, const json_t *v, uint32_t max, uint32_t *out, struct error *err)
{
    int64_t us;
    if (option_duration(key, v, 0, max * (int64_t)1000000, &us, err) < 0)
        return -1;
    if (us % 1000000)
        return option_expected(key, "whole seconds", v, err);
    *out = (uint32_t)(us / 1000000);
    return 0;
}

static int opt_version(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    const char *s = json_string_value(v);
    double d = json_number_value(v);
    if ((s && strcmp(s, "3.1.1") == 0) || (json_is_number(v) && d == 4))
        o->version = 4;
    else if ((s && (strcmp(s, "5") == 0 || strcmp(s, "5.0") == 0)) || (json_is_number(v) && d == 5))
        o->version = 5;
    else
        return option_expected(key, "\"3.1.1\" (or 4, its protocol level) or \"5\"", v, err);
    return 0;
}

static int opt_keep_alive(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    uint32_t seconds = 0;
    if (mqtt_option_seconds(key, v, 65535, &seconds, err) < 0)
        return -1;
    o->keep_alive = (uint16_t)seconds;
    return 0;
}

static int opt_clean_session(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_bool(key, v, &o->clean_session, err);
}

static int opt_connect_timeout(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_duration(key, v, 1000, 3600 * (int64_t)1000000, &o->connect_timeout_us, err);
}

static int opt_timeout(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_duration(key, v, 1000, 86400 * (int64_t)1000000, &o->timeout_us, err);
}

static int opt_inflight(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_count(key, v, 1, 10000, &o->queue.window, err);
}

static int opt_will_qos(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    uint32_t qos;
    if (option_count(key, v, 0, 2, &qos, err) < 0)
        return -1;
    o->will_qos = (uint8_t)qos;
    return 0;
}

static int opt_will_retain(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_bool(key, v, &o->will_retain, err);
}

static int opt_max_packet(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_size(key, v, 128, MQTT_MAX_REMAINING, &o->max_packet, err);
}

#define DAY_US (86400 * (int64_t)1000000)

static int opt_initial(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_duration(key, v, 1000, DAY_US, &o->reconnect_initial_us, err);
}

static int opt_max(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_duration(key, v, 1000, DAY_US, &o->reconnect_max_us, err);
}

static int opt_factor(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 1 && d <= 100))
        return option_expected(key, "a number from 1 to 100", v, err);
    o->reconnect_factor = d;
    return 0;
}

static int opt_jitter(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_bool(key, v, &o->reconnect_jitter, err);
}

static int opt_attempts(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_count(key, v, 0, 65535, &o->reconnect_attempts, err);
}

static int opt_queue_max(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_count(key, v, 1, 1000000, &o->queue.max_messages, err);
}

static int opt_queue_bytes(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return option_size(key, v, 1, 1u << 30, &o->queue.max_bytes, err);
}

static int opt_queue_full(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    const char *s = json_string_value(v);
    if (!s || (strcmp(s, "reject") != 0 && strcmp(s, "drop_oldest") != 0))
        return option_expected(key, "\"reject\" or \"drop_oldest\"", v, err);
    o->queue.drop_oldest = s[0] == 'd';
    return 0;
}

static unsigned add_names(const struct mqtt_option *table, const char **names, unsigned n, unsigned max)
{
    for (const struct mqtt_option *t = table; t && t->key && n + 1 < max; t++)
        names[n++] = t->key;
    names[n] = NULL;
    return n;
}

static int unknown_key(const char *prefix, const char *key, const struct mqtt_option *table,
                       const struct mqtt_option *more, struct error *err)
{
    const char *names[64];
    char list[440];
    unsigned n = add_names(table, names, 0, sizeof names / sizeof *names);
    add_names(more, names, n, sizeof names / sizeof *names);
    const char *near = suggest(key, names);
    if (more)
        names[n] = NULL; // all of them would not fit: those of version 5 are in the documentation
    return error_set(err, ERR_INVALID, "unknown mqtt option \"%s%.60s\"%s%s%s; valid: %s%s", prefix, key,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                     names_join(names, list, sizeof list), more ? ", and those of version 5" : "");
}

static const struct mqtt_option *find_option(const struct mqtt_option *table, const char *key)
{
    while (table && table->key && strcmp(table->key, key) != 0)
        table++;
    return table && table->key ? table : NULL;
}

// more: options that only version 5 has; may be NULL.
static int parse_table(const char *prefix, const json_t *obj, const struct mqtt_option *table,
                       const struct mqtt_option *more, struct mqtt_options *o, struct error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)obj, key, v)
    {
        char full[64];
        const struct mqtt_option *t = find_option(table, key);
        if (!t && (t = find_option(more, key)) && o->version != 5)
            return error_set(err, ERR_INVALID, "mqtt option %s: only MQTT 5 has it, add version = \"5\"", key);
        if (!t)
            return unknown_key(prefix, key, table, more, err);
        snprintf(full, sizeof full, "mqtt option %s%s", prefix, key);
        if (t->parse && t->parse(full, v, o, err) < 0)
            return -1;
    }
    return 0;
}

static int opt_reconnect(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    static const struct mqtt_option table[] = {{"initial", opt_initial},   {"max", opt_max},
                                               {"factor", opt_factor},     {"jitter", opt_jitter},
                                               {"attempts", opt_attempts}, {NULL, NULL}};
    if (json_is_boolean(v))
        return option_bool(key, v, &o->reconnect, err);
    if (!json_is_object(v))
        return option_expected(key, "true, false or an object", v, err);
    o->reconnect = true;
    if (parse_table("reconnect.", v, table, NULL, o, err) < 0)
        return -1;
    if (o->reconnect_max_us < o->reconnect_initial_us) {
        // Only one of them given: the other follows.
        if (json_object_get(v, "initial") && json_object_get(v, "max"))
            return error_set(err, ERR_INVALID, "mqtt option reconnect: max is shorter than initial");
        if (json_object_get(v, "max"))
            o->reconnect_initial_us = o->reconnect_max_us;
        else
            o->reconnect_max_us = o->reconnect_initial_us;
    }
    return 0;
}

static int opt_queue(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    static const struct mqtt_option table[] = {
        {"max", opt_queue_max}, {"bytes", opt_queue_bytes}, {"full", opt_queue_full}, {NULL, NULL}};
    if (!json_is_object(v))
        return option_expected(key, "an object", v, err);
    return parse_table("queue.", v, table, NULL, o, err);
}

static int parse_all(const json_t *options, struct mqtt_options *o, struct error *err)
{
    static const struct mqtt_option table[] = {{"version", opt_version},
                                               {"keepAlive", opt_keep_alive},
                                               {"cleanSession", opt_clean_session},
                                               {"connectTimeout", opt_connect_timeout},
                                               {"timeout", opt_timeout},
                                               {"reconnect", opt_reconnect},
                                               {"inflight", opt_inflight},
                                               {"queue", opt_queue},
                                               {"connectWindow", NULL},
                                               {"connectRate", NULL},
                                               {"connectPacing", NULL},
                                               {"source", NULL},
                                               {"tls", NULL},
                                               {"websocket", NULL},
                                               {"willQos", opt_will_qos},
                                               {"willRetain", opt_will_retain},
                                               {"maxPacket", opt_max_packet},
                                               {NULL, NULL}};
    const json_t *version = json_object_get(options, "version"); // first: what else is valid depends on it
    if (version && opt_version("version", version, o, err) < 0)
        return -1;
    if (parse_table("", options, table, mqtt_options5, o, err) < 0)
        return -1;
    return pacer_config_parse(options, &o->pacer, err);
}

int mqtt_options_parse(const json_t *options, struct mqtt_options *o, struct error *err)
{
    *o = (struct mqtt_options){
        .connect_timeout_us = 10 * 1000000,
        .timeout_us = 30 * 1000000,
        .reconnect = true,
        .reconnect_initial_us = 1000000,
        .reconnect_max_us = 60 * 1000000,
        .reconnect_factor = 2,
        .reconnect_jitter = true,
        .clean_session = true,
        .version = 4,
        .keep_alive = 60,
        .max_packet = 1u << 20,
        .queue = {.max_messages = 100, .max_bytes = 256u << 10, .window = 20},
        .follow_redirect = true,
        .receive_maximum = UINT16_MAX,
    };
    if (options && !json_is_null(options) && !json_is_object(options))
        return option_expected("mqtt options", "an object", options, err);
    o->json = json_is_object(options) ? json_deep_copy(options) : json_object();
    if (!o->json)
        return error_set(err, ERR_NO_MEMORY, "no memory for the options of a target");
    if (parse_all(o->json, o, err) < 0) {
        mqtt_options_destroy(o);
        return -1;
    }
    if (o->version == 5)
        mqtt_options5_finish(o);
    return 0;
}

void mqtt_options_destroy(struct mqtt_options *o)
{
    json_decref(o->json);
    free(o->user);
    free(o->will_user);
    o->json = NULL;
    o->user = o->will_user = NULL;
}
