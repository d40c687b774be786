// Lines are compressed as they come, 16 KB at a time, so that no turn of the loop has half a megabyte to compress.
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "sink/influx.h"

#define CHUNK 16384u
#define GZIP 16 // behind the window's bits: a gzip header instead of zlib's

struct influx_packer {
    bool gzip, begun;
    z_stream z;
    struct buf in;   // not compressed yet; without gzip all of it
    struct buf body; // compressed
    uint32_t lines, bytes;
};

struct influx_packer *influx_packer_new(bool gzip, struct error *err)
{
    struct influx_packer *p = calloc(1, sizeof(*p));
    if (!p || (gzip && deflateInit2(&p->z, 1, Z_DEFLATED, 15 + GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)) {
        free(p);
        error_set(err, ERR_NO_MEMORY, "no memory for batches");
        return NULL;
    }
    p->gzip = gzip;
    buf_create(&p->in, INFLUX_BODY_MAX);
    buf_create(&p->body, INFLUX_BODY_MAX);
    return p;
}

void influx_packer_delete(struct influx_packer *p)
{
    if (!p)
        return;
    if (p->gzip)
        deflateEnd(&p->z);
    buf_destroy(&p->in);
    buf_destroy(&p->body);
    free(p);
}

static int squeeze(struct influx_packer *p, int flush)
{
    p->z.next_in = p->in.data;
    p->z.avail_in = p->in.len;
    for (;;) {
        uint8_t *to = buf_reserve(&p->body, CHUNK / 2);
        if (!to)
            return -1;
        p->z.next_out = to;
        p->z.avail_out = CHUNK / 2;
        int rc = deflate(&p->z, flush);
        p->body.len += CHUNK / 2 - p->z.avail_out;
        if (rc == Z_STREAM_END || (flush == Z_NO_FLUSH && !p->z.avail_in && p->z.avail_out))
            break;
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return -1;
    }
    buf_clear(&p->in);
    return 0;
}

int influx_pack(struct influx_packer *p, const void *lines, size_t bytes, uint32_t n)
{
    if (buf_append(&p->in, lines, bytes))
        return -1;
    p->lines += n;
    p->bytes += (uint32_t)bytes;
    if (!p->gzip || p->in.len < CHUNK)
        return 0;
    return squeeze(p, Z_NO_FLUSH);
}

uint32_t influx_packed_lines(const struct influx_packer *p)
{
    return p->lines;
}

uint32_t influx_packed_bytes(const struct influx_packer *p)
{
    return p->bytes;
}

size_t influx_packed_memory(const struct influx_packer *p)
{
    return (size_t)p->in.len + p->body.len;
}

struct influx_batch *influx_pack_end(struct influx_packer *p)
{
    struct influx_batch *b = p->lines ? calloc(1, sizeof(*b)) : NULL;
    if (b && p->gzip && squeeze(p, Z_FINISH)) {
        free(b);
        b = NULL;
    }
    if (b) {
        struct buf *from = p->gzip ? &p->body : &p->in;
        buf_create(&b->body, INFLUX_BODY_MAX);
        b->lines = p->lines;
        b->gzip = p->gzip;
        if (buf_append(&b->body, from->data, from->len)) {
            free(b);
            b = NULL;
        }
    }
    if (p->gzip)
        deflateReset(&p->z);
    buf_clear(&p->in);
    buf_clear(&p->body);
    p->lines = p->bytes = 0;
    return b;
}

void influx_batch_delete(struct influx_batch *b)
{
    if (!b)
        return;
    buf_destroy(&b->body);
    free(b);
}

size_t influx_batch_memory(const struct influx_batch *b)
{
    return b->body.len + sizeof(*b);
}

static int inflate_all(const struct buf *from, struct buf *out)
{
    z_stream z = {.next_in = from->data, .avail_in = from->len};
    int rc = inflateInit2(&z, 15 + GZIP);
    if (rc != Z_OK)
        return -1;
    while (rc == Z_OK) {
        uint8_t *to = buf_reserve(out, CHUNK);
        if (!to)
            break;
        z.next_out = to;
        z.avail_out = CHUNK;
        rc = inflate(&z, Z_NO_FLUSH);
        out->len += CHUNK - z.avail_out;
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END ? 0 : -1;
}

int influx_unpack(const struct influx_batch *b, struct buf *out)
{
    buf_clear(out);
    return b->gzip ? inflate_all(&b->body, out) : buf_append(out, b->body.data, b->body.len);
}

int influx_batch_store(const struct influx_batch *b, struct buf *out)
{
    buf_clear(out);
    return buf_append_char(out, b->gzip ? 'z' : 'l') || buf_append(out, b->body.data, b->body.len) ? -1 : 0;
}

struct influx_batch *influx_batch_load(const uint8_t *bytes, size_t n, uint32_t count)
{
    struct influx_batch *b = n > 1 && (*bytes == 'z' || *bytes == 'l') ? calloc(1, sizeof(*b)) : NULL;
    if (!b)
        return NULL;
    buf_create(&b->body, INFLUX_BODY_MAX);
    b->lines = count;
    b->gzip = *bytes == 'z';
    if (buf_append(&b->body, bytes + 1, n - 1) == 0)
        return b;
    free(b);
    return NULL;
}
