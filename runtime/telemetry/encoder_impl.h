// A compiled encoding: made in encoder.c, written by encode_message.c. Private to the room.
#pragma once
#include "telemetry/encode.h"
#include "telemetry/encoder.h"

struct encoder_slot {
    const char *name; // owned
    enum value_type type;
    int precision;
    enum binary_format format;
    uint32_t at, len; // CBOR: the key's item; influx: the escaped key and '='; in encoder.literals
};

struct encoder_tag {
    uint32_t at, len; // ",key=" in encoder.literals
    struct payload *value;
};

struct encoder {
    enum encoding encoding;
    bool timestamp, header, big_endian;
    char delimiter;
    unsigned precision; // influx: of the time
    unsigned n, n_tags;
    struct encoder_slot *fields;
    struct encoder_field *metrics; // sparkplug: the fields side by side
    struct buf literals;
    uint32_t head_len;            // CBOR: the map's head; CSV: the header line; at the front of literals
    uint32_t time_at, time_len;   // CBOR: the key of the timestamp
    struct payload *json;         // json
    struct payload *measurement;  // influx
    uint32_t model_at, model_len; // influx: what stands in for an empty measurement
    struct encoder_tag *tags;
};
