// Any bytes as a segment of a disk queue: entries lie within it, one behind the other, and have the checksum they say;
// and the same bytes as the answer of an InfluxDB.
#include <stdlib.h>
#include <string.h>

#include "sink/influx.h"
#include "sink/spill.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
    const uint8_t *bytes;
    size_t n, end;
};

static void entry(void *arg, uint32_t offset, const uint8_t *bytes, uint32_t len, uint32_t count, bool done)
{
    struct walk *w = arg;
    (void)done;
    if (offset != w->end || bytes != w->bytes + offset + 16 || (size_t)offset + 16 + len > w->n || !count)
        abort();
    for (uint32_t i = 0; i < len; i++) // every byte may be read
        (void)*(volatile const uint8_t *)(bytes + i);
    w->end = (size_t)offset + 16 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct walk w = {.bytes = data, .n = size, .end = 8};
    struct influx_answer a;
    size_t good = spill_scan(data, size, entry, &w);
    if (good && good != w.end)
        abort();
    influx_judge(size ? 200 + data[0] * 2u : 0, "5", data, size, 10, 0, &a);
    if (a.refused > 10 || strlen(a.text) >= sizeof(a.text))
        abort();
    struct influx_batch *b = influx_batch_load(data, size, 1);
    struct buf out;
    buf_create(&out, 1 << 20);
    if (b)
        (void)!influx_unpack(b, &out);
    buf_destroy(&out);
    influx_batch_delete(b);
    return 0;
}
