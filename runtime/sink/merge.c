#include "sink/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/file.h"

#define READ_BYTES (256u << 10)
#define WRITE_BYTES (1u << 20)
#define PUNCH_BYTES (64 << 20)

struct source {
    int fd;
    struct buf in;
    uint32_t at;         // of the present frame in `in`
    off_t read, punched; // bytes of the file
    struct record_file_frame frame;
    bool ended;
};

struct merge {
    struct merge_config config;
    struct source *sources;
    struct buf out;
    struct record_file_stats stats;
};

struct merge *merge_new(const struct merge_config *config, struct error *err)
{
    struct merge *m = calloc(1, sizeof(*m));
    struct source *sources = calloc(config->n ? config->n : 1, sizeof(*sources));
    if (!m || !sources) {
        free(m);
        free(sources);
        error_set(err, ERR_NO_MEMORY, "no memory to merge %u files", config->n);
        return NULL;
    }
    m->config = *config;
    m->config.from = NULL;
    m->sources = sources;
    buf_create(&m->out, WRITE_BYTES + RECORD_LINE_MAX);
    for (unsigned i = 0; i < config->n; i++) {
        sources[i].fd = config->from[i];
        sources[i].frame.wall_us = INT64_MIN; // nothing read yet
        buf_create(&sources[i].in, READ_BYTES + 2 * RECORD_LINE_MAX);
    }
    return m;
}

void merge_delete(struct merge *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->config.n; i++)
        buf_destroy(&m->sources[i].in);
    buf_destroy(&m->out);
    free(m->sources);
    free(m);
}

// Until there are n bytes behind `at`; 0 at the end of the file.
static int need(struct merge *m, struct source *s, uint32_t n, struct error *err)
{
    while (s->in.len - s->at < n) {
        buf_consume(&s->in, s->at);
        s->at = 0;
        uint8_t *to = buf_reserve(&s->in, READ_BYTES);
        if (!to)
            return error_set(err, ERR_NO_MEMORY, "%s: no memory to merge", m->config.path);
        ssize_t got = pread(s->fd, to, READ_BYTES, s->read);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, "%s: cannot read what a shard has written", m->config.path);
        if (got == 0)
            return s->in.len == 0
                       ? 0
                       : error_set(err, ERR_IO, "%s: what a shard has written ends within a record", m->config.path);
        s->in.len += (uint32_t)got;
        s->read += got;
    }
    if (s->read - s->punched > PUNCH_BYTES) { // best effort: not every file system can
        off_t end = (s->read - (off_t)s->in.len) & ~(off_t)4095;
        (void)!fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->punched, end - s->punched);
        s->punched = end;
    }
    return 1;
}

// The next frame of a source, whole in its buffer.
static int next(struct merge *m, struct source *s, struct error *err)
{
    int rc = need(m, s, sizeof(s->frame), err);
    if (rc > 0) {
        int64_t before = s->frame.wall_us;
        memcpy(&s->frame, s->in.data + s->at, sizeof(s->frame));
        if (s->frame.len > RECORD_LINE_MAX || s->frame.wall_us < before)
            return error_set(err, ERR_IO, "%s: what a shard has written is damaged", m->config.path);
        rc = need(m, s, (uint32_t)sizeof(s->frame) + s->frame.len, err);
    }
    if (rc == 0 || (rc > 0 && s->frame.wall_us >= m->config.until_us))
        s->ended = true;
    return rc < 0 ? -1 : 0;
}

static bool before(const struct record_file_frame *a, const struct record_file_frame *b)
{
    if (a->wall_us != b->wall_us)
        return a->wall_us < b->wall_us;
    if (a->group != b->group)
        return a->group < b->group;
    return a->index < b->index;
}

static int flush(struct merge *m, struct error *err)
{
    if (file_write_all(m->config.to, m->out.data, m->out.len, m->config.path, err))
        return -1;
    buf_clear(&m->out);
    return 0;
}

static int take(struct merge *m, struct source *s, struct error *err)
{
    if (buf_append(&m->out, s->in.data + s->at + sizeof(s->frame), s->frame.len))
        return error_set(err, ERR_NO_MEMORY, "%s: no memory to merge", m->config.path);
    s->at += (uint32_t)sizeof(s->frame) + s->frame.len;
    m->stats.records++;
    m->stats.bytes += s->frame.len;
    return m->out.len >= WRITE_BYTES && flush(m, err) ? -1 : next(m, s, err);
}

int merge_step(struct merge *m, size_t max_bytes, struct error *err)
{
    uint64_t until = m->stats.bytes + max_bytes;
    for (unsigned i = 0; i < m->config.n; i++)
        if (!m->sources[i].ended && m->sources[i].frame.wall_us == INT64_MIN && next(m, &m->sources[i], err))
            return -1;
    while (m->stats.bytes < until) {
        struct source *first = NULL;
        for (unsigned i = 0; i < m->config.n; i++) {
            struct source *s = &m->sources[i];
            if (!s->ended && (!first || before(&s->frame, &first->frame)))
                first = s;
        }
        if (!first)
            return flush(m, err);
        if (take(m, first, err))
            return -1;
    }
    return 1;
}

void merge_stats(const struct merge *m, struct record_file_stats *out)
{
    *out = m->stats;
}
