// What gen_parse*.c fill and gen*.c run. Private to the room.
#pragma once
#include "telemetry/gen.h"

enum gen_kind {
    GEN_UNIFORM,         // low + span * [0,1)
    GEN_UNIFORM_INTEGER, // low + [0,count)
    GEN_NORMAL,          // mean, stddev, clamped
    GEN_EXPONENTIAL,     // start + mean * exp(1), clamped
    GEN_LOGNORMAL,       // exp(mean + stddev * normal), clamped
    GEN_POISSON,         // whole numbers around mean, clamped
    GEN_WEIBULL,         // start + mean * exp(1)^exponent, clamped
    GEN_WALK,            // start, step, reflected
    GEN_OU,              // mean-reverting, reflected
    GEN_SINE,
    GEN_SQUARE,
    GEN_SAW,
    GEN_TRIANGLE,
    GEN_SEASONAL,
    GEN_STEP,            // values by the time
    GEN_SEQUENCE,        // start + k * step
    GEN_LIST,            // values in turn
    GEN_CHOICE,          // values at random
    GEN_CHOICE_WEIGHTED, // values at random by weight
    GEN_CONSTANT,        // values[0]
    GEN_MARKOV,          // values by a chain
    GEN_CORRELATED,      // an expression
    GEN_CUSTOM,          // a hook
    GEN_REPLAY,          // a file
    GEN_GPS,             // a route
    GEN_OBJECT,          // members
    GEN_ARRAY,           // members[0], several times
    GEN_SAMPLES,         // members[0], several times, as packed bytes
};

enum gen_direction { GEN_UP, GEN_DOWN, GEN_PINGPONG };

// A generator within another. An array and samples have one of them, without a key.
struct gen_member {
    struct gen_spec *spec;
    char *key;       // `"name":` as it stands in the text, NULL in an array
    unsigned n_key;  // bytes of it
    unsigned state;  // where its states begin among those of the whole
    unsigned stride; // array: from one element's states to the next's; 0: they share one
};

enum anomaly_kind { ANOMALY_SPIKE, ANOMALY_DRIFT, ANOMALY_STUCK, ANOMALY_DROPOUT, ANOMALY_NOISE };
enum anomaly_when { ANOMALY_PROBABILITY, ANOMALY_AT, ANOMALY_EVERY };

struct gen_anomaly {
    enum anomaly_kind kind;
    enum anomaly_when when;
    bool relative;       // spike: of the value
    double amount;       // magnitude, per second, stddev
    double probability;  // ANOMALY_PROBABILITY
    int64_t time_us;     // at or every
    int64_t duration_us; // 0: one sample
    unsigned state;      // where its states begin: when it began; stuck: the value that is held
};

struct gen_wave {
    double amplitude; // sine
    double noise;     // stddev
    double phase;     // 0..1
    double duty;      // square: part of the period that is high
    int64_t period_us;
    bool falling; // saw
};

struct gen_seasonal {
    double amplitude, peak_hour, noise;
    double weekly[7]; // Monday first
    int64_t offset_us;
};

struct gen_spec {
    enum gen_kind kind;
    enum value_type type; // declared type of the attribute
    unsigned n_states;    // all of them
    unsigned n_anomalies;
    double min, max; // bounds, -inf and +inf when there is none
    double start;    // walk, ou, sequence; offset of exponential, weibull
    double step;     // walk, sequence
    double mean;     // normal, exponential, poisson, ou, sine, seasonal; scale of weibull; mu of lognormal
    double stddev;   // normal, lognormal; noise of correlated
    union {
        struct {
            int64_t low;    // the lowest
            uint64_t count; // and how many there are, 0: 2^64
        } whole;            // uniform
        struct {
            double exp_minus_mean;              // below a mean of 10
            double log_mean, a, b, v_r, log_ia; // from there on: see gen_random.c
        } poisson;
        struct {
            double reversion, volatility; // per second, per square root of a second
        } ou;
        struct gen_wave wave; // sine, square (min is low, max is high), saw, triangle
        struct gen_seasonal seasonal;
        double exponent; // weibull: 1/shape
        int64_t hold_us; // step
        int hook;        // custom
        struct {
            unsigned low, high; // length
        } array;
        struct gen_samples samples;
    };
    bool wrap; // sequence and list
    bool uses_values, uses_hook, uses_scratch;
    bool memoryless;              // needs no state: one may stand for all elements of an array
    enum gen_direction direction; // sequence and list
    unsigned n;                   // values
    struct value *values;         // converted to the declared type; texts lie in `texts`
    double *cumulative;           // weights summed up, NULL without; markov: n rows of n
    char **texts;                 // owned copies, n entries, NULL where there is none
    struct gen_anomaly *anomalies;
    struct gen_member *members;
    unsigned n_members;
    struct expr *expr; // correlated
    json_t *params;    // custom
    struct replay *replay;
    struct route *path;
};

// gen.c
int64_t gen_to_integer(double x); // half to even, saturated: a conversion out of range would be undefined
// A number as the declared type.
void gen_finish(const struct gen_spec *spec, double x, struct value *out);
double gen_clamp(const struct gen_spec *spec, double x);
double gen_reflect(const struct gen_spec *spec, double x);
// gen_random.c
double gen_poisson(const struct gen_spec *spec, struct rng *rng);
double gen_weibull(const struct gen_spec *spec, struct rng *rng);
double gen_lognormal(const struct gen_spec *spec, struct rng *rng);
unsigned gen_weighted(const double *cumulative, unsigned n, struct rng *rng); // cumulative[n-1] is 1
unsigned gen_markov(const struct gen_spec *spec, struct gen_state *state, struct rng *rng);
// gen_time.c: functions of the time
double gen_wave(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context);
double gen_seasonal(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context);
double gen_ou(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context);
unsigned gen_step_index(const struct gen_spec *spec, const struct gen_context *context);
// gen_compose.c: what others make. A value that does not fit the type becomes VALUE_NULL.
void gen_coerce(enum value_type type, struct value *v);
void gen_correlated(const struct gen_spec *spec, struct rng *rng, const struct gen_context *context, struct value *out);
void gen_custom(const struct gen_spec *spec, const struct gen_context *context, struct value *out);
void gen_object(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                const struct gen_context *context, struct value *out);
void gen_array(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
               const struct gen_context *context, struct value *out);
void gen_samples(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                 const struct gen_context *context, struct value *out);
// gen_anomaly.c: changes what the generator made.
void gen_distort(const struct gen_spec *spec, struct gen_state *states, struct rng *rng,
                 const struct gen_context *context, struct value *out);
