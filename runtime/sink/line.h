// The pieces of InfluxDB's line protocol: MEASUREMENT,TAG=VALUE… FIELD=VALUE… TIME.
// https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
#pragma once
#include "core/buf.h"

#define LINE_MEASUREMENT ", "
#define LINE_TAG ",= " // keys and values of tags, keys of fields

// All of them: -1 when out is full or there is no memory.
//
// A name with a backslash in front of what has a meaning there (`special`: one of the two above). A control character
// and a backslash at the end have no form at all: "_".
int line_name(struct buf *out, const char *s, size_t n, const char *special) WARN_UNUSED_RESULT;
// ",KEY=VALUE"; nothing for an empty value, which has no form.
int line_tag(struct buf *out, const char *key, const char *value, size_t n) WARN_UNUSED_RESULT;
// A text as the value of a field: quoted, line breaks as spaces.
int line_text(struct buf *out, const char *s, size_t n) WARN_UNUSED_RESULT;
// The scalar members of a JSON object that json_scan has accepted, as fields; "timestamp" is left out where it says
// what the time of the line says: at_ms, give or take within_ms. Every number is a float: an attribute must not change
// its type from value to value. 1: some, 0: none.
int line_fields(struct buf *out, const uint8_t *json, size_t n, int64_t at_ms, int64_t within_ms) WARN_UNUSED_RESULT;
