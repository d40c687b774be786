// One published message, and how it is written as a line of a file.
#pragma once
#include <stdbool.h>
#include "core/buf.h"

enum record_format { RECORD_NDJSON, RECORD_CSV, RECORD_INFLUX, RECORD_FORMAT_MAX };
const char *record_format_name(enum record_format f); // "ndjson", "csv", "influx"

#define RECORD_LINE_MAX (8u << 20) // bytes of one line; a message is at most 1 MB, six bytes for one at the worst

struct record {
    int64_t wall_us;
    unsigned group; // its number: with the index the order of the records of one instant
    uint64_t index; // of the device, 1-based
    const char *group_name, *device, *topic;
    size_t group_len, device_len, topic_len;
    const uint8_t *payload;
    size_t payload_len;
    bool binary; // the payload is of an encoding that is no text: it is JSON only as an object or array
    bool influx; // the payload is InfluxDB line protocol
    // For sinks; lines of files have none of it.
    const char *model; // its id; length 0: none
    size_t model_len;
    bool physical; // of a proxy of a physical device
};

// Appends the record with its newline:
//   ndjson  {"time":RFC 3339 with ms,"group":…,"device":…,"topic":…,"payload":…}: payload as it is when it is JSON
//   (line
//           breaks between its tokens become spaces), as a string when it is UTF-8, else base64 as "payloadBase64"
//   csv     time,group,device,topic,payload: RFC 4180, LF at the end; a payload that is no UTF-8 as base64
//   influx  line protocol as it is (several lines may be); else a line of the scalar members of a JSON object,
//           measurement = group, tag device; "timestamp" is left out where it says the same as the line's time
// 1: appended. 0: this format has no line for it (influx, no JSON object or nothing scalar in it). -1: out is full or
// there is no memory, out is as it was.
int record_write(enum record_format f, const struct record *r, struct buf *out) WARN_UNUSED_RESULT;
// The first line of a file, or nothing.
const char *record_header(enum record_format f);
