// The metric series of targets: one table says what kind of metric a name is, whichever protocol counts in it; and a
// set of those that all adapters have, for those that bring none of their own: plugins and adapters in Lua.
#pragma once
#include "adapter/plugin_abi.h"

#define SERIES_TAGS_MAX 160u
// "group:NAME,protocol:PROTOCOL", the tags of a target's series. ERR_INVALID: the group's name is too long.
int series_tags(char out[SERIES_TAGS_MAX], const char *protocol, const char *group,
                struct error *err) WARN_UNUSED_RESULT;

// A series to be made: its name, which must be one of the table in series.c, and where it is put.
struct series_wish {
    const char *name;
    struct metric **at;
};
int series_make(struct metrics *m, const char *tags, const struct series_wish *all, size_t n,
                struct error *err) WARN_UNUSED_RESULT;

// An attempt that was meant to begin at due_us, began at begun_us and ends well at now_us: connect_latency,
// connect_latency_raw and connect_wait. due_us 0: as it began.
static inline void series_connected(struct metric *latency, struct metric *raw, struct metric *wait, int64_t due_us,
                                    int64_t begun_us, int64_t now_us)
{
    int64_t wait_us = due_us && begun_us - due_us > LAG_RESOLUTION_US ? begun_us - due_us : 0;
    trend_add(raw, now_us - begun_us);
    trend_add(wait, wait_us);
    trend_add(latency, now_us - begun_us + wait_us);
}

// Counts one in a series that has the tag "key:value" besides and is made when first needed; *at, NULL at first, keeps
// it. Without memory it is not counted. value: at most 48 bytes count.
void series_count_tagged(struct metrics *m, const char *tags, struct metric **at, const char *name, const char *key,
                         const char *value);
// connect_failures, disconnects and messages_dropped by the code of their reason. Zeroed at first.
struct series_reasons {
    struct metric *at[IOTIX_MESSAGE_DROPPED + 1][ERR_CODE_MAX];
};
void series_count_reason(struct metrics *m, const char *tags, struct series_reasons *reasons, enum iotix_reason what,
                         enum error_code reason);

// NULL: err.
struct iotix_series *series_new(const struct adapter_env *env, const char *protocol, const char *group,
                                struct error *err);
void series_delete(struct iotix_series *series);
// connect_failures, disconnects (ERR_NONE: asked for) or messages_dropped with the reason's name. Anything else:
// nothing.
void series_count(struct iotix_series *series, enum iotix_reason what, enum error_code reason);
