#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "adapter/mqtt/options.h"
#include "core/units.h"

typedef int option_fn(const char *key, const json_t *v, struct mqtt_options *o, struct error *err);
struct option {
    const char *key;
    option_fn *parse;
};

static const char *type_name(const json_t *v)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a number",  "true",     "false",    "null"};
    return names[json_typeof(v)];
}

static int expected(const char *key, const char *what, const json_t *v, struct error *err)
{
    if (json_is_string(v))
        return error_set(err, ERR_INVALID, "mqtt option %s: expected %s, got \"%.100s\"", key, what,
                         json_string_value(v));
    if (json_is_integer(v))
        return error_set(err, ERR_INVALID, "mqtt option %s: expected %s, got %lld", key, what,
                         (long long)json_integer_value(v));
    if (json_is_real(v))
        return error_set(err, ERR_INVALID, "mqtt option %s: expected %s, got %g", key, what, json_real_value(v));
    return error_set(err, ERR_INVALID, "mqtt option %s: expected %s, got %s", key, what, type_name(v));
}

static int get_bool(const char *key, const json_t *v, bool *out, struct error *err)
{
    if (!json_is_boolean(v))
        return expected(key, "true or false", v, err);
    *out = json_is_true(v);
    return 0;
}

// A whole number (Lua has only doubles, so 60.0 is one).
static int get_count(const char *key, const json_t *v, uint32_t min, uint32_t max, uint32_t *out, struct error *err)
{
    char what[64];
    double d = json_number_value(v);
    if (json_is_number(v) && d >= min && d <= max && d == floor(d)) {
        *out = (uint32_t)d;
        return 0;
    }
    snprintf(what, sizeof what, "a whole number from %u to %u", min, max);
    return expected(key, what, v, err);
}

static int get_duration(const char *key, const json_t *v, int64_t min_us, int64_t max_us, int64_t *out,
                        struct error *err)
{
    char what[160], low[32], high[32];
    struct error why;
    int rc = -1;
    error_clear(&why);
    if (json_is_string(v))
        rc = duration_parse(json_string_value(v), true, out, &why);
    else if (json_is_number(v))
        rc = duration_from_seconds(json_number_value(v), out, &why);
    if (rc == 0 && *out >= min_us && *out <= max_us)
        return 0;
    snprintf(what, sizeof what, "a duration like \"10s\" (or a number of seconds) from %s to %s",
             duration_format(min_us, low, sizeof low), duration_format(max_us, high, sizeof high));
    return expected(key, what, v, err);
}

static int get_size(const char *key, const json_t *v, uint32_t min, uint32_t max, uint32_t *out, struct error *err)
{
    char what[96];
    uint64_t n = 0;
    bool ok = false;
    if (json_is_string(v)) {
        ok = size_parse(json_string_value(v), &n, NULL) == 0;
    } else if (json_is_number(v)) {
        double d = json_number_value(v);
        ok = d >= 0 && d <= UINT32_MAX && d == floor(d);
        n = ok ? (uint64_t)d : 0;
    }
    if (ok && n >= min && n <= max) {
        *out = (uint32_t)n;
        return 0;
    }
    snprintf(what, sizeof what, "a size like \"256KB\" (or a number of bytes) from %u to %u", min, max);
    return expected(key, what, v, err);
}

static int opt_version(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    (void)o;
    const char *s = json_string_value(v);
    double d = json_number_value(v);
    if ((s && strcmp(s, "3.1.1") == 0) || (json_is_number(v) && d == 4))
        return 0;
    if ((s && (strcmp(s, "5") == 0 || strcmp(s, "5.0") == 0)) || (json_is_number(v) && d == 5))
        return error_set(err, ERR_UNSUPPORTED, "mqtt option version: MQTT 5 is not there yet, use \"3.1.1\"");
    return expected(key, "\"3.1.1\" (or 4, its protocol level)", v, err);
}

static int opt_keep_alive(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    int64_t us;
    if (get_duration(key, v, 0, 65535 * (int64_t)1000000, &us, err) < 0)
        return -1;
    if (us % 1000000)
        return expected(key, "whole seconds", v, err);
    o->keep_alive = (uint16_t)(us / 1000000);
    return 0;
}

static int opt_clean_session(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_bool(key, v, &o->clean_session, err);
}

static int opt_connect_timeout(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_duration(key, v, 1000, 3600 * (int64_t)1000000, &o->connect_timeout_us, err);
}

static int opt_inflight(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_count(key, v, 1, 10000, &o->queue.window, err);
}

static int opt_connect_window(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_count(key, v, 1, 100000, &o->connect_window, err);
}

