// Values of options, from JSON. label: what the option is called in errors, "mqtt option queue.max". All
// return -1 with ERR_INVALID, "LABEL: expected WHAT, got VALUE" (v may be NULL: nothing); *out is then not to be used.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

int option_expected(const char *label, const char *what, const json_t *v, struct error *err);
int option_bool(const char *label, const json_t *v, bool *out, struct error *err) WARN_UNUSED_RESULT;
// A whole number (Lua has only doubles, so 60.0 is one).
int option_count(const char *label, const json_t *v, uint32_t min, uint32_t max, uint32_t *out,
                 struct error *err) WARN_UNUSED_RESULT;
int option_number(const char *label, const json_t *v, double min, double max, double *out,
                  struct error *err) WARN_UNUSED_RESULT;
// "10s" or a number of seconds.
int option_duration(const char *label, const json_t *v, int64_t min_us, int64_t max_us, int64_t *out,
                    struct error *err) WARN_UNUSED_RESULT;
// "256KB" or a number of bytes.
int option_size(const char *label, const json_t *v, uint32_t min, uint32_t max, uint32_t *out,
                struct error *err) WARN_UNUSED_RESULT;
// "5%", "0.05" or a number from 0 to 1.
int option_share(const char *label, const json_t *v, double min, double max, double *out,
                 struct error *err) WARN_UNUSED_RESULT;
// "500kbit" or a number of bits a second.
int option_rate(const char *label, const json_t *v, double min, double max, double *out,
                struct error *err) WARN_UNUSED_RESULT;
// Place of a text among `names` (NULL-terminated), -1: none of them.
int option_choice(const char *label, const json_t *v, const char *const *names, struct error *err) WARN_UNUSED_RESULT;
// v must be an object, all of its keys among `names`; expected: what v may be, for people.
int option_object(const char *label, const json_t *v, const char *expected, const char *const *names,
                  struct error *err) WARN_UNUSED_RESULT;
