// Value generators: pure functions of (spec, state, rng, context). The spec is parsed once and shared by a group; the
// state is 16 bytes a device and attribute (more only where gen_state_count says so: anomalies, objects). No failure
// after parsing; no allocation but from the context's scratch.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "core/rng.h"
#include "core/scratch.h"
#include "telemetry/value.h"

struct datasets;
struct gen_context;

struct gen_spec; // immutable after gen_parse

struct gen_state {
    union {
        double number;
        int64_t integer;
    };
    uint32_t step;  // how many values came before (wraps); the generator's own in ou, anomalies and composed ones
    uint32_t flags; // the generator's own
};
_Static_assert(sizeof(struct gen_state) == 16, "one per device and attribute: 100,000 devices pay for every byte");

// What a generator may look at while it makes a value.
struct gen_context {
    int64_t wall_us; // wall time of the sample
    int64_t time_us; // since this generator's first value: replay, paths, timelines of anomalies
    uint64_t index;  // 1-based device index
    // The device's latest values, by the position of their name in gen_env.names; VALUE_NULL where there is none yet.
    // NULL: correlated generators yield VALUE_NULL.
    const struct value *values;
    struct scratch *scratch; // for texts that are made anew; NULL: what needs it yields VALUE_NULL
    // custom: the value, its texts from the scratch. -1: it could not be made: VALUE_NULL. NULL: there are no hooks.
    int (*hook)(void *arg, int hook, const json_t *params, const struct gen_context *context, struct value *out);
    void *hook_arg;
};

// What names in a specification refer to. All may be NULL or 0.
struct gen_env {
    const char *const *names; // attributes that an expression may use
    unsigned n_names;
    const char *attribute;   // whose generator it is, or NULL: the default column of replay
    const char *const *dirs; // where a relative dataFile is looked for, in order
    unsigned n_dirs;
    struct datasets *datasets; // who keeps the files; NULL: replay is ERR_UNSUPPORTED
    // The number of a hook by its handler's name, or -1 with err. NULL: custom is ERR_UNSUPPORTED.
    int (*find_hook)(void *arg, const char *handler, struct error *err);
    void *find_hook_arg;
};

struct gen_samples {
    unsigned count;      // 1..GEN_MAX_SAMPLES
    unsigned bits;       // 8, 16, 32
    bool big_endian;     // else little
    bool signed_samples; // else unsigned
    // Between two messages: sample i is of the time i * interval_us / count later. 0: all of one time.
    int64_t interval_us;
};

#define GEN_MAX_VALUES 65536u       // elements of `values` of one generator
#define GEN_MAX_TEXT (1024u * 1024) // bytes of all texts of one generator
#define GEN_MAX_SAMPLES 65536u
#define GEN_MAX_STATES 4096u // gen_state of one attribute: 64 KB a device
#define GEN_MAX_DEPTH 8u     // objects and arrays within each other
#define GEN_MAX_ANOMALIES 16u
#define GEN_MAX_MARKOV 256u // states

// Makes a generator of the `generator` object of a model attribute or of iotix.gen. It comes validated by the schema
// when it is a model's; still every field is checked here. What types there are, their keys, defaults and formulas:
// docs/reference/generators.md (a test holds that page against gen_type_names and gen_type_keys).
//
// type: which type the attribute declares decides what the generator yields. VALUE_INTEGER rounds half to even
// (uniform: every whole number in [min,max] equally often) and saturates at int64; VALUE_BOOLEAN is value >= 0.5 of a
// numeric generator; VALUE_STRING yields the numbers of a numeric generator as VALUE_NUMERAL; VALUE_JSON takes object,
// array, gps and the value-list generators, VALUE_BINARY the latter; VALUE_NULL means undeclared: every value keeps its
// own JSON type. A JSON null in value or values yields VALUE_NULL whatever is declared, and so does what a hook, an
// expression or a file gives when it does not fit the type. Anomalies change the value after that, beyond min and max.
//
// The published format lets random, sequence, constant, replay and custom carry each other's keys; so does this. The
// others are strict.
//
// NULL: err says which field, what is wrong and what is valid ("min: expected a number, got a string"); the caller puts
// the place in front (error_prefix).
struct gen_spec *gen_parse(const json_t *generator, enum value_type type, const struct gen_env *env, struct error *err);
// The same for a binary attribute: every value is a packed array of samples, each drawn from `generator` (numeric) and
// rounded half to even, clamped to what a sample can hold, and 0 where there is none. A constant text, replay and
// custom generators give the bytes themselves. Anomalies act on each sample.
struct gen_spec *gen_parse_samples(const json_t *generator, const struct gen_samples *samples,
                                   const struct gen_env *env, struct error *err);
void gen_delete(struct gen_spec *spec);
// How many gen_state a generator needs side by side: 1 for a plain one.
unsigned gen_state_count(const struct gen_spec *spec);
void gen_init(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context);
// The next value. Texts in `out` belong to the spec, to a mapped file or to the context's scratch.
void gen_next(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, const struct gen_context *context,
              struct value *out);
// Whether it looks at the values of other attributes (correlated), calls a hook, or makes texts in the scratch.
bool gen_uses_values(const struct gen_spec *spec);
bool gen_uses_hook(const struct gen_spec *spec);
bool gen_uses_scratch(const struct gen_spec *spec);
// NULL-terminated names of all generator types that gen_parse takes, for error texts.
const char *const *gen_type_names(void);
// NULL-terminated keys of a type's generator object, as in JSON ("type" and "anomalies" among them); NULL: no such
// type. "anomaly": of an element of anomalies; "daily": of that object of seasonal.
const char *const *gen_type_keys(const char *type);
