// Writing faults: as JSON in canonical form, and as words.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "link/fault_spec_impl.h"

struct writer { // an object that is being made; without memory nothing is better than half a fault
    json_t *out;
    bool failed;
};

static void put(struct writer *w, const char *key, json_t *v) // takes v over, which may be NULL
{
    w->failed = json_object_set_new(w->out, key, v) != 0 || w->failed;
}

static void put_seconds(struct writer *w, const char *key, int64_t us)
{
    put(w, key, json_num((double)us / 1e6));
}

// A share that stands at its default is left out.
static void put_share(struct writer *w, const char *key, double v, double dflt)
{
    if (v < dflt || v > dflt)
        put(w, key, json_num(v));
}

static json_t *whole(struct writer *w)
{
    if (!w->failed)
        return w->out;
    json_decref(w->out);
    return NULL;
}

// --- one direction

static json_t *latency_json(const struct fault_latency *l)
{
    static const char *const names[] = {"normal", "uniform", "pareto"};
    bool jitter = vary_high(&l->jitter) > 0;
    if (!jitter && l->correlation <= 0 && l->distribution == FAULT_NORMAL)
        return vary_json(&l->value);
    struct writer w = {json_object(), false};
    put(&w, "value", vary_json(&l->value));
    put(&w, "jitter", vary_json(&l->jitter));
    put(&w, "distribution", json_string(names[l->distribution]));
    put_share(&w, "correlation", l->correlation, 0);
    return whole(&w);
}

static json_t *event_json(const struct fault_event *e)
{
    if (e->correlation <= 0 && e->gap == 1)
        return vary_json(&e->rate);
    struct writer w = {json_object(), false};
    put(&w, "rate", vary_json(&e->rate));
    put_share(&w, "correlation", e->correlation, 0);
    if (e->gap != 1)
        put(&w, "gap", json_integer(e->gap));
    return whole(&w);
}

static json_t *burst_json(const struct fault_burst *b)
{
    struct writer w = {json_object(), false};
    put(&w, "p", json_num(b->p));
    put(&w, "r", json_num(b->r));
    put_share(&w, "good", b->good, 0);
    put_share(&w, "bad", b->bad, 1);
    return json_pack("{s:o}", "burst", whole(&w));
}

static json_t *bandwidth_json(const struct fault_rate *b)
{
    struct writer w = {json_object(), false};
    put(&w, "rate", vary_json(&b->rate));
    put(&w, "burst", json_integer(b->burst_bytes));
    if (b->queue_us)
        put_seconds(&w, "queueTime", b->queue_us);
    else
        put(&w, "queue", json_integer(b->queue_bytes));
    if (b->full != FAULT_FULL_BY_KIND)
        put(&w, "full", json_string(b->full == FAULT_FULL_DROP ? "drop" : "delay"));
    return whole(&w);
}

static json_t *side_json(const struct fault_spec_side *s)
{
    struct writer w = {json_object(), false};
    if (s->corrupt.set)
        put(&w, "corrupt", event_json(&s->corrupt));
    if (s->loss.set)
        put(&w, "loss", event_json(&s->loss));
    if (s->burst.set)
        put(&w, "loss", burst_json(&s->burst));
    if (s->duplicate.set)
        put(&w, "duplicate", event_json(&s->duplicate));
    if (s->mtu)
        put(&w, "mtu", json_integer(s->mtu));
    if (s->bandwidth.set)
        put(&w, "bandwidth", bandwidth_json(&s->bandwidth));
    if (s->latency.set)
        put(&w, "latency", latency_json(&s->latency));
    if (s->reorder.set)
        put(&w, "reorder", event_json(&s->reorder));
    if (s->trace)
        put(&w, "trace", trace_json(s->trace));
    return whole(&w);
}

// What both directions have alike stands outside.
static void put_sides(struct writer *w, const struct fault_spec *s)
{
    json_t *up = side_json(&s->side[PATH_UP]), *down = side_json(&s->side[PATH_DOWN]), *v;
    const char *key;
    void *next;
    w->failed = w->failed || !up || !down;
    json_object_foreach_safe(up, next, key, v)
    {
        if (!json_equal(v, json_object_get(down, key)))
            continue;
        put(w, key, json_incref(v));
        json_object_del(down, key);
        json_object_del(up, key);
    }
    if (json_object_size(up))
        put(w, "up", json_incref(up));
    if (json_object_size(down))
        put(w, "down", json_incref(down));
    json_decref(up);
    json_decref(down);
}

// --- the rest

