// A value that may change with time: constant, a ramp, or a sine. Pure functions of the time since it began.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

enum vary_unit { VARY_DURATION, VARY_SHARE, VARY_RATE }; // us; 0..1; bit/s
enum vary_shape { VARY_CONSTANT, VARY_RAMP, VARY_SINE };

#define VARY_DURATION_MAX_US INT64_C(3600000000)
#define VARY_RATE_MIN 1.0
#define VARY_RATE_MAX 1e12

struct vary {
    uint8_t shape;   // enum vary_shape
    uint8_t unit;    // enum vary_unit
    double a, b;     // constant: a; ramp: from a to b; sine: a is the mean, b the amplitude
    int64_t over_us; // ramp: how long, then b stays; sine: the period
    double phase;    // sine: share of a period, 0..1
};

// A constant (as its unit is written), {"ramp": {from, to, over}} or {"sine": {mean, amplitude, period, phase}}.
// Durations up to an hour, shares 0..1, rates 1 bit/s to 1 Tbit/s, at every time. label: in front of errors.
int vary_parse(const char *label, const json_t *v, enum vary_unit unit, struct vary *out,
               struct error *err) WARN_UNUSED_RESULT;
// Whether the JSON has the form of a value that changes.
bool vary_is_shape(const json_t *v);
// Seconds, shares, bit/s. NULL without memory.
json_t *vary_json(const struct vary *v);
void vary_halve(struct vary *v);        // half of it at every time; durations to whole us
double vary_high(const struct vary *v); // the most that it ever is
// For people: "200 ms", "5 %", "from 1 Mbit/s to 50 kbit/s in 10.0 s". Returns dst.
char *vary_format(const struct vary *v, char *dst, size_t size);

double vary_moving(const struct vary *v, int64_t t_us); // not for callers
// t_us: since it began; before: as at the beginning.
static inline double vary_at(const struct vary *v, int64_t t_us)
{
    return v->shape == VARY_CONSTANT ? v->a : vary_moving(v, t_us);
}
// When, after t_us, it is worth asking again: every 1/64 of a ramp (its end included) or period, at least 10 ms on.
// INT64_MAX: it stays as it is.
int64_t vary_next_us(const struct vary *v, int64_t t_us);
