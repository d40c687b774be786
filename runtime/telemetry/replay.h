// Recorded values: a generator that gives a dataset's rows, at the times at which they were recorded or one a sample.
//
// {dataFile, loopReplay true, column, timeColumn, timing "original"|"interval", speed 1, offset "none"|"random"|
// "index", format, chunk}. All devices of a host share the mapped file; a device keeps its row in gen_state.
//   column      name or number (from 1); default: the attribute's name, else the only column, else the second one. JSON
//               objects of an attribute of type object: default the whole row
//   timing      original: the value of the last row that is not after elapsed * speed; interval: the next row at every
//               sample. Default: original when there is a column of times (timeColumn, else "timestamp", "time", "ts")
//   loopReplay  begins again, in original timing after the mean distance of two rows. Without: stays at the last row
//   offset      where a device begins: random row of its generator, or row index - 1, round and round
// What cannot be converted to the attribute's type is VALUE_NULL; that none of the first 1,000 rows can be is an error.
#pragma once
#include "telemetry/gen.h"

struct replay;

// samples: of a binary attribute, or NULL. With a binary file a chunk goes out as it is; with any other, `count` rows
// are packed, each clamped to what a sample can hold, and the next message goes on behind them (interval). attribute:
// the default column, may be NULL. Needs env->datasets (ERR_UNSUPPORTED without), which must outlive the replay. NULL:
// err names the key, or file and line.
struct replay *replay_new(const json_t *generator, enum value_type type, const struct gen_samples *samples,
                          const char *attribute, const struct gen_env *env, struct error *err);
void replay_delete(struct replay *r);
void replay_init(const struct replay *r, struct gen_state *state, struct rng *rng, const struct gen_context *context);
// Texts in `out` lie in the mapped file or in the context's scratch.
void replay_next(const struct replay *r, struct gen_state *state, const struct gen_context *context, struct value *out);
