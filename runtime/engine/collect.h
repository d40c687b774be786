// One verdict of many runners: `iotix-run --partition i/n --run-id ID --sink kafka=…`, each, leave their figures in a
// topic of Kafka (docs/reference/sinks.md); here they become the shards of one run, by the same code as those of a
// supervisor (tally.c, verdict.c).
#pragma once
#include "engine/run.h"

struct collect_progress {
    unsigned expected;        // runners; 0: not known yet
    unsigned heard, finished; // of them
    double waited_s;
    const char *trouble; // of Kafka, "" while there is none
};

struct collect_config {
    const char *kafka; // "BROKERS?options" as behind --sink kafka=
    const char *run_id;
    unsigned expect;    // runners; 0: as many as they say
    int64_t timeout_us; // of the whole
    int64_t since_us;   // figures older than that are not looked at
    const char *const *extra_thresholds;
    unsigned n_extra_thresholds;
    bool no_thresholds;
    const struct secrets *secrets;
    struct log *log;
    void (*on_progress)(void *arg, const struct collect_progress *p); // each second, and at the end; may be NULL
    void *arg;
};
// Waits for the final figures of all runners, and judges. 0: `out` is filled: runners that are missing after the
// timeout are a reason (120), a signal too (105). -1: options or secrets are not good, or nothing was heard at all
// (ERR_TIMEOUT, or ERR_REFUSED when Kafka was never reached). Blocks; handles SIGINT and SIGTERM.
int collect_execute(const struct collect_config *config, struct run_result *out, struct error *err) WARN_UNUSED_RESULT;

// --- the same without Kafka: messages in, a result out
struct collect;
struct collect *collect_new(const struct collect_config *config, struct error *err); // config is borrowed
void collect_delete(struct collect *c);
// A message of the topic. 1: taken. 0: of another run, or old. -1: malformed (err), nothing has changed.
int collect_take(struct collect *c, const void *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
bool collect_complete(const struct collect *c);
void collect_look(const struct collect *c, struct collect_progress *out); // but waited_s and trouble
// What is there is judged; nothing may be taken any more. -1: nothing is there.
int collect_finish(struct collect *c, bool interrupted, struct run_result *out, struct error *err) WARN_UNUSED_RESULT;
