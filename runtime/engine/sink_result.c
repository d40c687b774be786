#include "engine/sink_result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/supervisor.h"
#include "sink/sink.h"

static bool wanted(const struct run *run, const struct plan_sink *p)
{
    return !(run->virtual_run && p->ops->file);
}

// One for each sink of the plan that shards have.
static int make(struct run *run)
{
    struct run_result *r = run->result;
    const struct plan *plan = run->plan;
    if (r->sinks || !plan || !plan->n_sinks)
        return r->sinks ? 0 : -1;
    r->sinks = calloc(plan->n_sinks, sizeof(*r->sinks));
    for (unsigned i = 0; r->sinks && i < plan->n_sinks; i++) {
        if (!wanted(run, &plan->sinks[i]))
            continue;
        struct run_sink *s = &r->sinks[r->n_sinks++];
        snprintf(s->name, sizeof(s->name), "%s", plan->sinks[i].name);
        snprintf(s->type, sizeof(s->type), "%s", plan->sinks[i].type);
    }
    return r->sinks ? 0 : -1;
}

void sink_result_shard(struct run *run, const json_t *report)
{
    json_t *one;
    size_t i;
    if (!report || make(run))
        return;
    json_array_foreach(report, i, one)
    {
        for (unsigned k = 0; k < run->result->n_sinks; k++) {
            struct run_sink *s = &run->result->sinks[k];
            if (strcmp(s->name, message_text(one, "name")) != 0)
                continue;
            if (*message_text(one, "trouble"))
                snprintf(s->trouble, sizeof(s->trouble), "%s", message_text(one, "trouble"));
            if (*message_text(one, "left"))
                snprintf(s->left, sizeof(s->left), "%s", message_text(one, "left"));
        }
    }
}

static uint64_t sum(const struct run *run, const char *metric, const char *sink)
{
    char selector[160];
    snprintf(selector, sizeof(selector), "%s{sink:%s}", metric, sink);
    return tally_counter(run, selector);
}

static void add_drop(struct run_sink *s, const char *reason, size_t len, uint64_t n)
{
    unsigned i = 0;
    if (!n)
        return;
    s->dropped += n;
    while (i < s->n_reasons && (strlen(s->reasons[i].reason) != len || strncmp(s->reasons[i].reason, reason, len) != 0))
        i++;
    if (i == sizeof(s->reasons) / sizeof(s->reasons[0]))
        i--;
    if (i == s->n_reasons) {
        s->n_reasons++;
        snprintf(s->reasons[i].reason, sizeof(s->reasons[i].reason), "%.*s", (int)len, reason);
    }
    s->reasons[i].n += n;
}

static void collect_drop(void *arg, const struct metric *m)
{
    struct run_sink *s = arg;
    char tag[80];
    const char *reason = strstr(m->tags, "reason:"), *name;
    snprintf(tag, sizeof(tag), "sink:%s", s->name);
    if (strcmp(m->name, "sink_dropped") != 0 || !reason || !(name = strstr(m->tags, tag)))
        return;
    if (name[strlen(tag)] != '\0' && name[strlen(tag)] != ',')
        return;
    reason += strlen("reason:");
    add_drop(s, reason, strcspn(reason, ","), m->count);
}

static void count_sink(struct run *run, struct run_sink *s)
{
    uint64_t spilled = sum(run, "sink_spilled", s->name), unspilled = sum(run, "sink_unspilled", s->name);
    s->accepted = sum(run, "sink_accepted", s->name);
    s->delivered = sum(run, "sink_delivered", s->name);
    s->spilled = spilled > unspilled ? spilled - unspilled : 0;
    s->skipped = sum(run, "sink_skipped", s->name);
    s->refused = sum(run, "sink_refused", s->name);
    metrics_each(run->merged, collect_drop, s);
    // A lost shard's last second is in no snapshot, but what it spilled then is on disk and was taken up from there.
    if (unspilled > spilled)
        s->accepted += unspilled - spilled;
    uint64_t known = s->delivered + s->spilled + s->dropped;
    if (known > s->accepted)
        s->accepted = known;
    // What a lost shard had in memory; of one that did not come to its end, too.
    if (s->accepted > known)
        add_drop(s, "lost", 4, s->accepted - known);
}

static void judge(struct run *run, const struct run_sink *s)
{
    const char *why = *s->trouble ? s->trouble : "the run ended before it could";
    if (s->accepted && !s->delivered)
        run_reason(run, EXIT_OUTPUT, "sink %s has not delivered one of %llu records: %.160s", s->name,
                   (unsigned long long)s->accepted, why);
    if (s->dropped)
        run_warning(run->result, "sink %s dropped %llu of %llu records: %s%s%.90s", s->name,
                    (unsigned long long)s->dropped, (unsigned long long)s->accepted, s->reasons[0].reason,
                    *s->trouble ? ": " : "", s->trouble);
    if (s->refused)
        run_warning(run->result, "%llu messages were not published because sink %s was full",
                    (unsigned long long)s->refused, s->name);
    if (s->spilled)
        run_warning(run->result, "%llu records of sink %s were not delivered and lie in %.120s",
                    (unsigned long long)s->spilled, s->name, s->left);
    if (s->dropped || s->spilled)
        log_write(run->log, LOG_WARN, NULL, "sink %s: %llu records delivered, %llu dropped, %llu left on disk%s%s",
                  s->name, (unsigned long long)s->delivered, (unsigned long long)s->dropped,
                  (unsigned long long)s->spilled, *s->left ? " in " : "", s->left);
}

void sink_result(struct run *run)
{
    if (!run->go_us || make(run))
        return;
    for (unsigned i = 0; i < run->result->n_sinks; i++) {
        count_sink(run, &run->result->sinks[i]);
        judge(run, &run->result->sinks[i]);
    }
}
