// Reading faults. Every type has a parser of its own; what stands outside of `up` and `down` is read once for each
// direction and then overridden there.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/option.h"
#include "core/units.h"
#include "link/fault_spec_impl.h"

#define LABEL_MAX 128
#define HOUR_US INT64_C(3600000000)
#define YEAR_US (INT64_C(366) * 86400 * 1000000)
#define WINDOW_MIN_US 1000
#define QUEUE_MAX (1u << 30)
#define CORRELATION_MAX 0.999 // 1 would repeat the first draw for ever
#define HALF_TURN 3.141592653589793

static const char *const distribution_names[] = {"normal", "uniform", "pareto", NULL};
static const char *const full_names[] = {"drop", "delay", NULL};

// "LABEL.KEY" of a member that may be missing: then NULL.
static const json_t *member(const char *label, const json_t *v, const char *key, char where[LABEL_MAX])
{
    snprintf(where, LABEL_MAX, "%.90s.%.20s", label, key);
    return json_object_get(v, key);
}

static int required(const char *where, const json_t *v, struct error *err)
{
    return v ? 0 : error_set(err, ERR_INVALID, "%s is missing", where);
}

static int optional_share(const char *label, const json_t *v, const char *key, double max, double *out,
                          struct error *err)
{
    char where[LABEL_MAX];
    const json_t *m = member(label, v, key, where);
    return m ? option_share(where, m, 0, max, out, err) : 0;
}

static int optional_duration(const char *label, const json_t *v, const char *key, int64_t min, int64_t max,
                             int64_t *out, struct error *err)
{
    char where[LABEL_MAX];
    const json_t *m = member(label, v, key, where);
    return m ? option_duration(where, m, min, max, out, err) : 0;
}

static int optional_size(const char *label, const json_t *v, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                         struct error *err)
{
    char where[LABEL_MAX];
    const json_t *m = member(label, v, key, where);
    return m ? option_size(where, m, min, max, out, err) : 0;
}

static int optional_vary(const char *label, const json_t *v, const char *key, enum vary_unit unit, struct vary *out,
                         struct error *err)
{
    char where[LABEL_MAX];
    const json_t *m = member(label, v, key, where);
    return m ? vary_parse(where, m, unit, out, err) : 0;
}

static int required_vary(const char *label, const json_t *v, const char *key, enum vary_unit unit, struct vary *out,
                         struct error *err)
{
    char where[LABEL_MAX];
    const json_t *m = member(label, v, key, where);
    return required(where, m, err) || vary_parse(where, m, unit, out, err) ? -1 : 0;
}

// A fault that is there or not: true, false, or an object with more about it. 0 none, 1 plain, 2 object, -1.
static int plain_or_object(const char *label, const json_t *v, const char *expected, const char *const *keys,
                           struct error *err)
{
    if (json_is_boolean(v))
        return json_is_true(v);
    return option_object(label, v, expected, keys, err) ? -1 : 2;
}

// --- what happens to packets: read into a side

typedef int side_fn(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err);

// The correlation that two standard normals must have so that what is made of them (fault.c) has this one.
static double rho_of(enum fault_distribution distribution, double correlation)
{
    // Of two Paretos of shape 3 made of normals with rho = 0, 0.1 … 1: the integral of their product.
    static const double pareto[] = {0, 0.0491, 0.1048, 0.1683, 0.2409, 0.3241, 0.4201, 0.5316, 0.6619, 0.8159, 1};
    unsigned i = 0;
    switch (distribution) {
    case FAULT_UNIFORM: // of two uniforms it is 6/pi asin(rho/2)
        return 2 * sin(HALF_TURN * correlation / 6);
    case FAULT_PARETO:
        while (i < 9 && pareto[i + 1] < correlation)
            i++;
        return (i + (correlation - pareto[i]) / (pareto[i + 1] - pareto[i])) / 10;
    case FAULT_NORMAL:
        break;
    }
    return correlation;
}