static json_t *allow_json(const struct fault_partition *p)
{
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (unsigned i = 0; rc == 0 && i < p->n_allow; i++) {
        json_t *one = json_object();
        rc = match_json(p->allow[i], one);
        rc = json_array_append_new(list, one) || rc ? -1 : 0;
    }
    json_t *out = rc ? NULL : p->n_allow == 1 ? json_incref(json_array_get(list, 0)) : json_incref(list);
    json_decref(list);
    return out;
}

static json_t *partition_json(const struct fault_partition *p)
{
    struct writer w = {json_object(), false};
    if (!p->cuts[PATH_UP] || !p->cuts[PATH_DOWN])
        put(&w, "direction", json_string(p->cuts[PATH_UP] ? "up" : "down"));
    if (p->only && match_json(p->only, w.out))
        w.failed = true;
    if (p->n_allow)
        put(&w, "allow", allow_json(p));
    if (w.failed || json_object_size(w.out))
        return whole(&w);
    json_decref(w.out);
    return json_true();
}

static json_t *reset_json(const struct fault_spec *s)
{
    if (!s->reset_every_us)
        return json_true();
    struct writer w = {json_object(), false};
    put_seconds(&w, "every", s->reset_every_us);
    if (s->reset_jitter_us)
        put_seconds(&w, "jitter", s->reset_jitter_us);
    return whole(&w);
}

static void put_connections(struct writer *w, const struct fault_spec *s)
{
    if (s->dns.set)
        put(w, "dns", json_pack("{s:o, s:o}", "fail", json_num(s->dns.fail), "delay", vary_json(&s->dns.delay)));
    if (s->connect.set)
        put(w, "connect",
            json_pack("{s:o, s:o, s:o}", "refuse", json_num(s->connect.refuse), "timeout", json_num(s->connect.timeout),
                      "delay", vary_json(&s->connect.delay)));
    if (s->tls)
        put(w, "tls", json_pack("{s:o}", "fail", json_num(s->tls_fail)));
}

static json_t *during_json(const struct fault_during *d)
{
    struct writer w = {json_object(), false};
    put_seconds(&w, "on", d->on_us);
    put_seconds(&w, "every", d->every_us);
    if (d->offset_us)
        put_seconds(&w, "offset", d->offset_us);
    if (d->spread)
        put(&w, "spread", json_true());
    return whole(&w);
}

json_t *fault_spec_json(const struct fault_spec *s)
{
    struct writer w = {json_object(), false};
    if (s->partition.set)
        put(&w, "partition", partition_json(&s->partition));
    put_sides(&w, s);
    if (s->half_open)
        put(&w, "halfOpen", json_true());
    if (s->reset)
        put(&w, "reset", reset_json(s));
    if (s->slow_close_us)
        put_seconds(&w, "slowClose", s->slow_close_us);
    put_connections(&w, s);
    if (s->during.set)
        put(&w, "during", during_json(&s->during));
    return whole(&w);
}

// --- words

struct words {
    char *dst;
    size_t size, used;
    bool first; // of its list: no comma before it
};

