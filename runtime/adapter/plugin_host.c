// The table of functions that plugins get: thin covers of what the rooms have, so that these may change.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/backoff.h"
#include "adapter/flow.h"
#include "adapter/plugin.h"
#include "adapter/series.h"
#include "core/jsonx.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/units.h"
#include "link/url.h"

static int host_error_set(struct error *err, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int host_error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void host_log(const struct adapter_env *env, enum iotix_log_level level, const char *device, const char *fmt,
                     ...) PRINTF_LIKE(4, 5);

static int host_error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if ((unsigned)code >= ERR_CODE_MAX || code == ERR_NONE)
        code = ERR_INTERNAL;
    return error_set_at(err, "plugin", 0, code, "%s", text);
}

static int host_error_prefix(struct error *err, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return error_prefix(err, "%s", text);
}

static void host_log(const struct adapter_env *env, enum iotix_log_level level, const char *device, const char *fmt,
                     ...)
{
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG};
    va_list args;
    va_start(args, fmt);
    if (env) {
        log_vwrite(env->log, levels[(unsigned)level <= IOTIX_LOG_DEBUG ? level : IOTIX_LOG_INFO], device, fmt, args);
    } else { // in its init: no process has a log yet
        vfprintf(stderr, fmt, args);
        fputc('\n', stderr);
    }
    va_end(args);
}

static int64_t host_now_us(const struct adapter_env *env)
{
    return loop_fresh_us(env->loop);
}

static int64_t host_due_us(const struct adapter_env *env)
{
    int64_t now_us = loop_fresh_us(env->loop);
    struct lag lag;
    loop_lag(env->loop, now_us, &lag);
    return now_us - lag.late_us;
}

static int64_t host_wall_us(const struct adapter_env *env)
{
    return loop_wall_us(env->loop);
}

