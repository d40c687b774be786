#include "adapter/series.h"

#include <stdio.h>
#include <stdlib.h>

struct series {
    struct iotix_series shared; // first: what the adapter sees
    struct metrics *metrics;
    char tags[192];
    struct metric *reasons[IOTIX_MESSAGE_DROPPED + 1][ERR_CODE_MAX]; // made when first needed
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
    const struct {
        struct metric **at;
        const char *name;
        enum metric_type type;
        enum metric_unit unit;
    } wanted[] = {{&s->connects, "connects", METRIC_COUNTER, UNIT_NONE},
                  {&s->connect_errors, "connect_errors", METRIC_RATE, UNIT_NONE},
                  {&s->connect_latency, "connect_latency", METRIC_TREND, UNIT_TIME_US},
                  {&s->tcp_latency, "tcp_latency", METRIC_TREND, UNIT_TIME_US},
                  {&s->tls_latency, "tls_latency", METRIC_TREND, UNIT_TIME_US},
                  {&s->tls_resumed, "tls_resumed", METRIC_COUNTER, UNIT_NONE},
                  {&s->tls_full, "tls_full", METRIC_COUNTER, UNIT_NONE},
                  {&s->reconnects, "reconnects", METRIC_COUNTER, UNIT_NONE},
                  {&s->messages_sent, "messages_sent", METRIC_COUNTER, UNIT_NONE},
                  {&s->messages_acked, "messages_acked", METRIC_COUNTER, UNIT_NONE},
                  {&s->messages_received, "messages_received", METRIC_COUNTER, UNIT_NONE},
                  {&s->publish_errors, "publish_errors", METRIC_RATE, UNIT_NONE},
                  {&s->publish_latency, "publish_latency", METRIC_TREND, UNIT_TIME_US},
                  {&s->bytes_sent, "bytes_sent", METRIC_COUNTER, UNIT_BYTES},
                  {&s->bytes_received, "bytes_received", METRIC_COUNTER, UNIT_BYTES},
                  {&s->requests, "requests", METRIC_COUNTER, UNIT_NONE},
                  {&s->request_errors, "request_errors", METRIC_RATE, UNIT_NONE},
                  {&s->request_latency, "request_latency", METRIC_TREND, UNIT_TIME_US}};
    all->metrics = env->metrics;
    int n = snprintf(all->tags, sizeof all->tags - 40, "group:%s,protocol:%s", group, protocol);
    if (n < 0 || (size_t)n >= sizeof all->tags - 40) {
        error_set(err, ERR_INVALID, "the group name \"%.40s...\" is too long", group);
        goto fail;
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!(*wanted[i].at =
                  metrics_series(env->metrics, wanted[i].name, wanted[i].type, wanted[i].unit, all->tags, err)))
            goto fail;
    s->devices_online = metrics_gauge(env->metrics, "devices_online", GAUGE_SUM, all->tags, err);
    s->connect_rate_limit =
        s->devices_online ? metrics_gauge(env->metrics, "connect_rate_limit", GAUGE_SUM, all->tags, err) : NULL;
    if (s->connect_rate_limit)
        return s;
fail:
    free(all);
    return NULL;
}

void series_delete(struct iotix_series *series)
{
    free(series);
}

void series_count(struct iotix_series *series, enum iotix_reason what, enum error_code reason)
{
    static const char *const names[] = {"connect_failures", "disconnects", "messages_dropped"};
    struct series *all = (struct series *)(void *)series;
    if ((unsigned)what > IOTIX_MESSAGE_DROPPED || (unsigned)reason >= ERR_CODE_MAX)
        return;
    struct metric **m = &all->reasons[what][reason];
    if (!*m) {
        char tags[sizeof all->tags + 40];
        snprintf(tags, sizeof tags, "%s,reason:%s", all->tags, error_code_name(reason));
        *m = metrics_series(all->metrics, names[what], METRIC_COUNTER, UNIT_NONE, tags, NULL);
    }
    if (*m)
        counter_add(*m, 1);
}
