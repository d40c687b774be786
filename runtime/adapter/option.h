// Values of adapters' options, from JSON. label: what the option is called in errors, "mqtt option queue.max". All
// return -1 with ERR_INVALID, "LABEL: expected WHAT, got VALUE"; *out is then not to be used.
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
