// What a fault does. The models:
//
// Latency: value + jitter * D, clipped to 0..1 hour (the lower clip raises the mean of a normal whose jitter is near
// its value: by 0.8 % of the jitter at value = 2 jitter). D is
//   normal    N(0, 1)                              jitter is the standard deviation
//   uniform   U(-1, 1)                             jitter is the half width, as netem's
//   pareto    (u^(-1/3) - 1.5) / sqrt(0.75)        Pareto with shape 3 (netem's too), moved and scaled to mean 0 and
//             standard deviation 1: never below value - 0.58 jitter, now and then far above; the third moment is
//             infinite
// Correlation of latencies, AR(1) on standard normals: z' = rho z + sqrt(1 - rho^2) N(0, 1), which leaves mean and
// spread as they are (netem mixes uniforms, which narrows them). D is z itself, or the quantile of D at Phi(z). The
// correlation of neighbours is as configured: fault_spec.c bends rho for uniforms and Pareto.
//
// Correlation of events (loss, duplicate, corrupt, reorder), the binary AR(1): with probability c the outcome is the
// last one's, otherwise a draw of its own. The rate stays; the correlation of packets k apart is c^k.
//
// Gilbert–Elliott: a packet is lost as its state says, then the state may change (the order of netem). The first state
// is drawn from the share of time in each, p/(p+r).
#include "link/fault.h"
#include <math.h>
#include <string.h>
#include "link/fault_spec_impl.h"

_Static_assert(sizeof(struct fault) <= 160, "a device may have many faults");

enum { EVENT_CORRUPT, EVENT_LOSS, EVENT_DUPLICATE, EVENT_REORDER }; // bits of fault_side.last; 4 further: was drawn

#define PARETO_MEAN 1.5              // shape 3, scale 1
#define PARETO_SD 0.8660254037844386 // sqrt(0.75)

// --- time

static int64_t phase_in(const struct fault *f, int64_t now_us)
{
    return (now_us - f->gate_origin_us) % f->spec->during.every_us;
}

bool fault_acts(const struct fault *f, int64_t now_us)
{
    if (!f->spec->during.set)
        return true;
    return now_us >= f->gate_from_us && phase_in(f, now_us) < f->spec->during.on_us;
}

// When `during` opens or closes next, after now.
static int64_t next_gate(const struct fault *f, int64_t now_us)
{
    const struct fault_during *d = &f->spec->during;
    if (!d->set)
        return INT64_MAX;
    if (now_us < f->gate_from_us) {
        int64_t at = phase_in(f, f->gate_from_us);
        return at < d->on_us ? f->gate_from_us : f->gate_from_us + (d->every_us - at);
    }
    if (d->on_us == d->every_us)
        return INT64_MAX;
    int64_t at = phase_in(f, now_us);
    return now_us + (at < d->on_us ? d->on_us : d->every_us) - at;
}

static int64_t next_opening(const struct fault *f, int64_t now_us)
{
    int64_t next = next_gate(f, now_us);
    return next == INT64_MAX || fault_acts(f, next) ? next : next_gate(f, next);
}

static void set_gate(struct fault *f, int64_t now_us)
{
    const struct fault_during *d = &f->spec->during;
    f->gate_from_us = f->gate_origin_us = now_us + d->offset_us;
    if (d->set && d->spread)
        f->gate_origin_us -= (int64_t)rng_below(&f->rng, (uint64_t)d->every_us);
}

