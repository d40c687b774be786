// Any bytes as CBOR: refused, or walked to their end item by item and written again in the shortest form, which must be
// well-formed, no longer, and the same when it is written again. The same bytes as a JSON text give well-formed CBOR.
#include <stdlib.h>
#include <string.h>
#include "telemetry/cbor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ITEMS = 100000, MAX_BYTES = 1 << 20 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

// Everything but the pieces of indefinite strings and lengths, which keep their shape.
static void write_again(const uint8_t *p, size_t n, struct buf *out)
{
    for (size_t at = 0, k; at < n; at += k) {
        struct cbor_item item;
        static const uint8_t stop = 0xff;
        k = cbor_read(p + at, n - at, &item);
        require(k > 0 && k <= n - at);
        uint8_t open = (uint8_t)(item.major << 5 | 31);
        if (item.indefinite)
            require(buf_append(out, item.major == CBOR_SIMPLE ? &stop : &open, 1) == 0);
        else if (item.real)
            require(cbor_put_double(out, item.number) == 0);
        else if (item.major == CBOR_BYTES)
            require(cbor_put_bytes(out, item.bytes, (size_t)item.value) == 0);
        else if (item.major == CBOR_TEXT)
            require(cbor_put_text(out, (const char *)item.bytes, (size_t)item.value) == 0);
        else
            require(cbor_put_head(out, item.major, item.value) == 0);
    }
}

static void check_cbor(const uint8_t *data, size_t size)
{
    struct buf first, second;
    struct error err;
    error_clear(&err);
    if (cbor_check(data, size, MAX_ITEMS, &err)) {
        require(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        struct cbor_item item;
        for (size_t at = 0, k; at < size && (k = cbor_read(data + at, size - at, &item)); at += k)
            require(k <= size - at);
        return;
    }
    buf_create(&first, MAX_BYTES);
    buf_create(&second, MAX_BYTES);
    write_again(data, size, &first);
    require(first.len <= size);
    require(cbor_check(first.data, first.len, MAX_ITEMS, &err) == 0);
    write_again(first.data, first.len, &second);
    require(first.len == second.len && !memcmp(first.data, second.data, first.len));
    buf_destroy(&first);
    buf_destroy(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out;
    if (size > MAX_BYTES / 4)
        return 0;
    check_cbor(data, size);
    buf_create(&out, MAX_BYTES);
    require(cbor_put_json(&out, (const char *)data, size) == 0);
    require(cbor_check(out.data, out.len, MAX_BYTES, NULL) == 0);
    buf_destroy(&out);
    return 0;
}
