// The controller works on the logarithm of the rate, so that it behaves alike at 10 and at 10,000 connects a second:
//
//     ln rate = integral + KP * e,   integral += KI * e * dt,   e = (target - latency) / target in [-1, 1]
//
// A server that is asked for more than it can do answers later and later: latency grows by (rate / capacity - 1)
// seconds each second, an integrator, which the proportional part damps. What limits both gains is the dead time: a
// latency is known only when the handshake has ended, some target times after it was allowed to begin. The gains were
// chosen by simulation (tests/unit/adapter/test_pacer.c, docs/how-to/connect-pacing.md).
//
// No wind-up: the integral grows only while the rate is what holds connects back. A server that is far behind is
// saturated, and what it gets done then is its capacity: the integral goes there, up or down, and the proportional part
// lets the queue drain. Far below the target the integral grows faster, and at the very beginning the rate doubles
// until the server shows that it feels it.
#include "adapter/pacer.h"

#include <math.h>
#include <string.h>
#include "core/units.h"

#define WINDOW 64
#define WINDOW_MAX 1000000
#define RATE_MAX 1e7
#define TARGET_US 200000
#define TARGET_MIN_US 1000
#define TARGET_MAX_US 60000000
#define MIN_RATE 1.0
#define MAX_FAILURES 0.1

#define FIRST_RATE 100.0 // at most; where adaptive pacing begins
#define PERIOD_US 100000
#define PERIOD_MAX_US 1000000 // a period in which little ends is judged then
#define ENOUGH 8              // handshakes that make a period worth judging
#define KP 0.4
#define KI 0.2
#define KI_FAR 1.0       // latency below half the target
#define SATURATED (-1.0) // e at which what is done is the capacity
#define E_MIN (-3.0)
#define LEARN 0.5          // share of the way to the capacity that is gone in a period
#define BUSY 0.7           // share of the rate that must be used for it to be what holds back
#define PROBE_DOUBLE_S 0.3 // the rate doubles in that time
#define BURST_S 0.02       // connects that may be saved up, at least one

// --- options

static int get_number(const json_t *options, const char *key, double min, double max, double *out, struct error *err)
{
    const json_t *v = json_object_get(options, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_number(v) || !(json_number_value(v) >= min && json_number_value(v) <= max))
        return error_set(err, ERR_INVALID, "%s: expected a number from %g to %.12g", key, min, max);
    *out = json_number_value(v);
    return 0;
}

static int get_target(const json_t *options, int64_t *out, struct error *err)
{
    const json_t *v = json_object_get(options, "target");
    if (!v || json_is_null(v))
        return 0;
    int rc = json_is_string(v)   ? duration_parse(json_string_value(v), false, out, err)
             : json_is_number(v) ? duration_from_seconds(json_number_value(v), out, err)
                                 : error_set(err, ERR_INVALID, "expected a duration such as \"200ms\"");
    if (!rc && (*out < TARGET_MIN_US || *out > TARGET_MAX_US))
        rc = error_set(err, ERR_INVALID, "expected 1 ms to 60 s");
    return rc ? error_prefix(err, "connectPacing.target") : 0;
}

static int get_pacing(const json_t *v, struct pacer_config *out, struct error *err)
{
    static const char *const modes[] = {"fixed", "adaptive", NULL};
    static const char *const keys[] = {"target", "minRate", "maxFailures", NULL};
    const char *key;
    json_t *member;
    if (!v || json_is_null(v))
        return 0;
    if (json_is_string(v)) {
        int mode = name_choose("connectPacing", json_string_value(v), modes, err);
        out->adaptive = mode == 1;
        return mode < 0 ? -1 : 0;
    }
    if (!json_is_object(v))
        return error_set(err, ERR_INVALID,
                         "connectPacing: expected \"fixed\", \"adaptive\" or an object such as { target = \"200ms\" }");
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        if (name_choose("connectPacing: unknown key", key, keys, err) < 0)
            return -1;
    }
    out->adaptive = true;
    if (get_target(v, &out->target_us, err))
        return -1;
    return get_number(v, "minRate", 0.01, RATE_MAX, &out->min_rate, err) ||
                   get_number(v, "maxFailures", 0, 1, &out->max_failures, err)
               ? error_prefix(err, "connectPacing")
               : 0;
}

int pacer_config_parse(const json_t *options, struct pacer_config *out, struct error *err)
{
    double window = WINDOW;
    *out = (struct pacer_config){.target_us = TARGET_US, .min_rate = MIN_RATE, .max_failures = MAX_FAILURES};
    if (get_number(options, "connectWindow", 1, WINDOW_MAX, &window, err) ||
        get_number(options, "connectRate", 0, RATE_MAX, &out->rate, err) ||
        get_pacing(json_object_get(options, "connectPacing"), out, err))
        return -1;
    if (window != floor(window))
        return error_set(err, ERR_INVALID, "connectWindow: expected a whole number");
    out->window = (uint32_t)window;
    if (out->adaptive && out->rate > 0 && out->min_rate > out->rate)
        out->min_rate = out->rate;
    return 0;
}

// --- rate

