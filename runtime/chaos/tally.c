#include "chaos/tally.h"

#include <stdlib.h>

#define AT(member) offsetof(struct path_totals, member)

// link_dropped{direction:up}, …: two numbers each, up and down.
static const struct {
    const char *name;
    size_t at;
} both_ways[] = {
    {"link_dropped", AT(dropped)},      {"link_duplicated", AT(duplicated)},       {"link_reordered", AT(reordered)},
    {"link_corrupted", AT(corrupted)},  {"link_retransmitted", AT(retransmitted)}, {"link_timeouts", AT(timeouts)},
    {"link_queue_full", AT(queue_full)}};
static const struct {
    const char *name;
    size_t at;
} plain[] = {{"link_dns_failed", AT(dns_failed)},
             {"link_connects_refused", AT(connects_refused)},
             {"link_connects_timed_out", AT(connects_timed_out)},
             {"link_tls_failed", AT(tls_failed)},
             {"link_resets", AT(resets)}};
enum { N_BOTH = sizeof(both_ways) / sizeof(both_ways[0]), N_PLAIN = sizeof(plain) / sizeof(plain[0]) };

struct chaos_tally {
    const struct path_env *paths;
    struct path_totals last;
    struct metric *both[N_BOTH][2], *single[N_PLAIN];
    struct metric *held, *impaired;
};

static uint64_t number_at(const struct path_totals *t, size_t at, unsigned i)
{
    return ((const uint64_t *)(const void *)((const char *)t + at))[i];
}

static int find_series(struct chaos_tally *t, struct metrics *m)
{
    static const char *const tags[] = {"direction:up", "direction:down"};
    bool missing = false;
    for (unsigned i = 0; i < N_BOTH; i++)
        for (unsigned d = 0; d < 2; d++)
            missing |=
                !(t->both[i][d] = metrics_series(m, both_ways[i].name, METRIC_COUNTER, UNIT_NONE, tags[d], NULL));
    for (unsigned i = 0; i < N_PLAIN; i++)
        missing |= !(t->single[i] = metrics_series(m, plain[i].name, METRIC_COUNTER, UNIT_NONE, NULL, NULL));
    t->held = metrics_gauge(m, "link_held_bytes", GAUGE_SUM, NULL, NULL);
    t->impaired = metrics_gauge(m, "link_impaired", GAUGE_SUM, NULL, NULL);
    return missing || !t->held || !t->impaired ? -1 : 0;
}

struct chaos_tally *chaos_tally_new(struct metrics *metrics, const struct path_env *paths)
{
    struct chaos_tally *t = metrics ? calloc(1, sizeof(*t)) : NULL;
    if (!t)
        return NULL;
    t->paths = paths;
    if (find_series(t, metrics) == 0)
        return t;
    free(t);
    return NULL;
}

void chaos_tally_delete(struct chaos_tally *t)
{
    free(t);
}

void chaos_tally_report(struct chaos_tally *t)
{
    struct path_totals now;
    path_env_totals(t->paths, &now);
    for (unsigned i = 0; i < N_BOTH; i++)
        for (unsigned d = 0; d < 2; d++)
            counter_add(t->both[i][d], number_at(&now, both_ways[i].at, d) - number_at(&t->last, both_ways[i].at, d));
    for (unsigned i = 0; i < N_PLAIN; i++)
        counter_add(t->single[i], number_at(&now, plain[i].at, 0) - number_at(&t->last, plain[i].at, 0));
    gauge_set(t->held, (double)now.held_bytes);
    gauge_set(t->impaired, (double)now.paths);
    t->last = now;
}
