#include "sink/ledger.h"

#include <stdio.h>
#include <string.h>

int ledger_create(struct ledger *l, struct metrics *m, const char *name, struct error *err)
{
    static const char *const counters[] = {"sink_accepted",  "sink_delivered", "sink_spilled",
                                           "sink_unspilled", "sink_skipped",   "sink_refused"};
    char tags[80];
    memset(l, 0, sizeof(*l));
    struct metric **const at[] = {&l->accepted, &l->delivered, &l->spilled, &l->unspilled, &l->skipped, &l->refused};
    l->metrics = m;
    snprintf(l->name, sizeof(l->name), "%s", name);
    snprintf(tags, sizeof(tags), "sink:%s", l->name);
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        if (!(*at[i] = metrics_series(m, counters[i], METRIC_COUNTER, UNIT_NONE, tags, err)))
            return -1;
    l->memory = metrics_gauge(m, "sink_memory", GAUGE_SUM, tags, err);
    l->memory_bytes = l->memory ? metrics_gauge(m, "sink_memory_bytes", GAUGE_SUM, tags, err) : NULL;
    return l->memory_bytes ? 0 : -1;
}

void ledger_drop(struct ledger *l, const char *reason, uint64_t n)
{
    char tags[160];
    unsigned i = 0;
    if (!n)
        return;
    while (i < LEDGER_REASONS - 1 && l->dropped[i].reason && strcmp(l->dropped[i].reason, reason) != 0)
        i++;
    if (!l->dropped[i].counter) {
        snprintf(tags, sizeof(tags), "reason:%s,sink:%s", reason, l->name);
        l->dropped[i].reason = reason;
        l->dropped[i].counter = metrics_series(l->metrics, "sink_dropped", METRIC_COUNTER, UNIT_NONE, tags, NULL);
    }
    if (l->dropped[i].counter)
        counter_add(l->dropped[i].counter, n);
    gauge_add(l->memory, -(double)n);
}

uint64_t ledger_dropped(const struct ledger *l)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < LEDGER_REASONS && l->dropped[i].counter; i++)
        n += l->dropped[i].counter->count;
    return n;
}
