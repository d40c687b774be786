// A measured trace: what time, round trip, loss and rate were, row by row. Private to the room.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

#define TRACE_ROWS_MAX 100000u
#define TRACE_BYTES_MAX (8u << 20) // of a CSV

struct trace_row {
    int64_t t_us;
    double rtt_us, loss, rate; // NAN: not touched
};

struct trace; // immutable, counted

// {"rows": [[t, rtt, loss, rate], …] | "csv": TEXT, "repeat": bool}, see fault_spec.h. Times ascend from 0 on. A rate
// of 0 is 1 bit/s: the network stands still until the next row. label: in front of errors, which name the row.
struct trace *trace_parse(const char *label, const json_t *v, struct error *err) WARN_UNUSED_RESULT;
struct trace *trace_ref(struct trace *t);
void trace_release(struct trace *t);       // NULL: nothing
json_t *trace_json(const struct trace *t); // NULL without memory
unsigned trace_rows(const struct trace *t);
// The row in force t_us after the beginning; NULL: before the first. A trace that repeats begins again when its last
// row has lasted as long as the one before it.
const struct trace_row *trace_at(const struct trace *t, int64_t t_us);
// When, after t_us, the next row begins; INT64_MAX: never.
int64_t trace_next_us(const struct trace *t, int64_t t_us);
bool trace_has_rtt(const struct trace *t);
bool trace_has_rate(const struct trace *t);
