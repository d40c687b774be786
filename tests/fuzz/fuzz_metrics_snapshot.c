// Any bytes as a snapshot: refused, or merged into a registry that encodes to bytes which merge to the same again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct metrics *m, struct buf *out)
{
    buf_create(out, 1 << 26);
    if (metrics_encode(m, out))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    struct metrics *m = metrics_new(1000), *again = metrics_new(1000);
    struct buf first, second;
    struct hist *h = hist_new();
    if (hist_decode_merge(h, data, size) > (int64_t)size)
        abort();
    hist_percentile(h, 99);
    hist_delete(h);
    error_clear(&err);
    if (metrics_merge(m, data, size, &err) && err.code == ERR_NONE)
        abort();
    encode(m, &first);
    if (metrics_merge(again, first.data, first.len, &err))
        abort();
    encode(again, &second);
    if (first.len != second.len || memcmp(first.data, second.data, first.len))
        abort();
    buf_clear(&second);
    if (metrics_prometheus(m, &second))
        abort();
    buf_destroy(&first);
    buf_destroy(&second);
    metrics_delete(m);
    metrics_delete(again);
    return 0;
}
