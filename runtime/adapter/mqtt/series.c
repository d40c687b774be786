// The metric series of a target.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/target.h"

int mqtt_series_create(struct mqtt_target *t, struct error *err)
{
    struct mqtt_series *s = &t->series;
    const struct series_wish all[] = {{"connects", &s->connects},
                                      {"connect_errors", &s->connect_errors},
                                      {"connect_latency", &s->connect_latency},
                                      {"connect_latency_raw", &s->connect_latency_raw},
                                      {"connect_wait", &s->connect_wait},
                                      {"tcp_latency", &s->tcp_latency},
                                      {"connack_latency", &s->connack_latency},
                                      {"reconnects", &s->reconnects},
                                      {"messages_sent", &s->messages_sent},
                                      {"messages_resent", &s->messages_resent},
                                      {"messages_acked", &s->messages_acked},
                                      {"messages_received", &s->messages_received},
                                      {"publish_errors", &s->publish_errors},
                                      {"publish_latency", &s->publish_latency},
                                      {"publish_latency_raw", &s->publish_latency_raw},
                                      {"subscribe_latency", &s->subscribe_latency},
                                      {"bytes_sent", &s->bytes_sent},
                                      {"bytes_received", &s->bytes_received},
                                      {"acks_unknown", &s->acks_unknown},
                                      {"devices_online", &s->devices_online},
                                      {"connect_rate_limit", &s->connect_rate_limit}};
    const struct series_wish tls[] = {
        {"tls_latency", &s->tls_latency}, {"tls_resumed", &s->tls_resumed}, {"tls_full", &s->tls_full}};
    const struct series_wish of_5[] = {{"requests", &s->requests},
                                       {"request_errors", &s->request_errors},
                                       {"request_latency", &s->request_latency},
                                       {"request_latency_raw", &s->request_latency_raw},
                                       {"responses_unknown", &s->responses_unknown},
                                       {"redirects", &s->redirects}};
    struct metrics *m = t->env.metrics;
    if (series_make(m, t->tags, all, sizeof all / sizeof *all, err) < 0 ||
        (t->tls && series_make(m, t->tags, tls, sizeof tls / sizeof *tls, err) < 0))
        return -1;
    return t->options.version == 5 ? series_make(m, t->tags, of_5, sizeof of_5 / sizeof *of_5, err) : 0;
}

void mqtt_series_destroy(struct mqtt_target *t)
{
    free(t->series.reasons);
    t->series.reasons = NULL;
}

static void count_tagged(struct mqtt_target *t, struct metric **series, const char *name, const char *reason)
{
    series_count_tagged(t->env.metrics, t->tags, series, name, "reason", reason);
}

void mqtt_count_reason(struct mqtt_target *t, enum mqtt_reasoned what, enum error_code reason)
{
    series_count_reason(t->env.metrics, t->tags, &t->series.by_code, (enum iotix_reason)what, reason);
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
