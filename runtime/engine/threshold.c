// Thresholds: a hand-written scanner for `agg op value[unit]`, and their evaluation over a registry.
//
// What a unit means depends on the aggregate: "m" is minutes behind a percentile and a million behind a count. So the
// scanner takes the aggregate first and offers only the units that fit it. What needs the metric's type is checked in
// one place (fits_metric), for the known metrics when a scenario is loaded and for the author's own when they are
// evaluated.
#include "engine/threshold.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/units.h"

const struct metric_known metrics_known[] = {
    {"connects", METRIC_COUNTER, UNIT_NONE, "connections that were accepted"},
    {"connect_errors", METRIC_RATE, UNIT_NONE, "share of connection attempts that failed"},
    {"connect_failures", METRIC_COUNTER, UNIT_NONE, "connection attempts that failed, by reason"},
    {"connect_latency", METRIC_TREND, UNIT_TIME_US,
     "when an attempt was meant to begin until the server accepted it: raw and wait together"},
    {"connect_latency_raw", METRIC_TREND, UNIT_TIME_US, "begin of an attempt until the server accepted it"},
    {"connect_wait", METRIC_TREND, UNIT_TIME_US,
     "when an attempt was meant to begin until it did: pacing, the window, and how late the shard was"},
    {"dns_latency", METRIC_TREND, UNIT_TIME_US, "lookups of host names, those from the cache left out"},
    {"tcp_latency", METRIC_TREND, UNIT_TIME_US, "TCP handshake"},
    {"tls_latency", METRIC_TREND, UNIT_TIME_US, "TCP established until the TLS handshake was done"},
    {"connack_latency", METRIC_TREND, UNIT_TIME_US, "handshakes done until CONNACK (MQTT)"},
    {"tls_full", METRIC_COUNTER, UNIT_NONE, "TLS handshakes from the beginning"},
    {"tls_resumed", METRIC_COUNTER, UNIT_NONE, "TLS handshakes that resumed a session"},
    {"connect_rate_limit", METRIC_GAUGE, UNIT_NONE, "connects a second that pacing allows now"},
    {"credential_refreshes", METRIC_COUNTER, UNIT_NONE, "connections renewed before their credential expired"},
    {"redirects", METRIC_COUNTER, UNIT_NONE, "servers that sent a device to another (MQTT 5)"},
    {"reconnects", METRIC_COUNTER, UNIT_NONE, "connections that came back after a loss"},
    {"disconnects", METRIC_COUNTER, UNIT_NONE, "connections that were lost or closed, by reason"},
    {"devices_online", METRIC_GAUGE, UNIT_NONE, "devices that are connected now"},
    {"devices", METRIC_GAUGE, UNIT_NONE, "devices by group and state"},
    {"connections", METRIC_GAUGE, UNIT_NONE, "devices by group and state of their connection"},
    {"messages_sent", METRIC_COUNTER, UNIT_NONE, "messages handed to the network"},
    {"messages_resent", METRIC_COUNTER, UNIT_NONE, "messages sent again after a reconnect (QoS 1 and 2)"},
    {"messages_acked", METRIC_COUNTER, UNIT_NONE, "messages the server acknowledged (QoS 1 and 2)"},
    {"messages_received", METRIC_COUNTER, UNIT_NONE, "messages that arrived at devices"},
    {"messages_dropped", METRIC_COUNTER, UNIT_NONE, "messages given up, by reason"},
    {"sink_accepted", METRIC_COUNTER, UNIT_NONE, "records that a sink took"},
    {"sink_delivered", METRIC_COUNTER, UNIT_NONE, "records that are where a sink brings them, acknowledged"},
    {"sink_dropped", METRIC_COUNTER, UNIT_NONE, "records that a sink lost, by reason"},
    {"sink_spilled", METRIC_COUNTER, UNIT_NONE, "records that a sink put on disk"},
    {"sink_unspilled", METRIC_COUNTER, UNIT_NONE,
     "records that a sink took from its disk again: delivered, or dropped"},
    {"sink_skipped", METRIC_COUNTER, UNIT_NONE, "messages that a sink has no form for"},
    {"sink_refused", METRIC_COUNTER, UNIT_NONE, "messages that were not published because a sink was full"},
    {"sink_memory", METRIC_GAUGE, UNIT_NONE, "records that wait in a sink's memory"},
    {"sink_memory_bytes", METRIC_GAUGE, UNIT_BYTES, "memory of what waits in a sink"},
    {"acks_unknown", METRIC_COUNTER, UNIT_NONE, "acknowledgements that fit no message"},
    {"publish_errors", METRIC_RATE, UNIT_NONE, "share of publishes that were not accepted or not acknowledged"},
    {"publish_latency", METRIC_TREND, UNIT_TIME_US,
     "when a publish was meant to happen until its acknowledgement (QoS 1 and 2)"},
    {"publish_latency_raw", METRIC_TREND, UNIT_TIME_US, "an accepted publish until its acknowledgement (QoS 1 and 2)"},
    {"e2e_latency", METRIC_TREND, UNIT_TIME_US,
     "when a stamped message was meant to be sent until a device of the run received it, by the group that sent it"},
    {"e2e_early", METRIC_COUNTER, UNIT_NONE, "stamped messages that came before they were sent: clocks differ"},
    {"e2e_skew", METRIC_GAUGE, UNIT_NONE,
     "microseconds by which the earliest of them did: clocks differ by at least that"},
    {"stamps_failed", METRIC_COUNTER, UNIT_NONE, "messages that could not be given a stamp, by reason"},
    {"ledger_sent", METRIC_COUNTER, UNIT_NONE,
     "messages of the ledger's groups, as far as it knows that they were sent"},
    {"ledger_received", METRIC_COUNTER, UNIT_NONE, "of these, those that arrived"},
    {"ledger_lost", METRIC_COUNTER, UNIT_NONE,
     "of these, those that are missing now; fewer again when one comes after all"},
    {"ledger_unknown", METRIC_COUNTER, UNIT_NONE, "of these, those that went by while the ledger was not connected"},
    {"ledger_loss", METRIC_RATE, UNIT_NONE, "share of them that is lost"},
    {"ledger_duplicated", METRIC_COUNTER, UNIT_NONE, "messages that arrived once more"},
    {"ledger_reordered", METRIC_COUNTER, UNIT_NONE, "messages that arrived behind a later one of their device"},
    {"ledger_late", METRIC_COUNTER, UNIT_NONE, "messages that arrived later than the ledger's `late`"},
    {"requests", METRIC_COUNTER, UNIT_NONE, "requests sent (HTTP, CoAP, MQTT 5)"},
    {"request_errors", METRIC_RATE, UNIT_NONE, "share of requests without an answer, or with a status of 400 or more"},
    {"request_failures", METRIC_COUNTER, UNIT_NONE, "requests of HTTP that got no answer, by reason"},
    {"request_latency", METRIC_TREND, UNIT_TIME_US,
     "when a request was meant to be made until its answer, retries included"},
    {"request_latency_raw", METRIC_TREND, UNIT_TIME_US, "a request until its answer, retries included"},
    {"requests_served", METRIC_COUNTER, UNIT_NONE, "requests that devices answered"},
    {"responses", METRIC_COUNTER, UNIT_NONE, "answers to requests, by status: 2xx, 3xx, 4xx, 5xx"},
    {"responses_unknown", METRIC_COUNTER, UNIT_NONE, "answers that fit no request (MQTT 5)"},
    {"http_retries", METRIC_COUNTER, UNIT_NONE, "requests sent again"},
    {"http_connections", METRIC_GAUGE, UNIT_NONE, "connections to HTTP servers that are open now"},
    {"coap_retransmissions", METRIC_COUNTER, UNIT_NONE, "confirmable messages sent again"},
    {"coap_timeouts", METRIC_COUNTER, UNIT_NONE, "confirmable messages given up"},
    {"coap_resets", METRIC_COUNTER, UNIT_NONE, "resets that arrived"},
    {"coap_duplicates", METRIC_COUNTER, UNIT_NONE, "datagrams that came again"},
    {"coap_malformed", METRIC_COUNTER, UNIT_NONE, "messages that are no CoAP, or with options that must not be there"},
    {"share_members", METRIC_GAUGE, UNIT_NONE, "members of a shared subscription, by group and filter"},
    {"share_messages", METRIC_GAUGE, UNIT_NONE, "messages that its members were given"},
    {"share_messages_squared", METRIC_GAUGE, UNIT_NONE,
     "the sum of the squares of these, for Jain's index of fairness"},
    {"subscribe_latency", METRIC_TREND, UNIT_TIME_US, "SUBSCRIBE until SUBACK"},
    {"bytes_sent", METRIC_COUNTER, UNIT_BYTES, "bytes written to sockets"},
    {"bytes_received", METRIC_COUNTER, UNIT_BYTES, "bytes read from sockets"},
    {"samples_generated", METRIC_COUNTER, UNIT_NONE, "telemetry samples made by models"},
    {"tick_late", METRIC_RATE, UNIT_NONE, "share of ticks (model telemetry, dev:every) that came late"},
    {"loop_turn", METRIC_TREND, UNIT_TIME_US, "longest turn of a shard's event loop, every 250 ms"},
    {"loop_lag", METRIC_TREND, UNIT_TIME_US, "how late the latest timer fired, by shard, every 250 ms"},
    {"shard_cpu", METRIC_GAUGE, UNIT_NONE, "share of a core that a shard used in the last second, by shard"},
    {"send_queue", METRIC_GAUGE, UNIT_NONE, "messages of devices that are not written or not acknowledged, by group"},
    {"send_queue_max", METRIC_GAUGE, UNIT_NONE, "the most of them that one device has, by group"},
    {"samples_saturated", METRIC_COUNTER, UNIT_NONE, "samples of trends above an hour, counted as an hour"},
    {"samples_lost", METRIC_COUNTER, UNIT_NONE, "samples of trends that there was no memory for"},
    {"series_overflow", METRIC_COUNTER, UNIT_NONE,
     "sets of tags that found no room for a series of their own: overflow:true"},
    {"script_errors", METRIC_COUNTER, UNIT_NONE, "errors raised by behaviours and by the test"},
    {"slice_overruns", METRIC_COUNTER, UNIT_NONE, "Lua slices that ran over their budget"},
    {"tasks_killed", METRIC_COUNTER, UNIT_NONE, "Lua tasks that were ended by the guard"},
    {"commands_received", METRIC_COUNTER, UNIT_NONE, "commands that arrived at devices"},
    {"command_errors", METRIC_COUNTER, UNIT_NONE, "commands that were refused or failed, by reason"},
    {"commands_late", METRIC_COUNTER, UNIT_NONE, "answers of handlers after their command had timed out"},
    {"command_latency", METRIC_TREND, UNIT_TIME_US, "a command's arrival until its handler's answer"},
    {"dropouts", METRIC_COUNTER, UNIT_NONE, "devices that a dropout took off the network"},
    {"faults_active", METRIC_GAUGE, UNIT_NONE, "devices that an experiment acts on now, by experiment and group"},
    {"link_impaired", METRIC_GAUGE, UNIT_NONE, "devices whose network has a fault now"},
    {"link_held_bytes", METRIC_GAUGE, UNIT_BYTES, "bytes that faults hold back now"},
    {"link_dropped", METRIC_COUNTER, UNIT_NONE, "datagrams and segments that faults lost, by direction"},
    {"link_queue_full", METRIC_COUNTER, UNIT_NONE, "of these, for want of room in a bandwidth's queue"},
    {"link_duplicated", METRIC_COUNTER, UNIT_NONE, "datagrams that faults doubled"},
    {"link_reordered", METRIC_COUNTER, UNIT_NONE, "datagrams that overtook others"},
    {"link_corrupted", METRIC_COUNTER, UNIT_NONE, "datagrams and segments that faults damaged"},
    {"link_retransmitted", METRIC_COUNTER, UNIT_NONE, "segments sent again because of faults"},
    {"link_timeouts", METRIC_COUNTER, UNIT_NONE, "retransmission timeouts because of faults"},
    {"link_resets", METRIC_COUNTER, UNIT_NONE, "connections that faults reset"},
    {"link_dns_failed", METRIC_COUNTER, UNIT_NONE, "lookups that faults failed"},
    {"link_connects_refused", METRIC_COUNTER, UNIT_NONE, "connects that faults refused"},
    {"link_connects_timed_out", METRIC_COUNTER, UNIT_NONE, "connects that faults left without an answer"},
    {"link_tls_failed", METRIC_COUNTER, UNIT_NONE, "TLS handshakes that faults ended"},
    {"children", METRIC_GAUGE, UNIT_NONE, "children of gateways that run"},
    {"children_messages", METRIC_COUNTER, UNIT_NONE, "messages that children handed to their gateways"},
    {"gateway_batches", METRIC_COUNTER, UNIT_NONE, "batches of children's messages that gateways sent"},
    {"gateway_dropped", METRIC_COUNTER, UNIT_NONE, "messages of children that their gateway gave up"},
    {"messages_proxied", METRIC_COUNTER, UNIT_NONE, "messages of physical devices that proxies passed on"},
    {"proxy_latency", METRIC_TREND, UNIT_TIME_US,
     "a physical device's message arriving until its proxy has published it"},
    {"proxy_commands", METRIC_COUNTER, UNIT_NONE, "commands that proxies passed on to physical devices"},
    {"proxy_dropped", METRIC_COUNTER, UNIT_NONE,
     "messages of physical devices that came while their proxy was offline"},
    {"proxies_silent", METRIC_GAUGE, UNIT_NONE,
     "proxies whose physical device has said nothing for so long as its model says"},
    {"proxy_source_errors", METRIC_COUNTER, UNIT_NONE,
     "connections to physical devices' brokers that failed or were lost, by broker"},
    {"devices_by_source", METRIC_GAUGE, UNIT_NONE, "devices of groups with proxies, simulated and physical"},
    {"checks", METRIC_RATE, UNIT_NONE, "share of expectations that passed"},
    {NULL, METRIC_COUNTER, UNIT_NONE, NULL},
};

