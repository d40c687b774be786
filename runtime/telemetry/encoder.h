// Payload encoders: the values of one message as bytes. Compiled once a stream; writing allocates nothing but room in
// `out`. JSON objects and templates are payload.h; the encoder of type json wraps them.
//
//   "json"                   {"a":1,…,"timestamp":ms}
//   "cbor"                   the same as a map (RFC 8949), floats as the shortest of half, single, double that is
//   exact,
//                            integers as integers, binary as byte strings, JSON values as what they are
//   "binary"                 the values one after the other, each in its `format`
//   "csv"                    one line; the order is that of the attributes, the timestamp (ms) first
//   "influx"                 InfluxDB line protocol
//   "sparkplug"              Sparkplug B payload (protobuf), with seq and metric aliases after a birth
// or an object {"type": …, options}; see docs/reference/payloads.md. The Lua hook ("lua") is the device room's.
#pragma once
#include <jansson.h>
#include "core/buf.h"
#include "telemetry/payload.h"

enum encoding { ENCODING_JSON, ENCODING_CBOR, ENCODING_BINARY, ENCODING_CSV, ENCODING_INFLUX, ENCODING_SPARKPLUG };
const char *encoding_name(enum encoding e);

struct encoder_field {
    const char *name;
    enum value_type type;
    int precision;      // digits after the point (not in binary); -1: 6 at most in texts, the number as it is in CBOR
                        // and Sparkplug
    const char *format; // binary: u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool; NULL: f32, i32, bool by type; a text is
                        // its length as u16 and its bytes, binary its bytes alone
    unsigned alias;     // sparkplug: number of the metric in its device, from 1 on
};

struct encoder;

// spec: a string or an object, NULL: json. fields are copied. measurement: name of the model, for influx. NULL: unknown
// encoding or option (names the valid ones), a format that the type cannot have.
struct encoder *encoder_new(const json_t *spec, const struct encoder_field *fields, unsigned n, const char *measurement,
                            struct error *err);
void encoder_delete(struct encoder *e);
enum encoding encoder_encoding(const struct encoder *e);
// Appends one message; scope->values are by position of the fields. seq: sparkplug, 0..255. -1 at the cap of `out`,
// with `out` as it was. VALUE_NULL: null in JSON and CBOR, an empty field in CSV, left out in influx, is_null in
// sparkplug, zeros in binary. A message of which nothing is left (influx without values, CSV of a single null) is 0
// bytes: not to be sent. Values of another type than the declared one are converted between number, integer and
// boolean.
int encoder_write(const struct encoder *e, const struct payload_scope *scope, unsigned seq,
                  struct buf *out) WARN_UNUSED_RESULT;

// Sparkplug B of a node (spBv1.0/GROUP/NBIRTH/NODE): all metrics with name, alias, type and value, bdSeq, and
// Node Control/Rebirth, which the specification asks for; and the death certificate that is its will. seq of a birth is
// 0. -1 at the cap of `out`, with `out` as it was.
int sparkplug_birth(const struct encoder_field *fields, unsigned n, const struct value *values, int64_t wall_us,
                    uint64_t bd_seq, struct buf *out) WARN_UNUSED_RESULT;
int sparkplug_death(uint64_t bd_seq, int64_t wall_us, struct buf *out) WARN_UNUSED_RESULT;
// Whether a node command (NCMD) asks for a new birth: a metric "Node Control/Rebirth" that is true. Any bytes.
bool sparkplug_asks_rebirth(const void *payload, size_t n);
