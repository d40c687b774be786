// How single values are written in each encoding: what encoder.h puts messages together from, and the payload library
// of Lua too. All appenders return 0, or -1 at the cap of `out`; then `out` may hold a part, which the caller cuts off.
#pragma once
#include <stdbool.h>
#include "core/buf.h"
#include "telemetry/value.h"

// --- values -------------------------------------------------------------------------------------------------------

// The value as the type that is declared, where there is a sensible way: numbers, integers (rounded half to even,
// saturating) and booleans in each other's place. Others stay what they are.
struct value encode_as(enum value_type declared, const struct value *v);
// v rounded half away from zero to `precision` digits after the point (what JSON prints); < 0: v itself. No -0.
double encode_round(double v, int precision);
// A decimal number, whatever the locale. False: it is none, or over 127 bytes.
bool encode_text_number(const char *s, size_t n, double *out);
// Bytes as UTF-8: what is none becomes U+FFFD. clean: encode_clean_length(s, n), n when nothing is to be replaced.
size_t encode_clean_length(const char *s, size_t n);
int encode_put_clean(struct buf *out, const char *s, size_t n, size_t clean) WARN_UNUSED_RESULT;

// --- binary -------------------------------------------------------------------------------------------------------

enum binary_format {
    BINARY_U8,
    BINARY_I8,
    BINARY_U16,
    BINARY_I16,
    BINARY_U32,
    BINARY_I32,
    BINARY_U64,
    BINARY_I64,
    BINARY_F32,
    BINARY_F64,
    BINARY_BOOL,
    BINARY_TEXT,  // its length as u16, then its bytes; cut at a character when it is over 65,535 bytes
    BINARY_BYTES, // as they are
};
// "u8" … "bool", NULL-terminated: what a number can be written as, by enum.
const char *const *binary_format_names(void);
// Rounds half to even and clamps to what the format holds; NaN is 0 in a whole number. Null is zeros.
int binary_put(struct buf *out, enum binary_format format, bool big_endian, const struct value *v) WARN_UNUSED_RESULT;
// The lowest n (1..8) bytes of v.
int binary_put_uint(struct buf *out, uint64_t v, unsigned n, bool big_endian) WARN_UNUSED_RESULT;

// --- CSV (RFC 4180) -----------------------------------------------------------------------------------------------

// Whether a character can stand between fields: a tab, or printable and neither a letter, a digit nor one of " ' . + -
// _
bool csv_delimiter_valid(char c);
// In quotes where it must be, and when it is empty (an empty field without quotes is null).
int csv_put_text(struct buf *out, const char *s, size_t n, char delimiter) WARN_UNUSED_RESULT;

// --- InfluxDB line protocol ---------------------------------------------------------------------------------------

enum influx_part { INFLUX_MEASUREMENT, INFLUX_KEY }; // KEY: tag keys, tag values, field keys
// Escapes the bytes of `out` from `from` on in place. Line breaks become \n, backslashes at the end are cut off: the
// protocol cannot carry either.
int influx_escape(struct buf *out, uint32_t from, enum influx_part part) WARN_UNUSED_RESULT;
int influx_put_text(struct buf *out, const char *s, size_t n, enum influx_part part) WARN_UNUSED_RESULT;
// A string value, in quotes.
int influx_put_string(struct buf *out, const char *s, size_t n) WARN_UNUSED_RESULT;
// "ns", "us", "ms", "s", NULL; and a time of microseconds in that unit, saturating.
const char *const *influx_precisions(void);
int influx_put_time(struct buf *out, int64_t wall_us, unsigned precision) WARN_UNUSED_RESULT;
// NULL, or why InfluxDB takes no tag or field of this name (`time`, names that begin with _).
const char *influx_name_problem(const char *name);

// --- Sparkplug B --------------------------------------------------------------------------------------------------

// Numbers of the specification (Sparkplug 3.0, 6.4.16).
enum sparkplug_type {
    SPARKPLUG_INT8 = 1,
    SPARKPLUG_INT16,
    SPARKPLUG_INT32,
    SPARKPLUG_INT64,
    SPARKPLUG_UINT8,
    SPARKPLUG_UINT16,
    SPARKPLUG_UINT32,
    SPARKPLUG_UINT64,
    SPARKPLUG_FLOAT,
    SPARKPLUG_DOUBLE,
    SPARKPLUG_BOOLEAN,
    SPARKPLUG_STRING,
    SPARKPLUG_DATETIME,
    SPARKPLUG_TEXT,
    SPARKPLUG_UUID,
    SPARKPLUG_BYTES = 17,
};

struct sparkplug_metric {
    const char *name; // NULL: by alias
    size_t name_len;
    bool has_alias, has_timestamp;
    uint64_t alias;
    uint64_t timestamp; // ms since 1970
    enum sparkplug_type type;
    bool declared;      // the type is written: in births
    int precision;      // of a number as a text, -1: as buf_append_number chooses
    struct value value; // what the type cannot hold goes out as null
};
enum sparkplug_type sparkplug_type_of(enum value_type declared);
// Whether the type can hold the value, if it is a number; every type can hold null.
bool sparkplug_fits(enum sparkplug_type type, const struct value *v);
int sparkplug_put_timestamp(struct buf *out, uint64_t ms) WARN_UNUSED_RESULT;
int sparkplug_put_metric(struct buf *out, const struct sparkplug_metric *m) WARN_UNUSED_RESULT;
int sparkplug_put_seq(struct buf *out, unsigned seq) WARN_UNUSED_RESULT;
// The metrics bdSeq (births and deaths) and Node Control/Rebirth (births of nodes), which have no alias.
int sparkplug_put_bd_seq(struct buf *out, uint64_t bd_seq, uint64_t ms) WARN_UNUSED_RESULT;
int sparkplug_put_rebirth(struct buf *out, uint64_t ms) WARN_UNUSED_RESULT;
// A whole message of a model's data (NDATA): metrics by alias.
struct encoder_field;
int sparkplug_put_data(struct buf *out, const struct encoder_field *fields, unsigned n, const struct value *values,
                       int64_t wall_us, unsigned seq) WARN_UNUSED_RESULT;
