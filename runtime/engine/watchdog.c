// What no hook inside Lua reaches, only another process stops. Two nets:
// - the slice: author code that has used more than 250 ms of the child's own CPU time (wall time would kill the
// innocent on a busy
//   machine) in one and the same slice at two looks, 50 ms apart;
// - the ping: a child whose loop has not turned for 10 s, and which either burned CPU meanwhile or did nothing at all.
// In between
//   (some CPU, no turn) it may just be starved: it gets six times as long.
#include <stdlib.h>
#include <string.h>

#include "engine/supervisor.h"

#define STRIKES_MAX 10000
#define STARVED 6

struct slot *run_slot(struct run *run, unsigned i)
{
    if (i == 0)
        return &run->director;
    if (i <= run->n_shards)
        return &run->shards[i - 1];
    return i == run->n_shards + 1 ? &run->ledger : NULL;
}

static const char *group_name(const struct run *run, unsigned number)
{
    for (unsigned i = 0; run->plan && i < run->plan->n_groups; i++)
        if (run->plan->groups[i].config.number == number)
            return run->plan->groups[i].config.name;
    return "?";
}

static unsigned strike(struct run *run, unsigned group, uint64_t index)
{
    for (unsigned i = 0; i < run->n_strikes; i++)
        if (run->strikes[i].group == group && run->strikes[i].index == index)
            return ++run->strikes[i].count;
    struct strike *more =
        run->n_strikes < STRIKES_MAX ? realloc(run->strikes, (run->n_strikes + 1) * sizeof(*more)) : NULL;
    if (!more)
        return 1;
    run->strikes = more;
    more[run->n_strikes++] = (struct strike){group, index, 1};
    return 1;
}

json_t *watch_quarantine(const struct run *run)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < run->n_strikes; i++)
        if (run->strikes[i].count >= 2)
            json_array_append_new(list, json_pack("{s:I, s:I}", "group", (json_int_t)run->strikes[i].group, "index",
                                                  (json_int_t)run->strikes[i].index));
    return list;
}

static void kill_stuck(struct slot *slot, int64_t used_us)
{
    const struct heartbeat *h = slot->heartbeat;
    char where[sizeof(h->where)], who[192];
    memcpy(where, h->where, sizeof(where));
    where[sizeof(where) - 1] = 0;
    unsigned group = h->group;
    uint64_t index = h->device;
    if (index)
        snprintf(who, sizeof(who), "device %s-%llu", group_name(slot->run, group), (unsigned long long)index);
    else
        snprintf(who, sizeof(who), "%s", slot->director ? "the test" : "code of no device");
    slot_kill(slot, "was stuck in %s for %lld ms of CPU time%s%s, where no limit inside Lua reaches it", who,
              (long long)(used_us / 1000), *where ? " at " : "", where);
    if (!index || !slot_is_shard(slot))
        return;
    unsigned n = strike(slot->run, group, index);
    bool fresh;
    char reason[64];
    snprintf(reason, sizeof(reason), "stuck: %.30s-%llu", group_name(slot->run, group), (unsigned long long)index);
    struct fault *f = faults_add(&slot->run->faults, false, reason, 1, &fresh);
    if (fresh) {
        snprintf(f->text, sizeof(f->text), "%.250s", slot->why);
        snprintf(f->device, sizeof(f->device), "%.70s-%llu", group_name(slot->run, group), (unsigned long long)index);
        f->first_us = run_elapsed(slot->run);
    }
    if (n == 2)
        log_write(slot->run->log, LOG_ERROR, f->device,
                  "is in quarantine for the rest of the run: it made a shard unresponsive twice");
}

static void watch_slice(struct slot *slot, int64_t cpu_us)
{
    const struct heartbeat *h = slot->heartbeat;
    uint64_t slice = h->slice;
    if (slice != slot->slice)
        slot->slice_seen_us = cpu_us;
    // The child's own tick says when the slice began, once it has used some CPU. Until then only what was used since
    // the first look counts: a child that is always busy may well be in the same slice at two looks because it does not
    // run.
    int64_t began_us = h->slice_start_us, used_us = cpu_us - (began_us ? began_us : slot->slice_seen_us);
    if (slice == 0 || h->slice != slice || used_us <= slot->run->limits.slice_cpu_us) {
        slot->strikes = 0;
    } else if (slice != slot->slice || slot->strikes == 0) {
        slot->strikes = 1;
    } else {
        kill_stuck(slot, used_us);
    }
    slot->slice = slice;
}

static void watch_load(struct slot *slot, int64_t cpu_us)
{
    if (slot->load_cpu_us < 0)
        slot->load_cpu_us = cpu_us;
    if (cpu_us - slot->load_cpu_us > slot->run->limits.load_cpu_us)
        slot_kill(slot, "did not finish loading the scenario within %.3g s of CPU time",
                  (double)slot->run->limits.load_cpu_us * 1e-6);
}

static void watch_ready(struct slot *slot, int64_t now)
{
    int64_t limit = slot->run->limits.ready_us;
    if (slot->run->plan && !slot->director)
        limit += (int64_t)(plan_devices(slot->run->plan) / 5000) * SECOND_US;
    if (now - slot->started_us > limit)
        slot_kill(slot, "was not ready within %.3g s", (double)limit * 1e-6);
}

static void watch_pong(struct slot *slot, int64_t now, int64_t cpu_us)
{
    const struct heartbeat *h = slot->heartbeat;
    int64_t limit = slot->run->limits.ping_us, silent = now - slot->pong_us, used = cpu_us - slot->pong_cpu_us;
    if (h->turn != slot->pong_turn) { // it turns: its answer is on the way
        slot->pong_turn = h->turn;
        slot->pong_us = now;
        slot->pong_cpu_us = cpu_us;
        return;
    }
    // A running slice is judged by its own CPU time, and its device named; only when it sleeps does it end here.
    bool busy = used > limit / 4 && h->slice == 0, asleep = used < limit / 100;
    if (silent > limit * STARVED || (silent > limit && (busy || asleep)))
        slot_kill(slot, "did not answer for %.3g s (%.2g s of CPU time used)", (double)silent * 1e-6,
                  (double)used * 1e-6);
}

void watch_slot(struct slot *slot)
{
    int64_t cpu_us = process_cpu_us(&slot->process), now = loop_now_us(slot->run->loop);
    if (cpu_us < 0 || slot->killed || slot->state == SLOT_NONE || slot->state == SLOT_DONE)
        return;
    uint32_t phase = slot->heartbeat->phase;
    if (phase == PHASE_LOAD)
        watch_load(slot, cpu_us);
    else if (phase == PHASE_RUN || phase == PHASE_DRAIN)
        watch_slice(slot, cpu_us);
    if (slot->state == SLOT_STARTING)
        watch_ready(slot, now);
    else
        watch_pong(slot, now, cpu_us);
}

void watch_ping(struct slot *slot)
{
    if (slot->channel && slot->state > SLOT_STARTING && slot->state < SLOT_DONE)
        slot_send(slot, MSG_PING, json_pack("{s:I}", "n", (json_int_t)slot->run->seconds));
}