static int parse_latency(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    static const char *const keys[] = {"value", "jitter", "distribution", "correlation", NULL};
    struct fault_latency *l = &side->latency;
    char where[LABEL_MAX];
    *l = (struct fault_latency){.set = true};
    if (!json_is_object(v) || vary_is_shape(v))
        return vary_parse(label, v, VARY_DURATION, &l->value, err);
    if (option_object(label, v, "", keys, err) || required_vary(label, v, "value", VARY_DURATION, &l->value, err) ||
        optional_vary(label, v, "jitter", VARY_DURATION, &l->jitter, err) ||
        optional_share(label, v, "correlation", CORRELATION_MAX, &l->correlation, err))
        return -1;
    const json_t *distribution = member(label, v, "distribution", where);
    int i = distribution ? option_choice(where, distribution, distribution_names, err) : FAULT_NORMAL;
    if (i < 0)
        return -1;
    l->distribution = (uint8_t)i;
    l->rho = rho_of((enum fault_distribution)i, l->correlation);
    return 0;
}

static int parse_rtt(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    side->latency = (struct fault_latency){.set = true};
    if (vary_parse(label, v, VARY_DURATION, &side->latency.value, err))
        return -1;
    vary_halve(&side->latency.value);
    return 0;
}

static int parse_event(const char *label, const json_t *v, const char *const *keys, struct fault_event *e,
                       struct error *err)
{
    *e = (struct fault_event){.set = true, .gap = 1};
    if (!json_is_object(v) || vary_is_shape(v))
        return vary_parse(label, v, VARY_SHARE, &e->rate, err);
    return option_object(label, v, "", keys, err) || required_vary(label, v, "rate", VARY_SHARE, &e->rate, err) ||
                   optional_share(label, v, "correlation", CORRELATION_MAX, &e->correlation, err)
               ? -1
               : 0;
}

static const char *const event_keys[] = {"rate", "correlation", NULL};

static int parse_burst(const char *label, const json_t *v, struct fault_burst *b, struct error *err)
{
    static const char *const keys[] = {"p", "r", "good", "bad", NULL};
    char p[LABEL_MAX], r[LABEL_MAX];
    *b = (struct fault_burst){.set = true, .bad = 1};
    if (option_object(label, v, "{p, r, good, bad}", keys, err))
        return -1;
    const json_t *enter = member(label, v, "p", p), *leave = member(label, v, "r", r);
    if (required(p, enter, err) || option_share(p, enter, 0, 1, &b->p, err) || required(r, leave, err) ||
        option_share(r, leave, 0, 1, &b->r, err) || optional_share(label, v, "good", 1, &b->good, err) ||
        optional_share(label, v, "bad", 1, &b->bad, err))
        return -1;
    if (b->r <= 0)
        return error_set(err, ERR_INVALID, "%s must be above 0: a burst would never end (mean burst length is 1/r)", r);
    return 0;
}

static int parse_loss(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    static const char *const keys[] = {"rate", "correlation", "burst", NULL};
    const json_t *burst = json_object_get(v, "burst");
    char where[LABEL_MAX];
    side->burst.set = side->loss.set = false;
    if (!burst && json_is_object(v) && !vary_is_shape(v) && !json_object_get(v, "rate")) {
        if (option_object(label, v, "", keys, err) == 0)
            error_set(err, ERR_INVALID, "%s: expected either \"rate\" or \"burst\"", label);
        return -1;
    }
    if (!burst)
        return parse_event(label, v, keys, &side->loss, err);
    if (option_object(label, v, "", keys, err))
        return -1;
    if (json_object_size(v) > 1)
        return error_set(err, ERR_INVALID, "%s: \"burst\" stands alone: it says rate and correlation by itself", label);
    snprintf(where, sizeof where, "%.90s.burst", label);
    return parse_burst(where, burst, &side->burst, err);
}

static int parse_duplicate(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    return parse_event(label, v, event_keys, &side->duplicate, err);
}

static int parse_corrupt(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    return parse_event(label, v, event_keys, &side->corrupt, err);
}

static int parse_reorder(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    static const char *const keys[] = {"rate", "correlation", "gap", NULL};
    char where[LABEL_MAX];
    uint32_t gap = 1;
    if (parse_event(label, v, keys, &side->reorder, err))
        return -1;
    const json_t *m = member(label, v, "gap", where);
    if (m && option_count(where, m, 1, 65535, &gap, err))
        return -1;
    side->reorder.gap = (uint16_t)gap;
    return 0;
}

