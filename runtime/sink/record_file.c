// Lines are made where they stay, in one large buffer. The records of the present instant lie at its end; when time
// moves on they are put in order if need be (they mostly are) and become ordinary bytes.
#include "sink/record_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/file.h"

#define BUFFER_BYTES (1u << 20) // what one write takes

struct line {
    uint64_t index;
    uint32_t group;
    uint32_t seq; // order of publishing
    uint32_t at, len;
};

struct record_file {
    struct record_file_config config;
    struct buf out;
    struct buf sorted; // scratch
    int64_t instant_us;
    uint32_t instant_at; // where its records begin in out
    struct line *lines;  // of the instant
    uint32_t n, size;
    bool unordered; // the records of the instant are not in order
    bool failed;
    struct record_file_stats stats, instant; // without the present instant, and of it alone
};

struct record_file *record_file_new(const struct record_file_config *config, struct error *err)
{
    struct record_file *w = calloc(1, sizeof(*w));
    if (!w) {
        error_set(err, ERR_NO_MEMORY, "no memory for an output");
        return NULL;
    }
    w->config = *config;
    w->instant_us = INT64_MIN;
    buf_create(&w->out, RECORD_INSTANT_MAX + BUFFER_BYTES);
    buf_create(&w->sorted, RECORD_INSTANT_MAX);
    return w;
}

void record_file_delete(struct record_file *w)
{
    if (!w)
        return;
    buf_destroy(&w->out);
    buf_destroy(&w->sorted);
    free(w->lines);
    free(w);
}

// --- the instant --------------------------------------------------------------------------------------------------

static int by_key(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int sort_instant(struct record_file *w, struct error *err)
{
    qsort(w->lines, w->n, sizeof(*w->lines), by_key);
    uint32_t len = w->out.len - w->instant_at;
    buf_clear(&w->sorted);
    if (!buf_reserve(&w->sorted, len))
        return error_set(err, ERR_NO_MEMORY, "%s: no memory to put %u records in order", w->config.path, w->n);
    for (uint32_t i = 0; i < w->n; i++) {
        memcpy(w->sorted.data + w->sorted.len, w->out.data + w->lines[i].at, w->lines[i].len);
        w->sorted.len += w->lines[i].len;
    }
    memcpy(w->out.data + w->instant_at, w->sorted.data, len);
    return 0;
}

// The records of the instant become ordinary bytes.
static int settle(struct record_file *w, struct error *err)
{
    if (w->unordered && sort_instant(w, err))
        return -1;
    w->stats.records += w->instant.records;
    w->stats.skipped += w->instant.skipped;
    w->stats.bytes += w->instant.bytes;
    memset(&w->instant, 0, sizeof(w->instant));
    w->instant_at = w->out.len;
    w->n = 0;
    w->unordered = false;
    return 0;
}

static int write_out(struct record_file *w, struct error *err)
{
    if (file_write_all(w->config.fd, w->out.data, w->out.len, w->config.path, err))
        return -1;
    buf_clear(&w->out);
    w->instant_at = 0;
    return 0;
}

static int begin_instant(struct record_file *w, int64_t wall_us, struct error *err)
{
    if (settle(w, err) || (w->out.len >= BUFFER_BYTES && write_out(w, err)))
        return -1;
    w->instant_us = wall_us;
    return 0;
}

static int note_line(struct record_file *w, const struct record *r, uint32_t at, struct error *err)
{
    if (w->n == w->size) {
        uint32_t size = w->size ? w->size * 2 : 64;
        struct line *more = realloc(w->lines, size * sizeof(*more));
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "%s: no memory for %u records of one instant", w->config.path, size);
        w->lines = more;
        w->size = size;
    }
    struct line *l = &w->lines[w->n];
    *l = (struct line){.index = r->index, .group = r->group, .seq = w->n, .at = at, .len = w->out.len - at};
    if (w->n && by_key(l, l - 1) < 0)
        w->unordered = true;
    w->n++;
    return 0;
}

static int too_much(struct record_file *w, uint32_t len, struct error *err)
{
    if (len - w->instant_at > RECORD_INSTANT_MAX / 2)
        return error_set(err, ERR_LIMIT,
                         "%s: the messages of one instant take more than %u MB; spread the devices with a launch rate "
                         "or a jitter",
                         w->config.path, RECORD_INSTANT_MAX >> 20);
    return error_set(err, ERR_LIMIT, "%s: a message makes a line of more than %u MB, or there is no memory",
                     w->config.path, RECORD_LINE_MAX >> 20);
}

static int add(struct record_file *w, const struct record *r, struct error *err)
{
    if (r->wall_us != w->instant_us && begin_instant(w, r->wall_us, err))
        return -1;
    uint32_t at = w->out.len, head = w->config.framed ? sizeof(struct record_file_frame) : 0;
    if (head && !buf_reserve(&w->out, head))
        return too_much(w, at, err);
    w->out.len += head;
    int rc = record_write(w->config.format, r, &w->out);
    uint32_t len = w->out.len - at - head;
    if (len > RECORD_LINE_MAX)
        rc = -1;
    if (rc <= 0)
        w->out.len = at;
    if (rc < 0)
        return too_much(w, at, err);
    w->instant.records += rc > 0;
    w->instant.skipped += rc == 0;
    if (rc == 0)
        return 0;
    w->instant.bytes += len;
    if (head) {
        struct record_file_frame frame = {.wall_us = r->wall_us, .index = r->index, .group = r->group, .len = len};
        memcpy(w->out.data + at, &frame, sizeof(frame));
    }
    return note_line(w, r, at, err);
}

int record_file_add(struct record_file *w, const struct record *record, struct error *err)
{
    if (w->failed)
        return error_set(err, ERR_STATE, "%s cannot be written any more", w->config.path);
    w->failed = add(w, record, err) != 0;
    return w->failed ? -1 : 0;
}

int record_file_flush(struct record_file *w, int64_t until_us, struct error *err)
{
    if (w->failed)
        return error_set(err, ERR_STATE, "%s cannot be written any more", w->config.path);
    if (w->instant_us >= until_us) {
        w->out.len = w->instant_at;
        w->n = 0;
        w->unordered = false;
        memset(&w->instant, 0, sizeof(w->instant));
    }
    w->failed = settle(w, err) || write_out(w, err);
    w->instant_us = INT64_MIN;
    return w->failed ? -1 : 0;
}

void record_file_stats(const struct record_file *w, struct record_file_stats *out)
{
    *out = w->stats;
    out->records += w->instant.records;
    out->skipped += w->instant.skipped;
    out->bytes += w->instant.bytes;
}