#define USER_METRICS_MAX 200u
#define AGGREGATES "avg, min, max, med, pNN, count, rate, value"

static const struct metric_known *known_find(const char *name)
{
    for (const struct metric_known *k = metrics_known; k->name; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

// --- scanner

struct scanner {
    const char *text; // trimmed copy
    const char *at;
};

static void skip_space(struct scanner *s)
{
    while (*s->at == ' ' || *s->at == '\t')
        s->at++;
}

// An error is one line, so the caret stands in front of the offending place instead of under it.
static int fail_at(const struct scanner *s, const char *place, struct error *err, const char *what, const char *valid)
{
    int n = (int)(place - s->text);
    return error_set(err, ERR_INVALID, "threshold \"%.*s^%s\": %s at the ^; valid here: %s", n, s->text, place, what,
                     valid);
}

static size_t word_length(const char *p)
{
    size_t n = 0;
    while (isalpha((unsigned char)p[n]))
        n++;
    return n;
}

static bool word_is(const char *p, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(p, word, n) == 0;
}

// [digits][.digits] at s->at → *out. Returns false and stays where it is when there is no number.
static bool scan_number(struct scanner *s, double *out)
{
    char digits[40];
    size_t n = strspn(s->at, "0123456789");
    if (n == 0)
        return false;
    if (s->at[n] == '.') {
        size_t fraction = strspn(s->at + n + 1, "0123456789");
        if (fraction == 0)
            return false;
        n += 1 + fraction;
    }
    if (n >= sizeof(digits))
        return false;
    memcpy(digits, s->at, n);
    digits[n] = '\0';
    if (double_parse(digits, out, NULL) != 0)
        return false;
    s->at += n;
    return true;
}

static int scan_agg(struct scanner *s, struct threshold *t, struct error *err)
{
    static const struct {
        const char *name;
        enum threshold_agg agg;
    } aggs[] = {{"avg", AGG_AVG},   {"min", AGG_MIN},     {"max", AGG_MAX},    {"med", AGG_MED},
                {"rate", AGG_RATE}, {"count", AGG_COUNT}, {"value", AGG_VALUE}};
    const char *start = s->at;
    if (*start == 'p' && isdigit((unsigned char)start[1])) {
        s->at++;
        if (!scan_number(s, &t->percentile) || t->percentile > 100)
            return fail_at(s, start, err, "no such percentile", "p0 to p100, such as p95 or p99.9");
        t->agg = AGG_PERCENTILE;
        return 0;
    }
    size_t n = word_length(start);
    for (size_t i = 0; i < sizeof(aggs) / sizeof(aggs[0]); i++)
        if (word_is(start, n, aggs[i].name)) {
            t->agg = aggs[i].agg;
            s->at += n;
            return 0;
        }
    return fail_at(s, start, err, n ? "unknown aggregate" : "expected an aggregate", AGGREGATES);
}

static int scan_op(struct scanner *s, struct threshold *t, struct error *err)
{
    static const struct {
        char text[3];
        enum threshold_op op;
    } ops[] = {{"<=", OP_LE}, {">=", OP_GE}, {"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {">", OP_GT}}; // longest first
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (strncmp(s->at, ops[i].text, strlen(ops[i].text)) == 0) {
            t->op = ops[i].op;
            s->at += strlen(ops[i].text);
            return 0;
        }
    return fail_at(s, s->at, err, "expected a comparison", "< <= > >= == !=");
}

struct unit {
    const char *name;
    double factor;
    enum metric_unit unit;
};
static const struct unit time_units[] = {{"us", 1, UNIT_TIME_US},        {"\xc2\xb5s", 1, UNIT_TIME_US},
                                         {"ms", 1e3, UNIT_TIME_US},      {"s", 1e6, UNIT_TIME_US},
                                         {"m", 60e6, UNIT_TIME_US},      {"h", 3600e6, UNIT_TIME_US},
                                         {"KB", 1024, UNIT_BYTES},       {"MB", 1048576, UNIT_BYTES},
                                         {"GB", 1073741824, UNIT_BYTES}, {NULL, 0, UNIT_NONE}};
static const struct unit count_units[] = {
    {"k", 1e3, UNIT_NONE},    {"K", 1e3, UNIT_NONE},       {"m", 1e6, UNIT_NONE},          {"M", 1e6, UNIT_NONE},
    {"KB", 1024, UNIT_BYTES}, {"MB", 1048576, UNIT_BYTES}, {"GB", 1073741824, UNIT_BYTES}, {NULL, 0, UNIT_NONE}};

static bool agg_has_time(enum threshold_agg agg)
{
    return agg == AGG_AVG || agg == AGG_MIN || agg == AGG_MAX || agg == AGG_MED || agg == AGG_PERCENTILE;
}

static int scan_unit(struct scanner *s, struct threshold *t, struct error *err)
{
    const char *start = s->at;
    if (*start == '\0')
        return 0;
    if (*start == '%' && t->agg == AGG_RATE) {
        t->percent = true;
        t->limit /= 100;
        s->at++;
        return 0;
    }
    size_t n = strcspn(start, " \t");
    for (const struct unit *u = agg_has_time(t->agg) ? time_units : count_units; u->name; u++)
        if (word_is(start, n, u->name)) {
            t->limit *= u->factor;
            t->unit = u->unit;
            s->at += n;
            return 0;
        }
    const char *valid = agg_has_time(t->agg) ? "us ms s m h, KB MB GB, or no unit"
                        : t->agg == AGG_RATE ? "%, k m, KB MB GB, or no unit"
                                             : "k m, KB MB GB, or no unit";
    return fail_at(s, start, err, "unknown unit", valid);
}

// Behind "baseline": nothing, + or - a value or a percentage of it, * a factor.
static int scan_baseline(struct scanner *s, struct threshold *t, struct error *err)
{
    static const char valid[] = "+ or - and a value or a percentage, such as + 10% or - 5ms, or * and a factor";
    t->base = BASE_TIMES;
    t->delta = 1;
    skip_space(s);
    const char *sign = s->at;
    if (*sign == '\0')
        return 0;
    if (!strchr("+-*", *sign))
        return fail_at(s, sign, err, "unexpected text", valid);
    s->at++;
    skip_space(s);
    const char *start = s->at;
    if (!scan_number(s, &t->limit))
        return fail_at(s, start, err, "expected a number", "a decimal number, such as 10 or 1.1");
    skip_space(s);
    if (*sign == '*') {
        if (t->limit == 0)
            return fail_at(s, start, err, "a factor of 0", "a factor above 0, such as 1.1");
    } else if (*s->at == '%') {
        s->at++;
        t->base = BASE_SHARE;
        t->limit /= 100;
    } else {
        t->base = BASE_PLUS;
        if (scan_unit(s, t, err) != 0)
            return -1;
    }
    t->delta = *sign == '-' ? -t->limit : t->limit;
    t->limit = 0;
    return 0;
}

static int scan_limit(struct scanner *s, struct threshold *t, struct error *err)
{
    static const char word[] = "baseline";
    if (strncmp(s->at, word, sizeof(word) - 1) == 0) {
        s->at += sizeof(word) - 1;
        return scan_baseline(s, t, err);
    }
    bool negative = *s->at == '-';
    s->at += negative;
    if (!scan_number(s, &t->limit))
        return fail_at(s, s->at - negative, err, "expected a number",
                       "a decimal number, such as 200 or 0.5, or baseline, such as baseline + 10%");
    if (negative)
        t->limit = -t->limit;
    skip_space(s);
    return scan_unit(s, t, err);
}

static int scan(struct scanner *s, struct threshold *t, struct error *err)
{
    if (scan_agg(s, t, err) != 0)
        return -1;
    skip_space(s);
    if (scan_op(s, t, err) != 0)
        return -1;
    skip_space(s);
    if (scan_limit(s, t, err) != 0)
        return -1;
    skip_space(s);
    if (*s->at != '\0')
        return fail_at(s, s->at, err, "unexpected text",
                       "nothing: one threshold is `aggregate comparison value[unit]`");
    return 0;
}

int threshold_parse(const char *selector, const char *expr, struct threshold *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (metric_selector_parse(selector, &out->selector, err) != 0)
        return error_prefix(err, "threshold on \"%s\"", selector);
    expr += strspn(expr, " \t");
    size_t n = strlen(expr);
    while (n > 0 && (expr[n - 1] == ' ' || expr[n - 1] == '\t'))
        n--;
    if (n >= sizeof(out->text))
        return error_set(err, ERR_INVALID, "threshold on \"%s\": longer than %zu characters", selector,
                         sizeof(out->text) - 1);
    memcpy(out->text, expr, n);
    out->text[n] = '\0';
    struct scanner s = {.text = out->text, .at = out->text};
    if (scan(&s, out, err) != 0)
        return error_prefix(err, "%s", selector);
    return 0;
}

// --- checks

static const char *type_name(enum metric_type type)
{
    static const char *const names[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_RATE] = "rate", [METRIC_TREND] = "trend"};
    return names[type];
}

static const char *aggs_of(enum metric_type type)
{
    static const char *const aggs[] = {[METRIC_COUNTER] = "count, rate",
                                       [METRIC_GAUGE] = "value",
                                       [METRIC_RATE] = "rate, count",
                                       [METRIC_TREND] = "avg, min, max, med, pNN, count"};
    return aggs[type];
}

static bool agg_fits(enum threshold_agg agg, enum metric_type type)
{
    switch (type) {
    case METRIC_COUNTER:
    case METRIC_RATE:
        return agg == AGG_COUNT || agg == AGG_RATE;
    case METRIC_GAUGE:
        return agg == AGG_VALUE;
    case METRIC_TREND:
        return agg == AGG_COUNT || agg_has_time(agg);
    }
    return false;
}

// The unit a limit is in, given the aggregate: a count of a trend of times is a plain number.
static enum metric_unit unit_wanted(const struct threshold *t, enum metric_type type, enum metric_unit unit)
{
    if (type == METRIC_RATE || (type == METRIC_TREND && t->agg == AGG_COUNT))
        return UNIT_NONE;
    return unit;
}

static int fits_metric(const struct threshold *t, enum metric_type type, enum metric_unit unit, struct error *err)
{
    const char *name = t->selector.name;
    if (!agg_fits(t->agg, type))
        return error_set(err, ERR_INVALID, "threshold \"%s\": %s is a %s; valid for it: %s", t->text, name,
                         type_name(type), aggs_of(type));
    if (t->percent && type != METRIC_RATE)
        return error_set(err, ERR_INVALID, "threshold \"%s\": %% is for rates, and %s is a %s", t->text, name,
                         type_name(type));
    enum metric_unit wanted = unit_wanted(t, type, unit);
    if (t->base == BASE_SHARE || t->base == BASE_TIMES)
        return 0; // no value of its own
    if (wanted == UNIT_TIME_US && t->unit != UNIT_TIME_US && (t->base ? t->delta != 0 : t->limit != 0))
        return error_set(err, ERR_INVALID, "threshold \"%s\": %s is a time; write the limit with a unit: us ms s m h",
                         t->text, name);
    if (t->unit == UNIT_TIME_US && wanted != UNIT_TIME_US)
        return error_set(err, ERR_INVALID, "threshold \"%s\": %s is not a time; write the limit without a time unit",
                         t->text, name);
    if (t->unit == UNIT_BYTES && wanted != UNIT_BYTES)
        return error_set(err, ERR_INVALID, "threshold \"%s\": %s is not in bytes; write the limit without KB, MB or GB",
                         t->text, name);
    if (type == METRIC_RATE && t->agg == AGG_RATE && !t->base && (t->limit < 0 || t->limit > 1))
        return error_set(err, ERR_INVALID, "threshold \"%s\": %s is a share between 0 and 1 (or 0%% and 100%%)",
                         t->text, name);
    return 0;
}

int threshold_check(const struct threshold *t, struct error *err)
{
    const char *name = t->selector.name;
    if (strncmp(name, "user_", 5) == 0)
        return 0;
    const struct metric_known *known = known_find(name);
    if (known)
        return fits_metric(t, known->type, known->unit, err);
    const char *names[sizeof(metrics_known) / sizeof(metrics_known[0])];
    size_t n = 0;
    for (const struct metric_known *k = metrics_known; k->name; k++)
        names[n++] = k->name;
    names[n] = NULL;
    const char *near = suggest(name, names);
    if (near)
        return error_set(err, ERR_INVALID, "threshold on \"%s\": there is no such metric; did you mean \"%s\"?", name,
                         near);
    return error_set(err, ERR_INVALID,
                     "threshold on \"%s\": there is no such metric; see docs/reference/metrics.md (your own begin with "
                     "\"user_\")",
                     name);
}

// The number of a text in a NULL-terminated list; 0 for what is not there: a plan is not made by authors.
static unsigned number_of(const json_t *v, const char *const *names)
{
    for (unsigned i = 0; json_is_string(v) && names[i]; i++)
        if (strcmp(json_string_value(v), names[i]) == 0)
            return i;
    return 0;
}

int threshold_check_user(const struct threshold *t, const json_t *declared, struct error *err)
{
    static const char *const types[] = {"counter", "gauge", "rate", "trend", NULL}; // as enum metric_type
    static const char *const units[] = {"", "time", "bytes", NULL};                 // as enum metric_unit
    const char *names[USER_METRICS_MAX + 1], *name = t->selector.name;
    size_t n = 0, i;
    const json_t *one;
    if (strncmp(name, "user_", 5) != 0)
        return 0;
    json_array_foreach(declared, i, one)
    {
        const char *own = json_string_value(json_object_get(one, "name"));
        if (own && strcmp(own, name) == 0)
            return fits_metric(t, (enum metric_type)number_of(json_object_get(one, "type"), types),
                               (enum metric_unit)number_of(json_object_get(one, "unit"), units), err);
        if (own && n < USER_METRICS_MAX)
            names[n++] = own;
    }
    names[n] = NULL;
    const char *near = n ? suggest(name, names) : NULL;
    if (near)
        return error_set(err, ERR_INVALID,
                         "threshold on \"%s\": the scenario declares no such metric; did you mean \"%s\"?", name, near);
    return 0;
}

// --- evaluation

static void format_percent(double ratio, char *dst, size_t size)
{
    double percent = ratio * 100, magnitude = fabs(percent);
    if (magnitude != 0 && magnitude < 0.01)
        snprintf(dst, size, "%.2g %%", percent);
    else
        snprintf(dst, size, "%.*f %%", magnitude < 10 ? 2 : magnitude < 100 ? 1 : 0, percent);
}

static void format_count(double v, char *dst, size_t size)
{
    if (v >= 0 && v < 0x1p53 && v == floor(v))
        count_format((uint64_t)v, dst, size);
    else if (v >= 1000 && v < 0x1p53)
        count_format((uint64_t)llround(v), dst, size);
    else
        snprintf(dst, size, "%.4g", v);
}

// A number of this threshold in words: "21.4 ms", "0.31 %", "48,812 /s".
static void format_value(const struct threshold *t, enum metric_type type, enum metric_unit unit, double v, char *dst,
                         size_t size)
{
    char number[40];
    bool per_second = type == METRIC_COUNTER && t->agg == AGG_RATE;
    if (type == METRIC_RATE && t->agg == AGG_RATE) {
        format_percent(v, number, sizeof(number));
    } else {
        enum metric_unit in = unit_wanted(t, type, unit);
        if (in == UNIT_TIME_US && v >= 0 && v < 9e15)
            duration_format(llround(v), number, sizeof(number));
        else if (in == UNIT_BYTES && v >= 0)
            size_format(v, number, sizeof(number));
        else
            format_count(v, number, sizeof(number));
    }
    snprintf(dst, size, "%s%s", number, per_second ? "/s" : "");
}

static bool holds(enum threshold_op op, double actual, double limit)
{
    switch (op) {
    case OP_LT:
        return actual < limit;
    case OP_LE:
        return actual <= limit;
    case OP_GT:
        return actual > limit;
    case OP_GE:
        return actual >= limit;
    case OP_EQ:
        return actual == limit;
    case OP_NE:
        return actual != limit;
    }
    return false;
}

// The aggregate's value; false: there is no data for it.
static bool aggregate(const struct threshold *t, const struct metric *s, int64_t measured_us, double *out)
{
    switch (s->type) {
    case METRIC_COUNTER:
        if (t->agg == AGG_RATE && measured_us <= 0)
            return false;
        *out = t->agg == AGG_RATE ? (double)s->count / ((double)measured_us / 1e6) : (double)s->count;
        return true;
    case METRIC_RATE:
        if (t->agg == AGG_RATE && s->count == 0)
            return false;
        *out = t->agg == AGG_RATE ? (double)s->hits / (double)s->count : (double)s->count;
        return true;
    case METRIC_GAUGE:
        *out = s->value;
        return isfinite(s->value);
    case METRIC_TREND:
        break;
    }
    if (t->agg == AGG_COUNT) {
        *out = (double)hist_count(s->hist);
        return true;
    }
    if (hist_count(s->hist) == 0)
        return false;
    switch (t->agg) {
    case AGG_AVG:
        *out = hist_mean(s->hist);
        break;
    case AGG_MIN:
        *out = (double)hist_min(s->hist);
        break;
    case AGG_MAX:
        *out = (double)hist_max(s->hist);
        break;
    default:
        *out = (double)hist_percentile(s->hist, t->agg == AGG_MED ? 50 : t->percentile);
    }
    return true;
}

static const char *op_text(enum threshold_op op)
{
    static const char *const texts[] = {
        [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">=", [OP_EQ] = "==", [OP_NE] = "!="};
    return texts[op];
}

// What is known of a series that no device has touched: its type and unit, from the table or from the limit's own form.
static void absent_series(const struct threshold *t, const struct metric_known *known, struct metric *series)
{
    series->type = known                  ? known->type
                   : agg_has_time(t->agg) ? METRIC_TREND
                   : t->agg == AGG_VALUE  ? METRIC_GAUGE
                   : t->percent           ? METRIC_RATE
                                          : METRIC_COUNTER;
    series->unit = known ? known->unit : t->unit;
}

static void put_limit(const struct threshold *t, enum metric_type type, enum metric_unit unit,
                      struct threshold_result *out)
{
    char limit[48], baseline[48];
    const char *change = t->base ? strstr(t->text, "baseline") + strlen("baseline") : "";
    if (t->base && !t->resolved) {
        snprintf(out->limit_text, sizeof(out->limit_text), "%s baseline%.40s", op_text(t->op), change);
        return;
    }
    format_value(t, type, unit, t->limit, limit, sizeof(limit));
    if (t->base) {
        format_value(t, type, unit, t->baseline, baseline, sizeof(baseline));
        snprintf(out->limit_text, sizeof(out->limit_text), "%s %.24s (baseline %.24s%.20s)", op_text(t->op), limit,
                 baseline, change);
    } else {
        snprintf(out->limit_text, sizeof(out->limit_text), "%s %s", op_text(t->op), limit);
    }
}

static void put_no_data(const struct threshold *t, struct threshold_result *out)
{
    out->state = THRESHOLD_NO_DATA;
    out->failed = !t->no_data_passes;
    out->actual = 0;
    snprintf(out->actual_text, sizeof(out->actual_text), "no data");
}

// What a result is before it is judged; how long it has been broken is kept.
static void begin_result(struct threshold_result *out)
{
    int64_t first = out->broken_us, since = out->broken_since_us;
    *out = (struct threshold_result){.broken_us = first, .broken_since_us = since};
}

void threshold_no_data(const struct threshold *t, struct threshold_result *out)
{
    struct metric series = {0};
    *out = (struct threshold_result){.broken_us = -1, .broken_since_us = -1};
    absent_series(t, known_find(t->selector.name), &series);
    put_limit(t, series.type, series.unit, out);
    put_no_data(t, out);
}

void threshold_resolve(struct threshold *t, double baseline, enum metric_unit unit)
{
    if (!t->base)
        return;
    t->resolved = true;
    t->baseline = baseline;
    if (t->agg != AGG_COUNT && t->agg != AGG_RATE)
        t->unit = unit;
    t->limit = t->base == BASE_PLUS    ? baseline + t->delta
               : t->base == BASE_SHARE ? baseline + fabs(baseline) * t->delta
                                       : baseline * t->delta;
}

bool threshold_metric(const char *name, enum metric_type *type, enum metric_unit *unit)
{
    const struct metric_known *known = known_find(name);
    if (!known)
        return false;
    *type = known->type;
    *unit = known->unit;
    return true;
}

void threshold_text(const struct threshold *t, enum metric_type type, enum metric_unit unit, double v, char *dst,
                    size_t size)
{
    format_value(t, type, unit, v, dst, size);
}

bool threshold_pending(const struct threshold *t)
{
    bool figure = t->agg == AGG_COUNT || t->agg == AGG_RATE || t->agg == AGG_VALUE;
    return figure && (t->op == OP_GT || t->op == OP_GE || (t->op == OP_EQ && t->agg != AGG_RATE));
}

// "group:a,stage:peak" → "group:a": the stage is a time of the run, no tag of a series.
static void drop_stage(struct metric_selector *s)
{
    static const char key[] = "stage:";
    for (char *at = s->tags; *at;) {
        size_t n = strcspn(at, ",");
        if (strncmp(at, key, sizeof(key) - 1) != 0) {
            at += n + (at[n] == ',');
            continue;
        }
        if (at[n] == ',')
            memmove(at, at + n + 1, strlen(at + n + 1) + 1);
        else
            at[at > s->tags ? -1 : 0] = '\0';
        return;
    }
}

int threshold_evaluate(const struct threshold *t, const struct metrics *m, int64_t measured_us,
                       struct threshold_result *out, struct error *err)
{
    begin_result(out);
    struct metric series = {0};
    struct metric_selector where = t->selector;
    if (*t->stage)
        drop_stage(&where);
    const struct metric_known *known = known_find(t->selector.name);
    int found = metrics_select(m, &where, &series); // without a histogram: only the type, mostly that is enough
    if (found > 0 && series.type == METRIC_TREND) {
        series = (struct metric){.hist = hist_new()};
        found = series.hist ? metrics_select(m, &where, &series) : -1;
    }
    if (found < 0) {
        hist_delete(series.hist);
        return error_set(err, ERR_NO_MEMORY, "threshold on \"%s\": no memory", t->selector.name);
    }
    if (found == 0)
        absent_series(t, known, &series);
    if (t->base && !t->resolved)
        error_set(err, ERR_INVALID, "threshold \"%s\" on %s: there is no baseline: give --baseline SUMMARY.json",
                  t->text, t->selector.name);
    if ((t->base && !t->resolved) || fits_metric(t, series.type, series.unit, err) != 0) {
        hist_delete(series.hist);
        return -1;
    }
    // Series of counters come into being with their first event: one of the product's that is not there stands at zero.
    bool data =
        (found > 0 || (known && known->type == METRIC_COUNTER)) && aggregate(t, &series, measured_us, &out->actual);
    hist_delete(series.hist);

    put_limit(t, series.type, series.unit, out);
    if (!data) {
        put_no_data(t, out);
        return 0;
    }
    format_value(t, series.type, series.unit, out->actual, out->actual_text, sizeof(out->actual_text));
    out->state = holds(t->op, out->actual, t->limit) ? THRESHOLD_PASS : THRESHOLD_FAIL;
    out->failed = out->state == THRESHOLD_FAIL;
    return 0;
}
