// Where records go, as the user says it: "ndjson=FILE", "csv=FILE", "influx=FILE"; "-" as FILE is stdout.
#pragma once
#include "sink/record.h"

#define OUTPUTS_MAX 8 // of one run

struct output {
    enum record_format format;
    const char *path; // points into the text
};
// -1: no FORMAT=FILE, or an unknown format (names the valid ones, with a suggestion).
int output_parse(const char *text, struct output *out, struct error *err) WARN_UNUSED_RESULT;
static inline bool output_is_stdout(const struct output *o)
{
    return o->path[0] == '-' && !o->path[1];
}