static PRINTF_LIKE(2, 3) void say(struct words *w, const char *fmt, ...)
{
    va_list args;
    if (w->used + 1 >= w->size)
        return;
    va_start(args, fmt);
    if (!w->first)
        w->used += (size_t)snprintf(w->dst + w->used, w->size - w->used, ", ");
    if (w->used < w->size) {
        int n = vsnprintf(w->dst + w->used, w->size - w->used, fmt, args);
        w->used += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
    w->used = w->used < w->size ? w->used : w->size - 1;
    w->first = false;
}

static void event_text(const char *name, const struct fault_event *e, char *dst, size_t size)
{
    char v[128];
    if (e->set)
        snprintf(dst, size, "%s %s", name, vary_format(&e->rate, v, sizeof v));
}

static void latency_text(const struct fault_latency *l, char *dst, size_t size)
{
    char v[128], jitter[128];
    vary_format(&l->value, v, sizeof v);
    if (vary_high(&l->jitter) > 0)
        snprintf(dst, size, "latency %s \xc2\xb1 %s", v, vary_format(&l->jitter, jitter, sizeof jitter));
    else
        snprintf(dst, size, "latency %s", v);
}

#define SIDE_ITEMS 9

// One of the things that happen to packets of one direction; "": not to these.
static char *side_text(const struct fault_spec_side *s, unsigned item, char *dst, size_t size)
{
    char v[128];
    dst[0] = '\0';
    if (item == 0 && s->mtu)
        snprintf(dst, size, "mtu %u", s->mtu);
    else if (item == 1)
        event_text("corrupt", &s->corrupt, dst, size);
    else if (item == 2)
        event_text("loss", &s->loss, dst, size);
    else if (item == 3 && s->burst.set)
        snprintf(dst, size, "loss in bursts of %.3g (%.3g %%)", 1 / s->burst.r,
                 100 * (s->burst.p * s->burst.bad + s->burst.r * s->burst.good) / (s->burst.p + s->burst.r));
    else if (item == 4)
        event_text("duplicate", &s->duplicate, dst, size);
    else if (item == 5 && s->bandwidth.set)
        snprintf(dst, size, "bandwidth %s", vary_format(&s->bandwidth.rate, v, sizeof v));
    else if (item == 6 && s->latency.set)
        latency_text(&s->latency, dst, size);
    else if (item == 7)
        event_text("reorder", &s->reorder, dst, size);
    else if (item == 8 && s->trace)
        snprintf(dst, size, "trace of %u row%s", trace_rows(s->trace), trace_rows(s->trace) == 1 ? "" : "s");
    return dst;
}

// What both directions have is said once.
static void say_sides(struct words *w, const struct fault_spec *s)
{
    char both[2][512], item[2][300];
    struct words side[2] = {{both[0], sizeof both[0], 0, true}, {both[1], sizeof both[1], 0, true}};
    both[0][0] = both[1][0] = '\0';
    for (unsigned i = 0; i < SIDE_ITEMS; i++) {
        for (unsigned d = 0; d < 2; d++)
            side_text(&s->side[d], i, item[d], sizeof item[d]);
        if (strcmp(item[0], item[1]) == 0) {
            if (item[0][0])
                say(w, "%s", item[0]);
            continue;
        }
        for (unsigned d = 0; d < 2; d++)
            if (item[d][0])
                say(&side[d], "%s", item[d]);
    }
    if (both[PATH_UP][0])
        say(w, "up (%s)", both[PATH_UP]);
    if (both[PATH_DOWN][0])
        say(w, "down (%s)", both[PATH_DOWN]);
}

static void say_partition(struct words *w, const struct fault_partition *p)
{
    if (!p->set)
        return;
    char who[160];
    say(w, "partition%s%s", p->cuts[PATH_DOWN] ? "" : " up", p->cuts[PATH_UP] ? "" : " down");
    w->first = true; // one phrase with what follows
    if (p->only)
        say(w, " from %s", match_describe(p->only, who, sizeof who));
    w->first = true;
    if (p->n_allow)
        say(w, " but for %s%s", match_describe(p->allow[0], who, sizeof who), p->n_allow > 1 ? " and others" : "");
    w->first = false;
}

static void say_connections(struct words *w, const struct fault_spec *s)
{
    char v[128];
    bool slow_dns = s->dns.set && vary_high(&s->dns.delay) > 0;
    bool slow_connect = s->connect.set && vary_high(&s->connect.delay) > 0;
    // What is set to nothing is said as well: an empty text would tell less.
    if (s->dns.fail > 0 || (s->dns.set && !slow_dns))
        say(w, "dns fails %.4g %%", s->dns.fail * 100);
    if (slow_dns)
        say(w, "dns delay %s", vary_format(&s->dns.delay, v, sizeof v));
    if (s->connect.refuse > 0 || (s->connect.set && !slow_connect && s->connect.timeout <= 0))
        say(w, "connects refused %.4g %%", s->connect.refuse * 100);
    if (s->connect.timeout > 0)
        say(w, "connects unanswered %.4g %%", s->connect.timeout * 100);
    if (slow_connect)
        say(w, "connect delay %s", vary_format(&s->connect.delay, v, sizeof v));
    if (s->tls)
        say(w, "tls fails %.4g %%", s->tls_fail * 100);
}

char *fault_spec_describe(const struct fault_spec *s, char *dst, size_t size)
{
    struct words w = {dst, size, 0, true};
    char a[40], b[40];
    if (size)
        dst[0] = '\0';
    say_partition(&w, &s->partition);
    say_sides(&w, s);
    if (s->half_open)
        say(&w, "half open");
    if (s->reset_every_us)
        say(&w, "reset every %s", duration_format(s->reset_every_us, a, sizeof a));
    else if (s->reset)
        say(&w, "reset");
    if (s->slow_close_us)
        say(&w, "slow close %s", duration_format(s->slow_close_us, a, sizeof a));
    say_connections(&w, s);
    if (s->during.set)
        say(&w, "%s of every %s", duration_format(s->during.on_us, a, sizeof a),
            duration_format(s->during.every_us, b, sizeof b));
    if (w.used && w.dst[w.used - 1] == '\xc2')
        w.dst[w.used - 1] = '\0'; // half of the only sign beyond ASCII
    return dst;
}
