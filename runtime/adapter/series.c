#include "adapter/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the adapters measure. docs/reference/metrics.md says what each of them means.
static const struct kind {
    const char *name;
    enum metric_type type;
    enum metric_unit unit;
} kinds[] = {
    {"acks_unknown", METRIC_COUNTER, UNIT_NONE},
    {"bytes_received", METRIC_COUNTER, UNIT_BYTES},
    {"bytes_sent", METRIC_COUNTER, UNIT_BYTES},
    {"coap_duplicates", METRIC_COUNTER, UNIT_NONE},
    {"coap_malformed", METRIC_COUNTER, UNIT_NONE},
    {"coap_resets", METRIC_COUNTER, UNIT_NONE},
    {"coap_retransmissions", METRIC_COUNTER, UNIT_NONE},
    {"coap_timeouts", METRIC_COUNTER, UNIT_NONE},
    {"connack_latency", METRIC_TREND, UNIT_TIME_US},
    {"connect_errors", METRIC_RATE, UNIT_NONE},
    {"connect_latency", METRIC_TREND, UNIT_TIME_US},
    {"connect_latency_raw", METRIC_TREND, UNIT_TIME_US},
    {"connect_rate_limit", METRIC_GAUGE, UNIT_NONE},
    {"connect_wait", METRIC_TREND, UNIT_TIME_US},
    {"connects", METRIC_COUNTER, UNIT_NONE},
    {"credential_refreshes", METRIC_COUNTER, UNIT_NONE},
    {"devices_online", METRIC_GAUGE, UNIT_NONE},
    {"http_connections", METRIC_GAUGE, UNIT_NONE},
    {"http_retries", METRIC_COUNTER, UNIT_NONE},
    {"messages_acked", METRIC_COUNTER, UNIT_NONE},
    {"messages_received", METRIC_COUNTER, UNIT_NONE},
    {"messages_resent", METRIC_COUNTER, UNIT_NONE},
    {"messages_sent", METRIC_COUNTER, UNIT_NONE},
    {"publish_errors", METRIC_RATE, UNIT_NONE},
    {"publish_latency", METRIC_TREND, UNIT_TIME_US},
    {"publish_latency_raw", METRIC_TREND, UNIT_TIME_US},
    {"reconnects", METRIC_COUNTER, UNIT_NONE},
    {"redirects", METRIC_COUNTER, UNIT_NONE},
    {"request_errors", METRIC_RATE, UNIT_NONE},
    {"request_latency", METRIC_TREND, UNIT_TIME_US},
    {"request_latency_raw", METRIC_TREND, UNIT_TIME_US},
    {"requests", METRIC_COUNTER, UNIT_NONE},
    {"requests_served", METRIC_COUNTER, UNIT_NONE},
    {"responses_unknown", METRIC_COUNTER, UNIT_NONE},
    {"subscribe_latency", METRIC_TREND, UNIT_TIME_US},
    {"tcp_latency", METRIC_TREND, UNIT_TIME_US},
    {"tls_full", METRIC_COUNTER, UNIT_NONE},
    {"tls_latency", METRIC_TREND, UNIT_TIME_US},
    {"tls_resumed", METRIC_COUNTER, UNIT_NONE},
};

int series_tags(char out[SERIES_TAGS_MAX], const char *protocol, const char *group, struct error *err)
{
    int n = snprintf(out, SERIES_TAGS_MAX, "group:%s,protocol:%s", group, protocol);
    return n < 0 || (unsigned)n >= SERIES_TAGS_MAX
               ? error_set(err, ERR_INVALID, "the group name \"%.40s...\" is too long", group)
               : 0;
}

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

int series_make(struct metrics *m, const char *tags, const struct series_wish *all, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct kind *k = kind_of(all[i].name);
        if (!k)
            return error_set(err, ERR_NOT_FOUND, "no adapter measures \"%s\"", all[i].name);
        *all[i].at = k->type == METRIC_GAUGE ? metrics_gauge(m, k->name, GAUGE_SUM, tags, err)
                                             : metrics_series(m, k->name, k->type, k->unit, tags, err);
        if (!*all[i].at)
            return -1;
    }
    return 0;
}

void series_count_tagged(struct metrics *m, const char *tags, struct metric **at, const char *name, const char *key,
                         const char *value)
{
    char more[SERIES_TAGS_MAX + 64];
    if (!*at) {
        snprintf(more, sizeof more, "%s,%.14s:%.48s", tags, key, value);
        *at = metrics_series(m, name, METRIC_COUNTER, UNIT_NONE, more, NULL);
    }
    if (*at)
        counter_add(*at, 1);
}

void series_count_reason(struct metrics *m, const char *tags, struct series_reasons *reasons, enum iotix_reason what,
                         enum error_code reason)
{
    static const char *const names[] = {"connect_failures", "disconnects", "messages_dropped"};
    series_count_tagged(m, tags, &reasons->at[what][reason], names[what], "reason", error_code_name(reason));
}

// --- for plugins and adapters in Lua --------------------------------------------------------------------------------

struct series {
    struct iotix_series shared; // first: what the adapter sees
    struct metrics *metrics;
    char tags[SERIES_TAGS_MAX];
    struct series_reasons reasons;
};

struct iotix_series *series_new(const struct adapter_env *env, const char *protocol, const char *group,
                                struct error *err)
{
    struct series *all = calloc(1, sizeof *all);
    if (!all) {
        error_set(err, ERR_NO_MEMORY, "no memory for metrics");
        return NULL;
    }
    struct iotix_series *s = &all->shared;
    const struct series_wish wanted[] = {{"connects", &s->connects},
                                         {"connect_errors", &s->connect_errors},
                                         {"connect_latency", &s->connect_latency},
                                         {"tcp_latency", &s->tcp_latency},
                                         {"tls_latency", &s->tls_latency},
                                         {"tls_resumed", &s->tls_resumed},
                                         {"tls_full", &s->tls_full},
                                         {"connect_rate_limit", &s->connect_rate_limit},
                                         {"reconnects", &s->reconnects},
                                         {"devices_online", &s->devices_online},
                                         {"messages_sent", &s->messages_sent},
                                         {"messages_acked", &s->messages_acked},
                                         {"messages_received", &s->messages_received},
                                         {"publish_errors", &s->publish_errors},
                                         {"publish_latency", &s->publish_latency},
                                         {"bytes_sent", &s->bytes_sent},
                                         {"bytes_received", &s->bytes_received},
                                         {"requests", &s->requests},
                                         {"request_errors", &s->request_errors},
                                         {"request_latency", &s->request_latency},
                                         {"connect_latency_raw", &s->connect_latency_raw},
                                         {"connect_wait", &s->connect_wait},
                                         {"publish_latency_raw", &s->publish_latency_raw},
                                         {"request_latency_raw", &s->request_latency_raw}};
    all->metrics = env->metrics;
    if (series_tags(all->tags, protocol, group, err) == 0 &&
        series_make(env->metrics, all->tags, wanted, sizeof wanted / sizeof *wanted, err) == 0)
        return s;
    free(all);
    return NULL;
}

void series_delete(struct iotix_series *series)
{
    free(series);
}

void series_count(struct iotix_series *series, enum iotix_reason what, enum error_code reason)
{
    struct series *all = (struct series *)(void *)series;
    if ((unsigned)what <= IOTIX_MESSAGE_DROPPED && (unsigned)reason < ERR_CODE_MAX) // they may be a plugin's
        series_count_reason(all->metrics, all->tags, &all->reasons, what, reason);
}
