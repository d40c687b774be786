#include "engine/stages.h"

#include <stdlib.h>
#include <string.h>

#define SERIES_MAX 50000

struct stage {
    bool asked, begun, over;
    int64_t from_us, until_us; // measured
    struct metrics *before;    // figures at its begin, NULL: none
    struct metrics *own;       // the difference
};

struct stages {
    const struct plan *plan;
    int64_t restarted_us;
    struct stage of[PLAN_STAGES_MAX];
};

static struct stage *find(const struct stages *s, const char *name)
{
    for (unsigned i = 0; i < s->plan->n_stages; i++)
        if (strcmp(s->plan->stages[i].name, name) == 0)
            return (struct stage *)(uintptr_t)&s->of[i];
    return NULL;
}

struct stages *stages_new(const struct plan *plan, struct error *err)
{
    struct stages *s = NULL;
    for (unsigned i = 0; i < plan->n_thresholds; i++) {
        const char *name = plan->thresholds[i].stage;
        if (!*name)
            continue;
        if (!s && !(s = calloc(1, sizeof(*s)))) {
            error_set(err, ERR_NO_MEMORY, "no memory for the stages of a run");
            return NULL;
        }
        s->plan = plan;
        struct stage *stage = find(s, name);
        if (stage)
            stage->asked = true;
    }
    return s;
}

void stages_delete(struct stages *s)
{
    for (unsigned i = 0; s && i < PLAN_STAGES_MAX; i++) {
        metrics_delete(s->of[i].before);
        metrics_delete(s->of[i].own);
    }
    free(s);
}

static struct metrics *copy(const struct metrics *m)
{
    struct metrics *c = metrics_new(SERIES_MAX);
    struct error err;
    if (c && metrics_merge_from(c, m, &err) == 0)
        return c;
    metrics_delete(c);
    return NULL;
}

static void measure(struct stage *stage, const struct metrics *now, int64_t elapsed_us)
{
    metrics_delete(stage->own);
    stage->own = copy(now);
    if (stage->own && stage->before)
        metrics_subtract(stage->own, stage->before);
    stage->until_us = elapsed_us;
}

void stages_look(struct stages *s, const struct metrics *now, int64_t elapsed_us)
{
    for (unsigned i = 0; s && i < s->plan->n_stages; i++) {
        const struct plan_stage *when = &s->plan->stages[i];
        struct stage *stage = &s->of[i];
        if (!stage->asked || stage->over || elapsed_us < when->begin_us)
            continue;
        if (when->end_us <= s->restarted_us) { // nothing but warmup
            stage->over = true;
            continue;
        }
        if (!stage->begun) {
            stage->begun = true;
            stage->from_us = elapsed_us > s->restarted_us ? when->begin_us : s->restarted_us;
            if (stage->from_us < s->restarted_us)
                stage->from_us = s->restarted_us;
            stage->before = when->begin_us > s->restarted_us ? copy(now) : NULL; // figures of the stage before it
        }
        measure(stage, now, elapsed_us < when->end_us ? elapsed_us : when->end_us);
        stage->over = elapsed_us >= when->end_us;
        if (stage->over) {
            metrics_delete(stage->before);
            stage->before = NULL;
        }
    }
}

void stages_restart(struct stages *s, int64_t elapsed_us)
{
    for (unsigned i = 0; s && i < s->plan->n_stages; i++) {
        struct stage *stage = &s->of[i];
        metrics_delete(stage->before);
        metrics_delete(stage->own);
        stage->before = stage->own = NULL;
        stage->from_us = elapsed_us;
    }
    if (s)
        s->restarted_us = elapsed_us;
}

const struct metrics *stages_of(const struct stages *s, const struct threshold *t, int64_t *measured_us)
{
    const struct stage *stage = s ? find(s, t->stage) : NULL;
    if (!stage || !stage->begun || !stage->own)
        return NULL;
    *measured_us = stage->until_us - stage->from_us;
    return stage->own;
}
