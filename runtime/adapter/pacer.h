// Who may connect when: a window of handshakes under way, a rate, and adaptive pacing that slows down when the server
// answers late or refuses, as a PI controller on connect latency with a safety drop at failures. One for each target,
// so one for each group and shard: the device room gives a shard its share of connectRate.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "metrics/metrics.h"

struct pacer_config {
    uint32_t window;     // handshakes under way at once (connectWindow, 64)
    double rate;         // connects a second; 0: no limit (connectRate). Adaptive: never above
    bool adaptive;       // connectPacing "adaptive"; "fixed": window and rate as they are
    int64_t target_us;   // latency the controller aims at (default 200 ms)
    double min_rate;     // never below (default 1 a second)
    double max_failures; // share of failed attempts in a second above which the rate is halved at once (default 0.1)
};
// Options connectWindow 64, connectRate 0, connectPacing "fixed" | "adaptive" | { target = "200ms", minRate = 1,
// maxFailures = 0.1 } (adaptive). `options` is only read; absent keys are defaults; other keys are not looked at.
int pacer_config_parse(const json_t *options, struct pacer_config *out, struct error *err) WARN_UNUSED_RESULT;

struct pacer { // embed it
    struct pacer_config config;
    unsigned under_way;
    double rate;         // in force now; 0: no limit
    double tokens;       // of the bucket
    int64_t refilled_us; // when tokens were last counted
    // of the period (100 ms at least) that is being judged
    int64_t period_us; // its beginning; 0: none yet
    double latency_sum_us;
    unsigned n_started, n_done, n_failed;
    bool probing;              // the rate still doubles, until the server shows that it feels it
    double integral;           // of the controller: logarithm of a rate
    int64_t drop_until_us;     // after a safety drop failures of what was begun before it do not count again
    struct metric *rate_gauge; // connect_rate_limit; may be NULL
};
void pacer_create(struct pacer *p, const struct pacer_config *config, struct metric *rate_gauge);
// How many may start now (0: wait). retry_us: after how long to ask again when that is not at the end of a handshake
// (-1: only an end changes it).
// Steady cost: no allocation, a logarithm ten times a second.
unsigned pacer_allows(struct pacer *p, int64_t now_us, int64_t *retry_us);
void pacer_started(struct pacer *p, int64_t now_us);
// The handshake of one that was started has ended. latency_us: connect() to its end.
void pacer_ended(struct pacer *p, int64_t now_us, int64_t latency_us, bool failed);
