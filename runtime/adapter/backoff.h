// When to connect again, for adapters that bring no policy of their own.
#pragma once
#include "adapter/plugin_abi.h"

// Option `reconnect` of an adapter: true, false, or { initial "1s", max "60s", factor 2, jitter true, attempts 0 };
// durations as texts or seconds. Absent: those defaults.
int backoff_parse(const json_t *options, struct iotix_backoff *out, struct error *err) WARN_UNUSED_RESULT;
// Microseconds to wait after so many failures in a row (1: the first); -1: it gives up. random: state of an rng.
int64_t backoff_us(const struct iotix_backoff *b, unsigned failures, uint64_t *random);
