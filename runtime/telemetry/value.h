// A telemetry value: what a generator makes and an encoder writes.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

enum value_type {
    VALUE_NULL,
    VALUE_NUMBER,
    VALUE_INTEGER,
    VALUE_BOOLEAN,
    VALUE_STRING,
    VALUE_BINARY,
    VALUE_JSON,
    // A number of an attribute that is declared a string: the encoder formats it, as a string in JSON. Lies in
    // `number`; nobody owns text for it. Never a declared type.
    VALUE_NUMERAL,
};

struct value {
    enum value_type type;
    union {
        double number;
        int64_t integer;
        bool boolean;
        struct {
            const char *s;
            size_t n;
        } str; // string, binary bytes, or ready JSON text; owned by the spec or the caller
    };
};