static void set_reset(struct fault *f, int64_t now_us)
{
    if (!f->spec->reset)
        f->reset_us = INT64_MAX;
    else
        f->reset_us = fault_acts(f, now_us) ? now_us : next_opening(f, now_us);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t fault_next_edge(const struct fault *f, int64_t now_us)
{
    int64_t next = next_gate(f, now_us);
    if (!fault_acts(f, now_us))
        return next; // whatever else changes is seen when it opens
    if (f->reset_us > now_us)
        next = earlier(next, f->reset_us);
    int64_t t = now_us - f->began_us;
    for (int d = 0; d < 2; d++) {
        const struct fault_spec_side *s = &f->spec->side[d];
        int64_t rate = s->bandwidth.set ? vary_next_us(&s->bandwidth.rate, t) : INT64_MAX;
        int64_t step = s->trace && trace_has_rate(s->trace) ? trace_next_us(s->trace, t) : INT64_MAX;
        if (rate != INT64_MAX)
            next = earlier(next, f->began_us + rate);
        if (step != INT64_MAX)
            next = earlier(next, f->began_us + step);
    }
    return next;
}

// --- life

static void set_burst(struct fault_side *side, const struct fault_burst *b)
{
    side->bad = b->set && b->p > 0 && rng_unit(&side->rng) < b->p / (b->p + b->r);
}

void fault_create(struct fault *f, struct fault_spec *spec, uint64_t number, uint64_t seed, int64_t now_us)
{
    memset(f, 0, sizeof *f);
    f->spec = fault_spec_ref(spec);
    f->number = number;
    f->began_us = now_us;
    uint64_t base = hash_bytes(&number, sizeof number, seed);
    rng_seed(&f->rng, base);
    for (unsigned d = 0; d < 2; d++) {
        struct fault_side *side = &f->side[d];
        rng_seed(&side->rng, base + 1 + d);
        side->z = (float)rng_normal(&side->rng);
        set_burst(side, &spec->side[d].burst);
    }
    set_gate(f, now_us);
    set_reset(f, now_us);
}

void fault_destroy(struct fault *f)
{
    fault_spec_release(f->spec);
    f->spec = NULL;
}

void fault_retune(struct fault *f, struct fault_spec *spec, int64_t now_us)
{
    struct fault_spec *old = f->spec;
    const struct fault_during *a = &old->during, *b = &spec->during;
    bool same_cycle = a->set == b->set && a->on_us == b->on_us && a->every_us == b->every_us &&
                      a->offset_us == b->offset_us && a->spread == b->spread;
    f->spec = fault_spec_ref(spec);
    f->began_us = now_us;
    for (int d = 0; d < 2; d++) {
        if (!old->side[d].burst.set)
            set_burst(&f->side[d], &spec->side[d].burst);
    }
    if (!same_cycle)
        set_gate(f, now_us);
    if (!old->reset || !spec->reset || !same_cycle || old->reset_every_us != spec->reset_every_us ||
        old->reset_jitter_us != spec->reset_jitter_us)
        set_reset(f, now_us);
    fault_spec_release(old);
}

// --- packets

bool fault_cuts(const struct fault *f, enum path_direction direction, const struct path_peer *peer,
                const char *protocol, int64_t now_us)
{
    const struct fault_partition *p = &f->spec->partition;
    if (!p->set || !p->cuts[direction] || !fault_acts(f, now_us) || (p->only && !match_peer(p->only, peer, protocol)))
        return false;
    for (unsigned i = 0; i < p->n_allow; i++) {
        if (match_peer(p->allow[i], peer, protocol))
            return false;
    }
    return true;
}

uint32_t fault_mtu(const struct fault *f, enum path_direction direction, int64_t now_us)
{
    uint32_t mtu = f->spec->side[direction].mtu;
    return mtu && fault_acts(f, now_us) ? mtu : 0;
}

static bool happens(struct fault_side *side, int event, double rate, double correlation)
{
    uint8_t last = (uint8_t)(1u << event), drawn = (uint8_t)(16u << event);
    bool hit;
    if (rate <= 0 || rate >= 1)
        hit = rate >= 1;
    else if (correlation > 0 && side->last & drawn && rng_unit(&side->rng) < correlation)
        hit = side->last & last;
    else
        hit = rng_unit(&side->rng) < rate;
    side->last = (uint8_t)((side->last & ~last) | drawn | (hit ? last : 0));
    return hit;
}

static const struct trace_row *row_now(const struct fault *f, const struct fault_spec_side *s, int64_t now_us)
{
    return s->trace ? trace_at(s->trace, now_us - f->began_us) : NULL;
}

static bool loses(struct fault *f, struct fault_side *side, const struct fault_spec_side *s, int64_t now_us)
{
    const struct trace_row *row = row_now(f, s, now_us);
    if (row && !isnan(row->loss))
        return happens(side, EVENT_LOSS, row->loss, s->loss.set ? s->loss.correlation : 0);
    if (s->loss.set)
        return happens(side, EVENT_LOSS, vary_at(&s->loss.rate, now_us - f->began_us), s->loss.correlation);
    if (!s->burst.set)
        return false;
    double share = side->bad ? s->burst.bad : s->burst.good;
    bool hit = share > 0 && (share >= 1 || rng_unit(&side->rng) < share);
    if (rng_unit(&side->rng) < (side->bad ? s->burst.r : s->burst.p))
        side->bad = !side->bad;
    return hit;
}

void fault_damage(struct fault *f, enum path_direction direction, size_t n, bool stream, int64_t now_us,
                  struct fault_damage *out)
{
    const struct fault_spec_side *s = &f->spec->side[direction];
    struct fault_side *side = &f->side[direction];
    int64_t t = now_us - f->began_us;
    *out = (struct fault_damage){.drop = false};
    if (!fault_acts(f, now_us))
        return;
    if (s->corrupt.set && n && happens(side, EVENT_CORRUPT, vary_at(&s->corrupt.rate, t), s->corrupt.correlation)) {
        out->drop = stream;
        out->corrupt = !stream;
        out->corrupt_bit = stream ? 0 : (uint32_t)rng_below(&side->rng, n * 8);
    }
    if (loses(f, side, s, now_us))
        out->drop = true;
    if (s->duplicate.set && !stream)
        out->duplicate = happens(side, EVENT_DUPLICATE, vary_at(&s->duplicate.rate, t), s->duplicate.correlation);
}

bool fault_bandwidth(const struct fault *f, enum path_direction direction, bool stream, int64_t now_us,
                     struct fault_bandwidth *out)
{
    static const struct fault_rate plain = {.burst_bytes = FAULT_BURST_DEFAULT, .queue_bytes = FAULT_QUEUE_DEFAULT};
    const struct fault_spec_side *s = &f->spec->side[direction];
    if ((!s->bandwidth.set && !s->trace) || !fault_acts(f, now_us))
        return false;
    const struct trace_row *row = row_now(f, s, now_us);
    bool measured = row && !isnan(row->rate);
    if (!measured && !s->bandwidth.set)
        return false;
    const struct fault_rate *b = s->bandwidth.set ? &s->bandwidth : &plain;
    out->rate = measured ? row->rate : vary_at(&b->rate, now_us - f->began_us);
    out->burst_bytes = b->burst_bytes;
    out->queue_bytes = b->queue_bytes;
    out->queue_us = b->queue_us;
    out->full_drop = b->full == FAULT_FULL_BY_KIND ? !stream : b->full == FAULT_FULL_DROP;
    return true;
}

// The latency without its jitter, us; < 0: none.
static double middle(const struct fault *f, const struct fault_spec_side *s, int64_t now_us)
{
    const struct trace_row *row = row_now(f, s, now_us);
    if (row && !isnan(row->rtt_us))
        return row->rtt_us / 2;
    return s->latency.set ? vary_at(&s->latency.value, now_us - f->began_us) : -1;
}

static double upper_tail(double z) // of the standard normal
{
    return 0.5 * erfc(z * 0.7071067811865476);
}

// D of the comment above.
static double deviation(struct fault_side *side, const struct fault_latency *l)
{
    double rho = l->rho;
    if (rho > 0)
        side->z = (float)(rho * (double)side->z + sqrt(1 - rho * rho) * rng_normal(&side->rng));
    switch ((enum fault_distribution)l->distribution) {
    case FAULT_NORMAL:
        return rho > 0 ? (double)side->z : rng_normal(&side->rng);
    case FAULT_UNIFORM:
        return 1 - 2 * (rho > 0 ? upper_tail((double)side->z) : rng_unit(&side->rng));
    case FAULT_PARETO: {
        double u = rho > 0 ? upper_tail((double)side->z) : 1 - rng_unit(&side->rng); // > 0
        return (1 / cbrt(u) - PARETO_MEAN) / PARETO_SD;
    }
    }
    return 0;
}

static int64_t clip(double us)
{
    if (!(us > 0))
        return 0;
    return us < (double)FAULT_LATENCY_MAX_US ? (int64_t)(us + 0.5) : FAULT_LATENCY_MAX_US;
}

int64_t fault_delay(struct fault *f, enum path_direction direction, int64_t now_us, bool *jumps)
{
    const struct fault_spec_side *s = &f->spec->side[direction];
    struct fault_side *side = &f->side[direction];
    if (jumps)
        *jumps = false;
    if ((!s->latency.set && !s->trace) || !fault_acts(f, now_us))
        return 0;
    double us = middle(f, s, now_us);
    if (us < 0)
        return 0;
    if (jumps && s->reorder.set) {
        side->since = side->since < UINT16_MAX ? (uint16_t)(side->since + 1) : UINT16_MAX;
        if (side->since >= s->reorder.gap &&
            happens(side, EVENT_REORDER, vary_at(&s->reorder.rate, now_us - f->began_us), s->reorder.correlation)) {
            side->since = 0;
            *jumps = true;
            return 0;
        }
    }
    double jitter = s->latency.set ? vary_at(&s->latency.jitter, now_us - f->began_us) : 0;
    return clip(jitter > 0 ? us + jitter * deviation(side, &s->latency) : us);
}

int64_t fault_mean_delay(const struct fault *f, enum path_direction direction, int64_t now_us)
{
    const struct fault_spec_side *s = &f->spec->side[direction];
    if ((!s->latency.set && !s->trace) || !fault_acts(f, now_us))
        return 0;
    return clip(middle(f, s, now_us));
}

// --- connections

static bool chance(struct fault *f, double share)
{
    return share > 0 && (share >= 1 || rng_unit(&f->rng) < share);
}

bool fault_lookup(struct fault *f, int64_t now_us, int64_t *delay_us)
{
    *delay_us = 0;
    if (!f->spec->dns.set || !fault_acts(f, now_us))
        return false;
    *delay_us = clip(vary_at(&f->spec->dns.delay, now_us - f->began_us));
    return chance(f, f->spec->dns.fail);
}

enum fault_answer fault_connect(struct fault *f, int64_t now_us, int64_t *delay_us)
{
    double refuse = f->spec->connect.refuse, timeout = f->spec->connect.timeout;
    *delay_us = 0;
    if (!f->spec->connect.set || !fault_acts(f, now_us))
        return FAULT_ANSWER_GOOD;
    *delay_us = clip(vary_at(&f->spec->connect.delay, now_us - f->began_us));
    if (refuse <= 0 && timeout <= 0)
        return FAULT_ANSWER_GOOD;
    double draw = rng_unit(&f->rng);
    if (draw < refuse)
        return FAULT_ANSWER_REFUSED;
    return draw < refuse + timeout ? FAULT_ANSWER_NONE : FAULT_ANSWER_GOOD;
}

bool fault_tls_fails(struct fault *f, int64_t now_us)
{
    return f->spec->tls && fault_acts(f, now_us) && chance(f, f->spec->tls_fail);
}

bool fault_half_open(const struct fault *f, int64_t now_us)
{
    return f->spec->half_open && fault_acts(f, now_us);
}

int64_t fault_slow_close_us(const struct fault *f, int64_t now_us)
{
    return f->spec->slow_close_us && fault_acts(f, now_us) ? f->spec->slow_close_us : 0;
}

bool fault_reset_due(struct fault *f, int64_t now_us)
{
    if (now_us < f->reset_us)
        return false;
    bool due = fault_acts(f, now_us);
    const struct fault_spec *s = f->spec;
    int64_t next = next_opening(f, now_us); // every window begins with one
    if (due && s->reset_every_us) {
        int64_t again = now_us + s->reset_every_us;
        if (s->reset_jitter_us)
            again += (int64_t)rng_below(&f->rng, (uint64_t)s->reset_jitter_us + 1);
        if (fault_acts(f, again))
            next = earlier(next, again);
    }
    f->reset_us = next;
    return due;
}
