// Options of the kafka sink, of a table or of a target "host:9092,host2:9092?tls=true".
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"
#include "core/units.h"
#include "sink/kafka.h"
#include "sink/options.h"

static const char *const keys[] = {"brokers",
                                   "clientId",
                                   "telemetryTopic",
                                   "eventsTopic",
                                   "metricsTopic",
                                   "partitions",
                                   "replication",
                                   "create",
                                   "compression",
                                   "linger",
                                   "retryMax",
                                   "memory",
                                   "spill",
                                   "spillMax",
                                   "full",
                                   "statsInterval",
                                   "tls",
                                   "ca",
                                   "cert",
                                   "key",
                                   "keyPassword",
                                   "keyPasswordRef",
                                   "verify",
                                   "sasl",
                                   "username",
                                   "password",
                                   "passwordRef",
                                   "properties",
                                   NULL};
static const char *const topic_keys[KAFKA_TOPICS] = {"telemetryTopic", "eventsTopic", "metricsTopic"};

static bool has(const struct sink_fields *f, const char *key)
{
    return json_object_get(f->out, key) != NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

// "host:9092,[::1]:9092": each host with a port or without.
static int check_broker(const char *p, size_t n)
{
    char one[300];
    int64_t port;
    if (n == 0 || n >= sizeof(one) || strcspn(p, " \t/@?#") < n)
        return -1;
    snprintf(one, sizeof(one), "%.*s", (int)n, p);
    char *close = one[0] == '[' ? strchr(one, ']') : NULL, *colon = strrchr(close ? close : one, ':');
    if ((one[0] == '[' && !close) || colon == one)
        return -1;
    return colon && int_parse(colon + 1, 1, 65535, &port, NULL) ? -1 : 0;
}

static void read_brokers(struct sink_fields *f)
{
    const char *text = text_of(f->out, "brokers");
    if (f->failed)
        return;
    if (!text) {
        sink_fail(f, "brokers are missing: where Kafka listens, such as 127.0.0.1:9092");
        return;
    }
    for (const char *p = text;;) {
        size_t n = strcspn(p, ",");
        if (check_broker(p, n)) {
            sink_fail(f,
                      "brokers: \"%.*s\" is not HOST:PORT%s; several are separated by commas, as in "
                      "kafka1:9092,kafka2:9092",
                      (int)(n > 100 ? 100 : n), p, strstr(p, "://") ? " (no scheme: tls = true for TLS)" : "");
            return;
        }
        if (!p[n])
            return;
        p += n + 1;
    }
}

static void read_topics(struct sink_fields *f)
{
    static const char *const names[KAFKA_TOPICS] = {"iotix.telemetry", "iotix.events", "iotix.metrics"};
    for (int i = 0; i < KAFKA_TOPICS && !f->failed; i++) {
        sink_text_or_false(f, topic_keys[i], names[i]);
        const char *name = text_of(f->out, topic_keys[i]);
        size_t n = name ? strlen(name) : 1;
        if (name && (n == 0 || n > 249 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
                     strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n))
            sink_fail(f, "%s: \"%.100s\" is no name of a topic: expected 1 to 249 letters, digits, . _ and -",
                      topic_keys[i], name);
        for (int k = 0; k < i; k++) {
            const char *other = text_of(f->out, topic_keys[k]);
            if (name && other && strcmp(name, other) == 0)
                sink_fail(f, "%s and %s are both %s: they need topics of their own", topic_keys[k], topic_keys[i],
                          name);
        }
    }
    if (!f->failed && !has(f, topic_keys[0]) && !has(f, topic_keys[1]) && !has(f, topic_keys[2]))
        sink_fail(f, "telemetryTopic, eventsTopic and metricsTopic are all false: there is nothing to send");
}

// Names and texts for librdkafka. Those by which records could get lost, doubled or unordered are the sink's own.
static void read_properties(struct sink_fields *f)
{
    static const char *const own[] = {"bootstrap.servers",
                                      "metadata.broker.list",
                                      "enable.idempotence",
                                      "acks",
                                      "request.required.acks",
                                      "message.timeout.ms",
                                      "delivery.timeout.ms",
                                      "sasl.password",
                                      "ssl.key.password",
                                      "ssl.keystore.password",
                                      "sasl.username",
                                      "security.protocol",
                                      "log.queue",
                                      "delivery.report.only.error",
                                      "partitioner",
                                      "queue.buffering.max.messages",
                                      "queue.buffering.max.kbytes",
                                      "transactional.id",
                                      "plugin.library.paths",
                                      "ssl.key.pem",
                                      "sasl.oauthbearer.client.secret",
                                      "enabled_events",
                                      NULL};
    const json_t *table = json_object_get(f->in, "properties");
    const char *name;
    char why[256];
    json_t *value;
    if (f->failed || !table || json_is_null(table))
        return;
    if (!json_is_object(table) && !(json_is_array(table) && json_array_size(table) == 0)) {
        f->failed = option_expected("kafka sink: properties", "a table of librdkafka's properties", table, f->err);
        return;
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new(); // nothing is done with it
    json_t *texts = json_object();
    json_object_foreach((json_t *)(uintptr_t)table, name, value)
    {
        char number[40];
        const char *text = json_is_string(value)    ? json_string_value(value)
                           : json_is_boolean(value) ? (json_is_true(value) ? "true" : "false")
                                                    : number;
        snprintf(number, sizeof(number), "%.15g", json_number_value(value));
        for (int i = 0; own[i]; i++)
            if (strcmp(own[i], name) == 0)
                sink_fail(f, "properties: %s is not to be changed here%s", name,
                          strstr(name, "password") ? ": see password and passwordRef" : "");
        if (json_is_object(value) || json_is_array(value))
            sink_fail(f, "properties: %.100s: expected a text or a number", name);
        if (!f->failed && rd_kafka_conf_set(conf, name, text, why, sizeof(why)) != RD_KAFKA_CONF_OK)
            sink_fail(f, "properties: librdkafka %s: %s", rd_kafka_version_str(), why);
        json_object_set_new(texts, name, json_string(text));
    }
    rd_kafka_conf_destroy(conf);
    json_object_set_new(f->out, "properties", texts);
}

static void check_security(struct sink_fields *f)
{
    if (f->failed)
        return;
    bool tls = json_is_true(json_object_get(f->out, "tls"));
    if (!tls && (has(f, "ca") || has(f, "cert") || has(f, "key")))
        sink_fail(f, "ca, cert and key have no effect without tls = true");
    if (has(f, "cert") != has(f, "key"))
        sink_fail(f, "cert and key: give both of them, or none");
    if (has(f, "password") && has(f, "passwordRef"))
        sink_fail(f, "password and passwordRef: give one of them");
    if (has(f, "keyPassword") && has(f, "keyPasswordRef"))
        sink_fail(f, "keyPassword and keyPasswordRef: give one of them");
    bool password = has(f, "password") || has(f, "passwordRef");
    if (has(f, "sasl") && (!has(f, "username") || !password))
        sink_fail(f, "sasl %s needs username and password (or passwordRef)", text_of(f->out, "sasl"));
    if (!has(f, "sasl") && (has(f, "username") || password))
        sink_fail(f, "username and password have no effect without sasl: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
}

static void read_sasl(struct sink_fields *f)
{
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", NULL};
    const json_t *v = json_object_get(f->in, "sasl");
    if (v && !json_is_null(v) && !json_is_false(v))
        sink_choice(f, "sasl", NULL, mechanisms);
}

static void read_all(struct sink_fields *f)
{
    static const char *const texts[] = {"brokers",        "ca",       "cert",     "key",        "keyPassword",
                                        "keyPasswordRef", "username", "password", "passwordRef"};
    static const char *const full[] = {"block", "drop", NULL};
    static const char *const compressions[] = {"lz4", "zstd", "gzip", "snappy", "none", NULL};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        sink_text(f, texts[i], NULL);
    read_brokers(f);
    read_topics(f);
    sink_text(f, "clientId", "iotix");
    sink_count(f, "partitions", 6, 1, 10000);
    sink_count(f, "replication", 0, 0, 100);
    sink_bool(f, "create", true);
    sink_choice(f, "compression", "lz4", compressions);
    sink_duration(f, "linger", 20000, 0, 10000000);
    sink_duration(f, "retryMax", 10000000, 100000, 600000000);
    sink_size(f, "memory", 64u << 20, 1u << 20, 1u << 30);
    sink_text_or_false(f, "spill", "iotix-spill");
    sink_size(f, "spillMax", SPILL_MAX_BYTES, SPILL_SEGMENT_BYTES, (uint64_t)1 << 40);
    sink_choice(f, "full", "block", full);
    sink_duration(f, "statsInterval", 5000000, 100000, 3600000000);
    sink_bool(f, "tls", false);
    sink_bool(f, "verify", true);
    read_sasl(f);
    check_security(f);
    read_properties(f);
}

// "host:9092,host:9092?partitions=12&tls=true" → options.
static json_t *from_target(const char *target, struct error *err)
{
    const char *query = strchr(target, '?');
    size_t n = query ? (size_t)(query - target) : strlen(target);
    json_t *o = json_object();
    if (o && json_object_set_new(o, "brokers", json_stringn(target, n)) == 0 &&
        (!query || sink_query(query + 1, o, err) == 0))
        return o;
    if (!query)
        error_set(err, ERR_INVALID, "the target is no UTF-8");
    json_decref(o);
    return NULL;
}

json_t *kafka_parse(const char *target, const json_t *options, struct error *err)
{
    json_t *own = target ? from_target(target, err) : NULL;
    struct sink_fields f = {.type = "kafka", .in = target ? own : options, .out = json_object(), .err = err};
    if ((target && !own) || !f.out)
        f.failed = target && !own ? error_prefix(err, "kafka sink") : error_set(err, ERR_NO_MEMORY, "out of memory");
    if (!f.failed && f.in && option_object("kafka sink", f.in, "a table of options", keys, err))
        f.failed = -1;
    read_all(&f);
    json_decref(own);
    if (!f.failed)
        return f.out;
    json_decref(f.out);
    return NULL;
}

static int64_t number_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

void kafka_read_options(const json_t *o, struct kafka_options *out)
{
    *out = (struct kafka_options){
        .brokers = text_of(o, "brokers"),
        .client_id = text_of(o, "clientId"),
        .partitions = (uint32_t)number_of(o, "partitions"),
        .replication = (uint32_t)number_of(o, "replication"),
        .create = json_is_true(json_object_get(o, "create")),
        .compression = text_of(o, "compression"),
        .linger_us = number_of(o, "linger"),
        .retry_max_us = number_of(o, "retryMax"),
        .memory = (uint32_t)number_of(o, "memory"),
        .spill = text_of(o, "spill"),
        .spill_max = (uint64_t)number_of(o, "spillMax"),
        .block = strcmp(text_of(o, "full"), "block") == 0,
        .tls = json_is_true(json_object_get(o, "tls")),
        .verify = json_is_true(json_object_get(o, "verify")),
        .ca = text_of(o, "ca"),
        .cert = text_of(o, "cert"),
        .key = text_of(o, "key"),
        .key_password = text_of(o, "keyPassword"),
        .key_password_ref = text_of(o, "keyPasswordRef"),
        .sasl = text_of(o, "sasl"),
        .username = text_of(o, "username"),
        .password = text_of(o, "password"),
        .password_ref = text_of(o, "passwordRef"),
        .properties = json_object_get(o, "properties"),
    };
    for (int i = 0; i < KAFKA_TOPICS; i++)
        out->topics[i] = text_of(o, topic_keys[i]);
}
