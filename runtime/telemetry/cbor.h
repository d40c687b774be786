// CBOR (RFC 8949): writers of single items in their shortest form (section 4.2.1), and a reader for what comes from
// outside. All writers append: 0, or -1 at the cap of `out` with `out` as it was.
#pragma once
#include <stdbool.h>
#include "core/buf.h"

enum cbor_major { CBOR_UINT, CBOR_NINT, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG, CBOR_SIMPLE };
enum { CBOR_FALSE = 20, CBOR_TRUE, CBOR_NULL, CBOR_UNDEFINED }; // numbers of CBOR_SIMPLE

#define CBOR_MAX_DEPTH 64u // of nesting, for reading
#define CBOR_HEAD_MAX 9u   // bytes of a head or a number

// The head of an item in its shortest form, at `to`, which has room for CBOR_HEAD_MAX; returns its length.
unsigned cbor_head(uint8_t *to, enum cbor_major major, uint64_t v);
// A number as the shortest of half, single and double that is exact; NaN is always f9 7e 00. Room and result as above.
unsigned cbor_double(uint8_t *to, double v);
unsigned cbor_int(uint8_t *to, int64_t v);

int cbor_put_head(struct buf *out, enum cbor_major major, uint64_t v) WARN_UNUSED_RESULT;
int cbor_put_int(struct buf *out, int64_t v) WARN_UNUSED_RESULT;
int cbor_put_double(struct buf *out, double v) WARN_UNUSED_RESULT;
int cbor_put_bytes(struct buf *out, const void *bytes, size_t n) WARN_UNUSED_RESULT;
// Bytes that are no UTF-8 become U+FFFD: a CBOR text is always valid.
int cbor_put_text(struct buf *out, const char *s, size_t n) WARN_UNUSED_RESULT;
// A JSON text as the items it stands for: whole numbers within 64 bits as integers, others as floats, keys in the order
// they stand. What is no JSON, or deeper than CBOR_MAX_DEPTH, becomes null.
int cbor_put_json(struct buf *out, const char *text, size_t n) WARN_UNUSED_RESULT;

struct cbor_item {
    enum cbor_major major;
    bool indefinite; // BYTES TEXT ARRAY MAP: what follows ends with a break; SIMPLE: the item is the break itself
    bool real;       // SIMPLE: a float, in `number`
    uint64_t value; // the number; NINT: -1 - value; BYTES, TEXT: length; ARRAY, MAP: members; TAG: which; SIMPLE: which
    double number;
    const uint8_t *bytes; // BYTES, TEXT that are not indefinite: within what was read
};

// One head, with the bytes of a string: how many bytes that took, 0 when they are malformed or cut off.
size_t cbor_read(const uint8_t *p, size_t n, struct cbor_item *out);
// Whether n bytes are exactly one well-formed item: lengths, nesting, breaks, UTF-8 of texts. max_items: how many heads
// there may be. -1: err says what is wrong at which byte.
int cbor_check(const uint8_t *p, size_t n, size_t max_items, struct error *err) WARN_UNUSED_RESULT;