static int add_source(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    const char *s = json_string_value(v);
    if (o->n_sources == MQTT_MAX_SOURCES)
        return error_set(err, ERR_INVALID, "mqtt option %s: at most %u addresses", key, MQTT_MAX_SOURCES);
    struct link_addr *a = &o->sources[o->n_sources];
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->addr;
    memset(a, 0, sizeof *a);
    if (s && inet_pton(AF_INET, s, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        a->len = sizeof *v4;
    } else if (s && inet_pton(AF_INET6, s, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        a->len = sizeof *v6;
    } else {
        return expected(key, "an IP address of this machine, or a list of them", v, err);
    }
    o->n_sources++;
    return 0;
}

static int opt_source(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    if (!json_is_array(v))
        return add_source(key, v, o, err);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (add_source(key, json_array_get(v, i), o, err) < 0)
            return -1;
    return 0;
}

static int opt_will_qos(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    uint32_t qos;
    if (get_count(key, v, 0, 2, &qos, err) < 0)
        return -1;
    o->will_qos = (uint8_t)qos;
    return 0;
}

static int opt_will_retain(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_bool(key, v, &o->will_retain, err);
}

static int opt_max_packet(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_size(key, v, 128, MQTT_MAX_REMAINING, &o->max_packet, err);
}

#define DAY_US (86400 * (int64_t)1000000)

static int opt_initial(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_duration(key, v, 1000, DAY_US, &o->reconnect_initial_us, err);
}

static int opt_max(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_duration(key, v, 1000, DAY_US, &o->reconnect_max_us, err);
}

static int opt_factor(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 1 && d <= 100))
        return expected(key, "a number from 1 to 100", v, err);
    o->reconnect_factor = d;
    return 0;
}

static int opt_jitter(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_bool(key, v, &o->reconnect_jitter, err);
}

static int opt_attempts(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_count(key, v, 0, 65535, &o->reconnect_attempts, err);
}

static int opt_queue_max(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_count(key, v, 1, 1000000, &o->queue.max_messages, err);
}

static int opt_queue_bytes(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    return get_size(key, v, 1, 1u << 30, &o->queue.max_bytes, err);
}

static int opt_queue_full(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    const char *s = json_string_value(v);
    if (!s || (strcmp(s, "reject") != 0 && strcmp(s, "drop_oldest") != 0))
        return expected(key, "\"reject\" or \"drop_oldest\"", v, err);
    o->queue.drop_oldest = s[0] == 'd';
    return 0;
}

static int unknown_key(const char *prefix, const char *key, const struct option *table, struct error *err)
{
    const char *names[24];
    char list[320] = "";
    unsigned n = 0;
    size_t used = 0;
    for (const struct option *t = table; t->key; t++) {
        names[n++] = t->key;
        int rc = snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", t->key);
        used += rc > 0 && (size_t)rc < sizeof list - used ? (size_t)rc : 0;
    }
    names[n] = NULL;
    const char *near = suggest(key, names);
    return error_set(err, ERR_INVALID, "unknown mqtt option \"%s%.60s\"%s%s%s; valid: %s", prefix, key,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", list);
}

static int parse_table(const char *prefix, const json_t *obj, const struct option *table, struct mqtt_options *o,
                       struct error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)obj, key, v)
    {
        char full[64];
        const struct option *t = table;
        while (t->key && strcmp(t->key, key) != 0)
            t++;
        if (!t->key)
            return unknown_key(prefix, key, table, err);
        snprintf(full, sizeof full, "%s%s", prefix, key);
        if (t->parse(full, v, o, err) < 0)
            return -1;
    }
    return 0;
}

static int opt_reconnect(const char *key, const json_t *v, struct mqtt_options *o, struct error *err)
{
    static const struct option table[] = {{"initial", opt_initial}, {"max", opt_max},           {"factor", opt_factor},
                                          {"jitter", opt_jitter},   {"attempts", opt_attempts}, {NULL, NULL}};
    if (json_is_boolean(v))
        return get_bool(key, v, &o->reconnect, err);
    if (!json_is_object(v))
        return expected(key, "true, false or an object", v, err);
    o->reconnect = true;
    if (parse_table("reconnect.", v, table, o, err) < 0)
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
    static const struct option table[] = {
        {"max", opt_queue_max}, {"bytes", opt_queue_bytes}, {"full", opt_queue_full}, {NULL, NULL}};
    if (!json_is_object(v))
        return expected(key, "an object", v, err);
    return parse_table("queue.", v, table, o, err);
}

int mqtt_options_parse(const json_t *options, struct mqtt_options *o, struct error *err)
{
    static const struct option table[] = {{"version", opt_version},
                                          {"keepAlive", opt_keep_alive},
                                          {"cleanSession", opt_clean_session},
                                          {"connectTimeout", opt_connect_timeout},
                                          {"reconnect", opt_reconnect},
                                          {"inflight", opt_inflight},
                                          {"queue", opt_queue},
                                          {"connectWindow", opt_connect_window},
                                          {"source", opt_source},
                                          {"willQos", opt_will_qos},
                                          {"willRetain", opt_will_retain},
                                          {"maxPacket", opt_max_packet},
                                          {NULL, NULL}};
    *o = (struct mqtt_options){
        .connect_timeout_us = 10 * 1000000,
        .reconnect = true,
        .reconnect_initial_us = 1000000,
        .reconnect_max_us = 60 * 1000000,
        .reconnect_factor = 2,
        .reconnect_jitter = true,
        .clean_session = true,
        .keep_alive = 60,
        .connect_window = 64,
        .max_packet = 1u << 20,
        .queue = {.max_messages = 100, .max_bytes = 256u << 10, .window = 20},
    };
    if (!options || json_is_null(options))
        return 0;
    if (!json_is_object(options))
        return error_set(err, ERR_INVALID, "mqtt options: expected an object, got %s", type_name(options));
    return parse_table("", options, table, o, err);
}
