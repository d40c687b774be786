// What gen_parse.c fills and gen.c runs. Private to the room.
#pragma once
#include "telemetry/gen.h"

enum gen_kind {
    GEN_UNIFORM,         // low + span * [0,1)
    GEN_UNIFORM_INTEGER, // ilow + [0,icount)
    GEN_NORMAL,          // mean, stddev, clamped
    GEN_EXPONENTIAL,     // offset + mean * exp(1), clamped
    GEN_WALK,            // start, step, reflected
    GEN_SEQUENCE,        // start + k * step
    GEN_LIST,            // values in turn
    GEN_CHOICE,          // values at random
    GEN_CHOICE_WEIGHTED, // values at random by weight
    GEN_CONSTANT,        // values[0]
};

struct gen_spec {
    enum gen_kind kind;
    enum value_type type; // declared type of the attribute
    bool wrap;            // sequence and list
    double min, max;      // bounds, -inf and +inf when there is none
    double start;         // walk, sequence; offset of exponential
    double step;          // walk, sequence
    double mean;          // normal, exponential
    double stddev;        // normal
    int64_t ilow;         // uniform of whole numbers: the lowest
    uint64_t icount;      // and how many there are
    unsigned n;           // values
    unsigned last;        // highest index with a weight above 0
    struct value *values; // converted to the declared type; texts lie in `texts`
    double *cumulative;   // weights summed up, NULL without weights
    char **texts;         // owned copies, n entries, NULL where there is none
};