static int parse_bandwidth(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    static const char *const keys[] = {"rate", "burst", "queue", "queueTime", "full", NULL};
    struct fault_rate *b = &side->bandwidth;
    char where[LABEL_MAX];
    *b = (struct fault_rate){.set = true, .burst_bytes = FAULT_BURST_DEFAULT, .queue_bytes = FAULT_QUEUE_DEFAULT};
    if (!json_is_object(v) || vary_is_shape(v))
        return vary_parse(label, v, VARY_RATE, &b->rate, err);
    if (option_object(label, v, "", keys, err) || required_vary(label, v, "rate", VARY_RATE, &b->rate, err) ||
        optional_size(label, v, "burst", 1, QUEUE_MAX, &b->burst_bytes, err) ||
        optional_size(label, v, "queue", 64, QUEUE_MAX, &b->queue_bytes, err) ||
        optional_duration(label, v, "queueTime", WINDOW_MIN_US, HOUR_US, &b->queue_us, err))
        return -1;
    if (b->queue_us && json_object_get(v, "queue"))
        return error_set(err, ERR_INVALID, "%s: give either \"queue\" (bytes) or \"queueTime\"", label);
    b->queue_bytes = b->queue_us ? 0 : b->queue_bytes;
    const json_t *full = member(label, v, "full", where);
    int i = full ? option_choice(where, full, full_names, err) : -2;
    if (i == -1)
        return -1;
    b->full = (uint8_t)(i < 0 ? FAULT_FULL_BY_KIND : i == 0 ? FAULT_FULL_DROP : FAULT_FULL_DELAY);
    return 0;
}

static int parse_mtu(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    return option_count(label, v, 68, 65535, &side->mtu, err);
}

static int parse_trace(const char *label, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    struct trace *t = trace_parse(label, v, err);
    if (!t)
        return -1;
    trace_release(side->trace);
    side->trace = t;
    return 0;
}

static const struct {
    const char *key;
    side_fn *parse;
} side_types[] = {{"latency", parse_latency}, {"loss", parse_loss},       {"duplicate", parse_duplicate},
                  {"reorder", parse_reorder}, {"corrupt", parse_corrupt}, {"bandwidth", parse_bandwidth},
                  {"mtu", parse_mtu},         {"trace", parse_trace}};
#define SIDE_TYPES (sizeof side_types / sizeof side_types[0])

static int parse_side(const char *prefix, const json_t *v, struct fault_spec_side *side, struct error *err)
{
    char where[LABEL_MAX];
    for (size_t i = 0; i < SIDE_TYPES; i++) {
        const json_t *m = json_object_get(v, side_types[i].key);
        snprintf(where, sizeof where, "%.8s%.20s", prefix, side_types[i].key);
        if (m && side_types[i].parse(where, m, side, err))
            return -1;
    }
    return 0;
}

static int parse_sides(const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const names[] = {"up", "down"};
    const char *keys[SIDE_TYPES + 1] = {NULL};
    struct fault_spec_side both = {.trace = NULL};
    const json_t *rtt = json_object_get(v, "rtt");
    if (rtt && json_object_get(v, "latency"))
        return error_set(err, ERR_INVALID, "give either \"latency\" (each way) or \"rtt\" (both ways together)");
    int rc = rtt ? parse_rtt("rtt", rtt, &both, err) : 0;
    if (rc == 0)
        rc = parse_side("", v, &both, err);
    for (size_t i = 0; i < SIDE_TYPES; i++)
        keys[i] = side_types[i].key;
    for (int d = 0; rc == 0 && d < 2; d++) {
        const json_t *side = json_object_get(v, names[d]);
        char prefix[8];
        snprintf(prefix, sizeof prefix, "%s.", names[d]);
        s->side[d] = both;
        s->side[d].trace = both.trace ? trace_ref(both.trace) : NULL;
        if (side)
            rc = option_object(names[d], side, "what one direction suffers", keys, err) ||
                         parse_side(prefix, side, &s->side[d], err)
                     ? -1
                     : 0;
    }
    trace_release(both.trace);
    return rc;
}

// --- what happens to the device and its connections

static int parse_allow(const char *label, const json_t *v, struct fault_partition *p, struct error *err)
{
    static const char *const keys[] = {"hosts", "ports", "protocols", NULL};
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    char where[LABEL_MAX];
    if (!n || n > MATCH_ITEMS_MAX)
        return error_set(err, ERR_INVALID, "%s: expected 1 to %u entries", label, MATCH_ITEMS_MAX);
    p->allow = calloc(n, sizeof(struct fault_match *));
    if (!p->allow)
        return error_set(err, ERR_NO_MEMORY, "no memory for a partition");
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_is_array(v) ? json_array_get(v, i) : v;
        snprintf(where, sizeof where, json_is_array(v) ? "%.90s[%zu]" : "%.90s", label, i);
        if (option_object(where, entry, "{hosts, ports, protocols}", keys, err) ||
            match_parse(where, entry, &p->allow[i], err))
            return -1;
        if (!p->allow[i])
            return error_set(err, ERR_INVALID, "%s: expected at least one of hosts, ports, protocols", where);
        p->n_allow++;
    }
    return 0;
}