static void set_rate(struct pacer *p, double rate)
{
    if (p->config.rate > 0 && rate > p->config.rate)
        rate = p->config.rate;
    if (p->config.adaptive && rate < p->config.min_rate)
        rate = p->config.min_rate;
    if (rate > RATE_MAX)
        rate = RATE_MAX;
    p->rate = rate;
    if (p->rate_gauge)
        gauge_set(p->rate_gauge, rate);
}

void pacer_create(struct pacer *p, const struct pacer_config *config, struct metric *rate_gauge)
{
    *p = (struct pacer){.config = *config, .rate_gauge = rate_gauge, .tokens = 1};
    set_rate(p, config->adaptive ? FIRST_RATE : config->rate);
    p->probing = config->adaptive;
    p->integral = log(p->rate > 0 ? p->rate : 1);
}

// --- the controller

static void new_period(struct pacer *p, int64_t now_us)
{
    p->period_us = now_us;
    p->latency_sum_us = 0;
    p->n_started = p->n_done = p->n_failed = 0;
}

static void drop(struct pacer *p, int64_t now_us)
{
    set_rate(p, p->rate / 2);
    p->integral = log(p->rate);
    p->probing = false;
    p->drop_until_us = now_us + p->config.target_us;
}

static void control(struct pacer *p, double latency_us, double dt)
{
    double target = (double)p->config.target_us, e = (target - latency_us) / target;
    bool limited = p->n_started >= BUSY * p->rate * dt;
    e = e < E_MIN ? E_MIN : e;
    if (p->probing && e > 0.5) {
        if (limited)
            set_rate(p, p->rate * exp2(dt / PROBE_DOUBLE_S));
        p->integral = log(p->rate);
        return;
    }
    if (p->probing) { // what it feels was allowed some time ago, when the rate was about half of what it is now
        p->probing = false;
        p->integral = log(p->rate / 2);
    }
    if (e <= SATURATED && p->n_done)
        p->integral += LEARN * (log(p->n_done / dt) - p->integral);
    else if (e < 0 || limited)
        p->integral += (e > 0.5 ? KI_FAR : KI) * e * dt;
    set_rate(p, exp(p->integral + KP * e));
    // The limits are the integral's too: it comes back from them at once.
    double low = log(p->config.min_rate) - KP, high = log(p->config.rate > 0 ? p->config.rate : RATE_MAX) + KP;
    p->integral = p->integral < low ? low : p->integral > high ? high : p->integral;
}

static void judge(struct pacer *p, int64_t now_us)
{
    int64_t elapsed_us = now_us - p->period_us;
    unsigned n = p->n_done + p->n_failed;
    if (!p->period_us) {
        new_period(p, now_us);
        return;
    }
    if (elapsed_us < PERIOD_US || (n < ENOUGH && elapsed_us < PERIOD_MAX_US))
        return;
    double dt = (double)(elapsed_us < PERIOD_MAX_US ? elapsed_us : PERIOD_MAX_US) * 1e-6;
    bool dropped = now_us < p->drop_until_us;
    // One failure among few is no pattern.
    if (p->n_failed > 1 && (double)p->n_failed > p->config.max_failures * (double)n && !dropped)
        drop(p, now_us);
    else if (p->n_done && !(dropped && p->n_failed))
        control(p, p->latency_sum_us / p->n_done, dt);
    else if (!n && p->under_way) // whoever does not answer at all is late by more than a whole period
        control(p, (double)elapsed_us + (double)p->config.target_us, dt);
    new_period(p, now_us);
}

// --- who may

static void refill(struct pacer *p, int64_t now_us)
{
    double burst = p->rate * BURST_S;
    if (now_us > p->refilled_us && p->refilled_us)
        p->tokens += p->rate * (double)(now_us - p->refilled_us) * 1e-6;
    p->refilled_us = now_us;
    burst = burst < 1 ? 1 : burst;
    if (p->tokens > burst)
        p->tokens = burst;
}

unsigned pacer_allows(struct pacer *p, int64_t now_us, int64_t *retry_us)
{
    unsigned room = p->under_way < p->config.window ? p->config.window - p->under_way : 0;
    *retry_us = -1;
    if (p->config.adaptive)
        judge(p, now_us);
    if (p->rate <= 0)
        return room;
    refill(p, now_us);
    if (!room)
        return 0;
    if (p->tokens >= room)
        return room;
    *retry_us = (int64_t)ceil((1 - fmod(p->tokens, 1)) / p->rate * 1e6);
    return (unsigned)p->tokens;
}

void pacer_started(struct pacer *p, int64_t now_us)
{
    p->under_way++;
    p->n_started++;
    if (p->rate <= 0)
        return;
    refill(p, now_us);
    p->tokens -= 1; // below 0 by whoever did not ask: those that come later wait for it
}

void pacer_ended(struct pacer *p, int64_t now_us, int64_t latency_us, bool failed)
{
    if (p->under_way)
        p->under_way--;
    if (!p->config.adaptive)
        return;
    if (failed) {
        p->n_failed++;
    } else {
        p->n_done++;
        p->latency_sum_us += (double)latency_us;
    }
    judge(p, now_us);
}
