// The metric series of a target.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/target.h"

struct wanted {
    struct metric **at;
    const char *name;
    enum metric_type type;
    enum metric_unit unit;
};

static int make(struct mqtt_target *t, const struct wanted *all, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(*all[i].at = metrics_series(t->env.metrics, all[i].name, all[i].type, all[i].unit, t->tags, err)))
            return -1;
    return 0;
}

static int make_tls(struct mqtt_target *t, struct error *err)
{
    struct mqtt_series *s = &t->series;
    const struct wanted all[] = {{&s->tls_latency, "tls_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->tls_resumed, "tls_resumed", METRIC_COUNTER, UNIT_NONE},
                                 {&s->tls_full, "tls_full", METRIC_COUNTER, UNIT_NONE}};
    return make(t, all, sizeof all / sizeof *all, err);
}

static int make_5(struct mqtt_target *t, struct error *err)
{
    struct mqtt_series *s = &t->series;
    const struct wanted all[] = {{&s->requests, "requests", METRIC_COUNTER, UNIT_NONE},
                                 {&s->request_errors, "request_errors", METRIC_RATE, UNIT_NONE},
                                 {&s->request_latency, "request_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->responses_unknown, "responses_unknown", METRIC_COUNTER, UNIT_NONE},
                                 {&s->redirects, "redirects", METRIC_COUNTER, UNIT_NONE}};
    return make(t, all, sizeof all / sizeof *all, err);
}

int mqtt_series_create(struct mqtt_target *t, struct error *err)
{
    struct mqtt_series *s = &t->series;
    const struct wanted all[] = {{&s->connects, "connects", METRIC_COUNTER, UNIT_NONE},
                                 {&s->connect_errors, "connect_errors", METRIC_RATE, UNIT_NONE},
                                 {&s->connect_latency, "connect_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->tcp_latency, "tcp_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->connack_latency, "connack_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->reconnects, "reconnects", METRIC_COUNTER, UNIT_NONE},
                                 {&s->messages_sent, "messages_sent", METRIC_COUNTER, UNIT_NONE},
                                 {&s->messages_resent, "messages_resent", METRIC_COUNTER, UNIT_NONE},
                                 {&s->messages_acked, "messages_acked", METRIC_COUNTER, UNIT_NONE},
                                 {&s->messages_received, "messages_received", METRIC_COUNTER, UNIT_NONE},
                                 {&s->publish_errors, "publish_errors", METRIC_RATE, UNIT_NONE},
                                 {&s->publish_latency, "publish_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->subscribe_latency, "subscribe_latency", METRIC_TREND, UNIT_TIME_US},
                                 {&s->bytes_sent, "bytes_sent", METRIC_COUNTER, UNIT_BYTES},
                                 {&s->bytes_received, "bytes_received", METRIC_COUNTER, UNIT_BYTES},
                                 {&s->acks_unknown, "acks_unknown", METRIC_COUNTER, UNIT_NONE}};
    if (make(t, all, sizeof all / sizeof *all, err) < 0)
        return -1;
    if ((t->tls && make_tls(t, err) < 0) || (t->options.version == 5 && make_5(t, err) < 0))
        return -1;
    s->devices_online = metrics_gauge(t->env.metrics, "devices_online", GAUGE_SUM, t->tags, err);
    s->connect_rate_limit = metrics_gauge(t->env.metrics, "connect_rate_limit", GAUGE_SUM, t->tags, err);
    return s->devices_online && s->connect_rate_limit ? 0 : -1;
}

void mqtt_series_destroy(struct mqtt_target *t)
{
    free(t->series.reasons);
    t->series.reasons = NULL;
}

static void count_tagged(struct mqtt_target *t, struct metric **series, const char *name, const char *reason)
{
    char tags[sizeof t->tags + 64];
    if (!*series) {
        snprintf(tags, sizeof tags, "%s,reason:%s", t->tags, reason);
        *series = metrics_series(t->env.metrics, name, METRIC_COUNTER, UNIT_NONE, tags, NULL);
    }
    if (*series)
        counter_add(*series, 1);
}

void mqtt_count_reason(struct mqtt_target *t, enum mqtt_reasoned what, enum error_code reason)
{
    static const char *const names[] = {"connect_failures", "disconnects", "messages_dropped"};
    struct mqtt_series *s = &t->series;
    struct metric **tables[] = {s->connect_failures, s->disconnects, s->messages_dropped};
    count_tagged(t, &tables[what][reason], names[what], error_code_name(reason));
}

static struct mqtt_reasons *reasons(struct mqtt_target *t)
{
    if (!t->series.reasons)
        t->series.reasons = calloc(1, sizeof *t->series.reasons);
    return t->series.reasons;
}

#define UNKNOWN 0xffu // the place of all that the standard does not know

static void count_code(struct mqtt_target *t, struct metric **table, const char *name, const char *prefix,
                       unsigned reason)
{
    char text[32];
    unsigned place = strcmp(mqtt5_reason_text((uint8_t)reason), "unknown reason") == 0 ? UNKNOWN : reason;
    if (place == UNKNOWN)
        snprintf(text, sizeof text, "%sunknown", prefix);
    else
        snprintf(text, sizeof text, "%s0x%02x", prefix, place);
    count_tagged(t, &table[place], name, text);
}

void mqtt_count_connack(struct mqtt_target *t, uint8_t return_code)
{
    char reason[24];
    struct mqtt_reasons *r = t->options.version == 5 ? reasons(t) : NULL;
    if (r) {
        count_code(t, r->connack, "connect_failures", "connack-", return_code);
    } else if (return_code < sizeof t->series.connack / sizeof *t->series.connack) {
        snprintf(reason, sizeof reason, "connack-%u", return_code);
        count_tagged(t, &t->series.connack[return_code], "connect_failures", reason);
    }
}

void mqtt_count_disconnect(struct mqtt_target *t, uint8_t reason)
{
    struct mqtt_reasons *r = reasons(t);
    if (r)
        count_code(t, r->disconnect, "disconnects", "", reason);
}