static int parse_partition(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"direction", "hosts", "ports", "protocols", "allow", NULL};
    static const char *const directions[] = {"both", "up", "down", NULL};
    struct fault_partition *p = &s->partition;
    char where[LABEL_MAX];
    int direction = 0;
    int form = plain_or_object(label, v, "true or {direction, hosts, ports, protocols, allow}", keys, err);
    if (form < 0)
        return -1;
    p->set = form > 0;
    const json_t *m = member(label, v, "direction", where);
    if (m && (direction = option_choice(where, m, directions, err)) < 0)
        return -1;
    p->cuts[PATH_UP] = direction != 2;
    p->cuts[PATH_DOWN] = direction != 1;
    if (match_parse(label, v, &p->only, err))
        return -1;
    m = member(label, v, "allow", where);
    return m ? parse_allow(where, m, p, err) : 0;
}

static int parse_half_open(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    return option_bool(label, v, &s->half_open, err);
}

static int parse_reset(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"every", "jitter", NULL};
    char where[LABEL_MAX];
    int form = plain_or_object(label, v, "true or {every, jitter}", keys, err);
    if (form < 0)
        return -1;
    s->reset = form > 0;
    const json_t *every = member(label, v, "every", where);
    if (form < 2)
        return 0;
    return required(where, every, err) ||
                   option_duration(where, every, WINDOW_MIN_US, YEAR_US, &s->reset_every_us, err) ||
                   optional_duration(label, v, "jitter", 0, YEAR_US, &s->reset_jitter_us, err)
               ? -1
               : 0;
}

static int parse_slow_close(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    return option_duration(label, v, 0, HOUR_US, &s->slow_close_us, err);
}

static int parse_dns(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"fail", "delay", NULL};
    s->dns.set = true;
    s->dns.delay.unit = VARY_DURATION;
    return option_object(label, v, "{fail, delay}", keys, err) ||
                   optional_share(label, v, "fail", 1, &s->dns.fail, err) ||
                   optional_vary(label, v, "delay", VARY_DURATION, &s->dns.delay, err)
               ? -1
           : json_object_size(v) ? 0
                                 : error_set(err, ERR_INVALID, "%s: expected at least one of fail, delay", label);
}

static int parse_connect(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"refuse", "timeout", "delay", NULL};
    s->connect.set = true;
    if (option_object(label, v, "{refuse, timeout, delay}", keys, err) ||
        optional_share(label, v, "refuse", 1, &s->connect.refuse, err) ||
        optional_share(label, v, "timeout", 1, &s->connect.timeout, err) ||
        optional_vary(label, v, "delay", VARY_DURATION, &s->connect.delay, err))
        return -1;
    if (!json_object_size(v))
        return error_set(err, ERR_INVALID, "%s: expected at least one of refuse, timeout, delay", label);
    if (s->connect.refuse + s->connect.timeout > 1 + 1e-9)
        return error_set(err, ERR_INVALID, "%s: refuse and timeout together are more than all connects (%g %%)", label,
                         (s->connect.refuse + s->connect.timeout) * 100);
    return 0;
}

static int parse_tls(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"fail", NULL};
    char where[LABEL_MAX];
    const json_t *fail = member(label, v, "fail", where);
    s->tls = true;
    return option_object(label, v, "{fail}", keys, err) || required(where, fail, err) ||
                   option_share(where, fail, 0, 1, &s->tls_fail, err)
               ? -1
               : 0;
}

