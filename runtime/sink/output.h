// A file that records of virtual time go into, one for all shards; "-" is stdout.
#pragma once
#include <string.h>
#include "sink/record.h"

#define OUTPUTS_MAX 8 // of one run

struct output {
    enum record_format format;
    const char *path; // borrowed
};
static inline bool output_is_stdout(const struct output *o)
{
    return o->path[0] == '-' && !o->path[1];
}
// Whether sinks of this type write files, and which.
static inline bool output_of_type(const char *type, enum record_format *format)
{
    static const char *const types[] = {"ndjson", "csv", "line-protocol"};
    for (int i = 0; type && i < RECORD_FORMAT_MAX; i++)
        if (strcmp(types[i], type) == 0) {
            *format = (enum record_format)i;
            return true;
        }
    return false;
}
