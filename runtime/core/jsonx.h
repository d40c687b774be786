// JSON in and out of struct json_t (jansson), with our error texts. For configuration and messages between processes:
// never on the path of a device's payload.
#pragma once
#include <jansson.h>
#include "core/buf.h"

// Parses exactly one JSON value; duplicate keys, trailing text, NUL and depth > 64 are errors that name
// `what` with line and column. The result is owned by the caller (json_decref).
json_t *json_parse(const char *text, size_t n, const char *what, struct error *err);
// A JSON string of any bytes: NUL and what is no UTF-8 become U+FFFD, so that no text from outside can break a message.
// NULL only without memory.
json_t *json_text(const char *bytes, size_t n);
json_t *json_text_of(const char *s); // NUL-terminated; NULL is ""
// A number as it reads well: whole ones (to 2^53) as integers. NULL only without memory; what is not finite is null.
json_t *json_num(double v);
// Compact text appended to out; keys in insertion order.
int json_write(const json_t *v, struct buf *out, struct error *err) WARN_UNUSED_RESULT;
// Typed readers of an object's member with a default; a wrong type is an error "key: expected X, got Y".
int json_get_str(const json_t *obj, const char *key, const char *dflt, const char **out,
                 struct error *err) WARN_UNUSED_RESULT;
int json_get_int(const json_t *obj, const char *key, int64_t dflt, int64_t *out, struct error *err) WARN_UNUSED_RESULT;
int json_get_num(const json_t *obj, const char *key, double dflt, double *out, struct error *err) WARN_UNUSED_RESULT;
int json_get_bool(const json_t *obj, const char *key, bool dflt, bool *out, struct error *err) WARN_UNUSED_RESULT;
