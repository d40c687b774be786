// Reading Sparkplug B, as far as a node must: whether a command asks for a new birth. The bytes come from outside.
//
//   Payload  2 metrics       Metric  1 name  14 boolean_value
#include <string.h>
#include "core/buf.h"
#include "telemetry/encoder.h"

// The next field of a message: its number and, of a length-delimited one, its bytes. 0: the end, or malformed.
struct field {
    uint64_t number, value;
    const uint8_t *bytes;
    size_t n;
};

static size_t next_field(const uint8_t *p, size_t n, struct field *out)
{
    uint64_t key;
    size_t at = varint_read(p, n, &key), used;
    if (!at)
        return 0;
    *out = (struct field){.number = key >> 3};
    switch (key & 7) {
    case 0:
        used = varint_read(p + at, n - at, &out->value);
        return used ? at + used : 0;
    case 1:
        return n - at >= 8 ? at + 8 : 0;
    case 2:
        used = varint_read(p + at, n - at, &out->value);
        if (!used || out->value > n - at - used)
            return 0;
        out->bytes = p + at + used;
        out->n = (size_t)out->value;
        return at + used + out->n;
    case 5:
        return n - at >= 4 ? at + 4 : 0;
    default:
        return 0;
    }
}

static bool is_rebirth(const uint8_t *p, size_t n)
{
    static const char name[] = "Node Control/Rebirth";
    bool named = false, wanted = false;
    struct field f;
    for (size_t used; n && (used = next_field(p, n, &f)); p += used, n -= used) {
        if (f.number == 1 && f.bytes)
            named = f.n == sizeof(name) - 1 && memcmp(f.bytes, name, f.n) == 0;
        else if (f.number == 14 && !f.bytes)
            wanted = f.value != 0;
    }
    return named && wanted;
}

bool sparkplug_asks_rebirth(const void *payload, size_t n)
{
    const uint8_t *p = payload;
    struct field f;
    for (size_t used; n && (used = next_field(p, n, &f)); p += used, n -= used) {
        if (f.number == 2 && f.bytes && is_rebirth(f.bytes, f.n))
            return true;
    }
    return false;
}