static int parse_during(const char *label, const json_t *v, struct fault_spec *s, struct error *err)
{
    static const char *const keys[] = {"on", "every", "offset", "spread", NULL};
    struct fault_during *d = &s->during;
    char on[LABEL_MAX], every[LABEL_MAX], where[LABEL_MAX], a[32], b[32];
    const json_t *m = member(label, v, "on", on), *e = member(label, v, "every", every);
    d->set = true;
    if (option_object(label, v, "{on, every, offset, spread}", keys, err) || required(on, m, err) ||
        required(every, e, err) || option_duration(on, m, WINDOW_MIN_US, YEAR_US, &d->on_us, err) ||
        option_duration(every, e, WINDOW_MIN_US, YEAR_US, &d->every_us, err) ||
        optional_duration(label, v, "offset", 0, YEAR_US, &d->offset_us, err))
        return -1;
    if (d->on_us > d->every_us)
        return error_set(err, ERR_INVALID, "%s: \"on\" (%s) is longer than \"every\" (%s)", label,
                         duration_format(d->on_us, a, sizeof a), duration_format(d->every_us, b, sizeof b));
    const json_t *spread = member(label, v, "spread", where);
    return spread ? option_bool(where, spread, &d->spread, err) : 0;
}

static const struct {
    const char *key;
    int (*parse)(const char *label, const json_t *v, struct fault_spec *s, struct error *err);
} types[] = {{"partition", parse_partition},
             {"halfOpen", parse_half_open},
             {"reset", parse_reset},
             {"slowClose", parse_slow_close},
             {"dns", parse_dns},
             {"connect", parse_connect},
             {"tls", parse_tls},
             {"during", parse_during}};
#define TYPES (sizeof types / sizeof types[0])

// --- the whole

static bool side_acts(const struct fault_spec_side *s)
{
    return s->latency.set || s->loss.set || s->burst.set || s->duplicate.set || s->reorder.set || s->corrupt.set ||
           s->bandwidth.set || s->mtu || s->trace;
}

static bool delays(const struct fault_spec_side *s)
{
    return (s->latency.set && (vary_high(&s->latency.value) > 0 || vary_high(&s->latency.jitter) > 0)) ||
           (s->trace && trace_has_rtt(s->trace));
}

// What no single type can know.
static int check(const struct fault_spec *s, struct error *err)
{
    bool something = side_acts(&s->side[PATH_UP]) || side_acts(&s->side[PATH_DOWN]) || s->partition.set ||
                     s->half_open || s->reset || s->slow_close_us || s->dns.set || s->connect.set || s->tls;
    if (!something)
        return error_set(err, ERR_INVALID,
                         "nothing would happen: expected at least one fault, such as {\"latency\": "
                         "\"200ms\"} or {\"loss\": \"5%%\"}");
    for (int d = 0; d < 2; d++) {
        if (s->side[d].reorder.set && !delays(&s->side[d]))
            return error_set(err, ERR_INVALID,
                             "reorder needs latency in the same direction (%s has none): a packet "
                             "comes ahead because the others are held",
                             d == PATH_UP ? "up" : "down");
    }
    return 0;
}

struct fault_spec *fault_spec_parse(const json_t *json, struct error *err)
{
    const char *keys[SIDE_TYPES + TYPES + 4];
    size_t n = 0;
    for (size_t i = 0; i < SIDE_TYPES; i++)
        keys[n++] = side_types[i].key;
    keys[n++] = "rtt";
    for (size_t i = 0; i < TYPES; i++)
        keys[n++] = types[i].key;
    keys[n++] = "up";
    keys[n++] = "down";
    keys[n] = NULL;
    if (option_object("fault", json, "an object such as {\"latency\": \"200ms\", \"loss\": \"5%\"}", keys, err))
        return NULL;
    struct fault_spec *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a fault");
        return NULL;
    }
    s->refs = 1;
    int rc = parse_sides(json, s, err);
    for (size_t i = 0; rc == 0 && i < TYPES; i++) {
        const json_t *m = json_object_get(json, types[i].key);
        rc = m ? types[i].parse(types[i].key, m, s, err) : 0;
    }
    if (rc == 0)
        rc = check(s, err);
    if (rc) {
        error_prefix(err, "fault");
        fault_spec_release(s);
        return NULL;
    }
    return s;
}

struct fault_spec *fault_spec_ref(struct fault_spec *s)
{
    s->refs++;
    return s;
}

void fault_spec_release(struct fault_spec *s)
{
    if (!s || --s->refs)
        return;
    trace_release(s->side[PATH_UP].trace);
    trace_release(s->side[PATH_DOWN].trace);
    match_delete(s->partition.only);
    for (unsigned i = 0; i < s->partition.n_allow; i++)
        match_delete(s->partition.allow[i]);
    free(s->partition.allow);
    free(s);
}
