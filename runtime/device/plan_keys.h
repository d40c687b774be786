// Reading launch plans and dropouts: values that stand under either of two names (snake_case with microseconds, as the
// plan of a run carries them; camelCase with milliseconds, as the published format writes them). Private to the room.
//
// what: "launch", in front of every error.
#pragma once
#include <jansson.h>
#include "core/error.h"

#define PLAN_MAX_US (INT64_MAX / 4) // far beyond any run, and safe to add to a time

// Every key must be one of `keys` (NULL-terminated); the error lists the first n_own, and the others as alternatives.
int plan_keys(const char *what, const json_t *spec, const char *const *keys, unsigned n_own, struct error *err);
int plan_number(const char *what, const json_t *spec, const char *key, const char *published, double dflt, double *out,
                struct error *err);
int plan_duration(const char *what, const json_t *spec, const char *key, const char *published, int64_t dflt_us,
                  int64_t *out_us, struct error *err);
// Place of the member's text among `names` (NULL-terminated), < 0: error.
int plan_choice(const char *what, const json_t *spec, const char *key, const char *dflt, const char *const *names,
                struct error *err);
