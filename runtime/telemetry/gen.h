// Value generators: pure functions of (spec, state, rng, time). The spec is parsed once and shared by a group; the
// state is 16 bytes a device and attribute. No allocation and no failure after parsing.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "core/rng.h"
#include "telemetry/value.h"

struct gen_spec; // immutable after gen_parse

struct gen_state {
    union {
        double number;
        int64_t integer;
    };
    uint32_t step;  // how many values came before (wraps)
    uint32_t flags; // the generator's own
};
_Static_assert(sizeof(struct gen_state) == 16, "one per device and attribute: 100,000 devices pay for every byte");

#define GEN_MAX_VALUES 65536u       // elements of `values` of one generator
#define GEN_MAX_TEXT (1024u * 1024) // bytes of all texts of one generator

// Makes a generator of the `generator` object of a model attribute or of iotix.gen. It comes validated by the schema
// when it is a model's; still every field is checked here.
//
// type: which type the attribute declares decides what the generator yields. VALUE_INTEGER rounds half to even
// (uniform: every whole number in [min,max] equally often) and saturates at int64; VALUE_BOOLEAN is value >= 0.5 of a
// numeric generator; VALUE_STRING yields the numbers of a numeric generator as VALUE_NUMERAL; VALUE_JSON and
// VALUE_BINARY take the value-list generators only; VALUE_NULL means undeclared: every value keeps its own JSON type. A
// JSON null in value or values yields VALUE_NULL whatever is declared.
//
//   uniform {min,max}  normal {mean,stddev,min?,max?: clamped}  exponential {rate or mean, min?: added, max?: clamped}
//   walk {start?,step,min?,max?: reflected at the bounds; the first value is start (default: the middle of the bounds,
//     else the bound there is, else 0), then each step is uniform in [-step,step]}
//   sequence {start 0, step 1, min?, max?, wrap false: stays at the bound; wrap true: goes on from the opposite bound,
//   or
//     from start}  or {values:[...], wrap true}
//   constant {value null}   choice {values:[...], weights?:[...]}
//   random {distribution uniform | normal | exponential, min?, max?, mean?, stddev?, rate?}: the published format.
//     Defaults as published: min 0, max 100 (boolean: 1), mean the middle, stddev a sixth of the range, rate 1; normal
//     and exponential are clamped to the bounds that are written (an unwritten default bound does not clamp).
// The published format lets random, sequence and constant carry each other's keys; so does this. The others are strict.
//
// NULL: err says which field, what is wrong and what is valid ("min: expected a number, got a string"); the caller puts
// the place in front (error_prefix). replay and custom are ERR_UNSUPPORTED: they are no pure functions.
struct gen_spec *gen_parse(const json_t *generator, enum value_type type, struct error *err);
void gen_delete(struct gen_spec *spec);
void gen_init(const struct gen_spec *spec, struct gen_state *state, struct rng *rng);
// The next value. wall_us: wall time; no generator of today looks at it. Texts in `out` belong to the spec.
void gen_next(const struct gen_spec *spec, struct gen_state *state, struct rng *rng, int64_t wall_us,
              struct value *out);
// NULL-terminated names of all generator types that gen_parse takes, for error texts.
const char *const *gen_type_names(void);