struct iotix_timer {
    struct timer timer;
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

static struct iotix_timer *host_timer_new(const struct adapter_env *env, void (*fn)(void *arg), void *arg)
{
    struct iotix_timer *t = calloc(1, sizeof *t);
    if (t) {
        t->loop = env->loop;
        t->fn = fn;
        t->arg = arg;
    }
    return t;
}

static void on_timer(struct timer *timer, void *loop)
{
    struct iotix_timer *t = container_of(timer, struct iotix_timer, timer);
    (void)loop;
    t->fn(t->arg); // may delete it
}

static void host_timer_start(struct iotix_timer *t, int64_t delay_us)
{
    loop_timer_start(t->loop, &t->timer, delay_us, on_timer);
}

static void host_timer_stop(struct iotix_timer *t)
{
    loop_timer_stop(t->loop, &t->timer);
}

static void host_timer_delete(struct iotix_timer *t)
{
    if (t)
        loop_timer_stop(t->loop, &t->timer);
    free(t);
}

static uint64_t host_random(uint64_t *state)
{
    struct rng r = {*state};
    uint64_t v = rng_u64(&r);
    *state = r.state;
    return v;
}

static double host_random_unit(uint64_t *state)
{
    struct rng r = {*state};
    double v = rng_unit(&r);
    *state = r.state;
    return v;
}

// --- options

static int host_options_check(const json_t *options, const char *const *own, bool endpoint, struct error *err)
{
    static const char *const none[] = {NULL};
    const char *key;
    json_t *value;
    if (endpoint)
        return endpoint_check_keys(options, own, err);
    own = own ? own : none;
    json_object_foreach((json_t *)options, key, value)
    {
        unsigned i = 0;
        while (own[i] && strcmp(own[i], key))
            i++;
        if (!own[i])
            return error_unknown(err, "unknown option", key, own);
    }
    return 0;
}

// NULL: absent
static const json_t *option(const json_t *options, const char *key)
{
    const json_t *v = json_object_get(options, key);
    return json_is_null(v) ? NULL : v;
}

static int host_option_str(const json_t *options, const char *key, const char *dflt, const char **out,
                           struct error *err)
{
    *out = dflt;
    return option(options, key) ? json_get_str(options, key, dflt, out, err) : 0;
}

static int host_option_int(const json_t *options, const char *key, int64_t dflt, int64_t *out, struct error *err)
{
    *out = dflt;
    return option(options, key) ? json_get_int(options, key, dflt, out, err) : 0;
}

static int host_option_bool(const json_t *options, const char *key, bool dflt, bool *out, struct error *err)
{
    *out = dflt;
    return option(options, key) ? json_get_bool(options, key, dflt, out, err) : 0;
}

static int host_option_duration(const json_t *options, const char *key, int64_t dflt_us, int64_t *out_us,
                                struct error *err)
{
    const json_t *v = option(options, key);
    int rc = 0;
    *out_us = dflt_us;
    if (json_is_number(v))
        rc = duration_from_seconds(json_number_value(v), out_us, err);
    else if (json_is_string(v))
        rc = duration_parse(json_string_value(v), true, out_us, err);
    else if (v)
        rc = error_set(err, ERR_INVALID, "expected a duration such as \"1.5s\" or a number of seconds");
    return rc ? error_prefix(err, "%s", key) : 0;
}

static int host_url_parse(const char *text, uint16_t default_port, struct iotix_url *out, struct error *err)
{
    _Static_assert(sizeof(struct iotix_url) == sizeof(struct url), "struct iotix_url is struct url to plugins");
    _Static_assert(offsetof(struct iotix_url, password) == offsetof(struct url, password), "and so are its members");
    struct url u;
    if (url_parse_port(text, "", default_port, &u, err) < 0)
        return -1;
    memcpy(out, &u, sizeof *out);
    return 0;
}

// --- metrics

static struct metric *host_metric(const struct adapter_env *env, const char *name, enum iotix_metric type,
                                  enum iotix_unit unit, const char *tags, struct error *err)
{
    static const enum metric_type types[] = {METRIC_COUNTER, METRIC_GAUGE, METRIC_RATE, METRIC_TREND};
    static const enum metric_unit units[] = {UNIT_NONE, UNIT_TIME_US, UNIT_BYTES};
    if ((unsigned)type > IOTIX_TREND || (unsigned)unit > IOTIX_UNIT_BYTES) {
        error_set(err, ERR_INVALID, "metric %s: there is no such type or unit", name);
        return NULL;
    }
    if (type == IOTIX_GAUGE)
        return metrics_gauge(env->metrics, name, GAUGE_SUM, tags, err);
    return metrics_series(env->metrics, name, types[type], units[unit], tags, err);
}

static void host_metric_add(struct metric *m, double v)
{
    if (m->type == METRIC_GAUGE)
        gauge_add(m, v);
    else if (m->type == METRIC_COUNTER && v >= 0 && v <= 9007199254740992.0)
        counter_add(m, (uint64_t)v);
}

static void host_metric_set(struct metric *m, double v)
{
    if (m->type == METRIC_GAUGE)
        gauge_set(m, v);
}

static void host_metric_hit(struct metric *m, bool hit)
{
    if (m->type == METRIC_RATE)
        rate_add(m, hit);
}

static void host_metric_sample(struct metric *m, int64_t v)
{
    if (m->type == METRIC_TREND)
        trend_add(m, v);
}

const struct iotix_host *plugin_host(void)
{
    static const struct iotix_host host = {
        .abi = ADAPTER_ABI,
        .size = sizeof host,
        .version = IOTIX_VERSION,
        .fail = host_error_set,
        .fail_prefix = host_error_prefix,
        .buf_create = buf_create,
        .buf_destroy = buf_destroy,
        .buf_append = buf_append,
        .buf_consume = buf_consume,
        .log = host_log,
        .now_us = host_now_us,
        .wall_us = host_wall_us,
        .timer_new = host_timer_new,
        .timer_start = host_timer_start,
        .timer_stop = host_timer_stop,
        .timer_delete = host_timer_delete,
        .random = host_random,
        .random_unit = host_random_unit,
        .options_check = host_options_check,
        .option_str = host_option_str,
        .option_int = host_option_int,
        .option_bool = host_option_bool,
        .option_duration = host_option_duration,
        .option_backoff = backoff_parse,
        .backoff_us = backoff_us,
        .url_parse = host_url_parse,
        .series_new = series_new,
        .series_delete = series_delete,
        .series_count = series_count,
        .metric = host_metric,
        .metric_add = host_metric_add,
        .metric_set = host_metric_set,
        .metric_hit = host_metric_hit,
        .metric_sample = host_metric_sample,
        .endpoint_new = endpoint_new,
        .endpoint_delete = endpoint_delete,
        .flow_new = flow_new,
        .flow_delete = flow_delete,
        .flow_open = flow_open,
        .flow_ready = flow_ready,
        .flow_is_open = flow_is_open,
        .flow_send = flow_send,
        .flow_close = flow_close,
        .flow_pause = flow_pause,
        .flow_unsent = flow_unsent,
        .flow_footprint = flow_footprint,
        .flow_path = flow_path,
        .due_us = host_due_us,
    };
    return &host;
}
