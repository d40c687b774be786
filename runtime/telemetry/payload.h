// Payload and topic templates, compiled once: literal pieces and slots. Rendering appends to a buffer without
// allocation of its own (the buffer grows to its high-water mark once).
#pragma once
#include "core/buf.h"
#include "telemetry/value.h"

#define PAYLOAD_MAX_TEXT (256u * 1024) // bytes of a template
#define PAYLOAD_MAX_VALUES 4096u       // names that one template may know

// Where a slot takes its value from.
struct payload_scope {
    const char *device_id;
    const char *group_id;
    uint64_t index;             // 1-based device index
    int64_t wall_us;            // ${timestamp}: milliseconds since 1970; ${timestampIso}: RFC 3339 with ms
    const char *attribute;      // ${attribute}: name of the attribute being published, or NULL
    const struct value *values; // by position, as declared to payload_compile
    const struct dataset *data; // ${data.COLUMN}: of its row index - 1; what payload_compile_data was given
    // Behind a gateway: its id, and the child's number. Named only by PAYLOAD_GATEWAY_ID and PAYLOAD_CHILD_INDEX.
    const char *gateway_id;
    uint32_t child_index;
};

// Names that the device room puts into the patterns of a gateway's children, where ${deviceId} is the child. No author
// writes them; they are in no list of valid names.
#define PAYLOAD_GATEWAY_ID "gateway__id"
#define PAYLOAD_CHILD_INDEX "child__index"

struct payload; // compiled template
struct dataset;

// Compiles text with ${name} and the older {name} (only [A-Za-z][A-Za-z0-9_]* between braces; anything else in
// braces is literal, `$${` is a literal `${`). Names: value_names[0..n-1], then deviceId, groupId, index, timestamp,
// timestampIso, attribute (a value of the same name hides these). An unknown ${name} is an error that lists the valid
// ones; an unknown {name} is literal. precision[i]: digits after the point of value i, 0..9, -1 = 6 at most; precision
// NULL = all -1. json: values are written as JSON: strings and ids quoted and escaped, binary as a base64 string; where
// the template itself has opened a quote ("${name}"), escaped without quotes of their own. Otherwise as plain text,
// binary raw. NULL: err says what is wrong and what is valid.
struct payload *payload_compile(const char *text, const char *const *value_names, const int *precision,
                                unsigned n_values, bool json, struct error *err);
// The same with ${data.COLUMN}: the field of the device's row, as text as it is written (an empty one is nothing, as
// JSON a string). A column's name goes to the closing brace. data NULL: ${data.…} is an error that says what to give;
// it must outlive the payload.
struct payload *payload_compile_data(const char *text, const char *const *value_names, const int *precision,
                                     unsigned n_values, bool json, const struct dataset *data, struct error *err);
// The default object {"attr":v,...,"timestamp":ms} for these attributes, in declared order. An attribute that is itself
// named timestamp takes the place of the automatic one.
struct payload *payload_compile_object(const char *const *value_names, const int *precision, unsigned n_values,
                                       bool with_timestamp, struct error *err);
void payload_delete(struct payload *p);
// Appends. At the cap of `out`, or without memory: -1 with `out` as it was. A NULL id in the scope is written as an
// empty string.
int payload_render(const struct payload *p, const struct payload_scope *scope, struct buf *out) WARN_UNUSED_RESULT;
