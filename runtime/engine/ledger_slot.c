// The supervisor's side of the delivery ledger.
#include "engine/ledger.h"

#include <string.h>

#include "engine/supervisor.h"

#define MARGIN_US 3000000 // beyond `late`: it writes its account

int ledger_start(struct run *run, struct error *err)
{
    if (!run->plan->ledger.on || run->config->check_only)
        return 0;
    if (run->virtual_run) {
        run_warning(run->result,
                    "virtual time has no broker: the ledger accounts for nothing, its thresholds say nothing");
        return 0;
    }
    if (slot_start(&run->ledger, err))
        return -1;
    slot_send(&run->ledger, MSG_ASSIGN, start_assignment(run, 0));
    return 0;
}

bool ledger_awaited(const struct run *run)
{
    return run->ledger.state != SLOT_NONE && run->ledger.state < SLOT_READY;
}

void ledger_sent(struct slot *shard, const uint8_t *bytes, size_t n)
{
    struct slot *slot = &shard->run->ledger;
    struct error err;
    if (slot->channel && channel_send(slot->channel, MSG_SENT, bytes, n, &err) && err.code != ERR_CLOSED)
        slot_kill(slot, "could not be told what was sent: %s", err.text);
}

void ledger_told(struct run *run, const json_t *account)
{
    json_decref(run->result->ledger);
    run->result->ledger = json_deep_copy(account);
}

void ledger_look(struct run *run)
{
    struct slot *slot = &run->ledger;
    if (slot->state != SLOT_GOING || run->ledger_until_us)
        return;
    for (unsigned i = 0; i < run->n_shards; i++)
        if (run->shards[i].state != SLOT_NONE)
            return;
    run->ledger_until_us = loop_now_us(run->loop) + run->plan->ledger.late_us + MARGIN_US;
    slot_send(slot, MSG_STOP,
              json_pack("{s:I, s:i}", "deadline_us", (json_int_t)run->plan->ledger.late_us, "lost",
                        (int)run->result->shards_lost));
}

bool ledger_kept(const struct run *run)
{
    if (run->ledger.state != SLOT_GOING && run->ledger.state != SLOT_DONE)
        return false;
    return !run->ledger_until_us || loop_now_us(run->loop) < run->ledger_until_us;
}

void ledger_lost(struct run *run, struct slot *slot, const char *name)
{
    if (run->result->ledger)
        return; // it is done
    if (!run->go_us) {
        if (!run->result->n_reasons && !run->result->n_diagnostics)
            run_reason(run, EXIT_SHARD_LOST, "%s %.200s", name, slot->why);
        run_stop(run);
        return;
    }
    log_write(run->log, LOG_ERROR, NULL, "%s %s: what was delivered is not accounted for", name, slot->why);
    run_reason(run, EXIT_SHARD_LOST, "%s %.200s", name, slot->why);
}
