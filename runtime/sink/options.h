// What the options of all sinks have in common: reading them from a table, with defaults, into a table that has them
// all. Values are those of core/option.h, as people write them; the result has bytes and microseconds.
#pragma once
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

struct sink_fields {
    const char *type; // "influx": for messages
    const json_t *in; // may be NULL
    json_t *out;      // made by whoever reads
    struct error *err;
    int failed;
};

// Each: the option or its default into out, under the same name. Nothing happens once one has failed.
void sink_text(struct sink_fields *f, const char *key, const char *dflt); // dflt NULL: absent
void sink_bool(struct sink_fields *f, const char *key, bool dflt);
void sink_count(struct sink_fields *f, const char *key, uint32_t dflt, uint32_t min, uint32_t max);
void sink_size(struct sink_fields *f, const char *key, uint64_t dflt, uint64_t min, uint64_t max);
void sink_duration(struct sink_fields *f, const char *key, int64_t dflt_us, int64_t min_us, int64_t max_us);
void sink_choice(struct sink_fields *f, const char *key, const char *dflt, const char *const *names);
// false, or a text.
void sink_text_or_false(struct sink_fields *f, const char *key, const char *dflt);
// The query of a target, "org=a&gzip=false", as options: %XX is decoded, "+" is a space.
int sink_query(const char *query, json_t *into, struct error *err) WARN_UNUSED_RESULT;
// An error of the whole. "%s sink: …"
void sink_fail(struct sink_fields *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
