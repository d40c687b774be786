// Segments are a short array in order of their numbers: at most 64 of 16 MB. The last one that is not closed is written
// to; reading has a cursor of its own, and entries are done in any order.
//
// fsync may take as long as it likes, so a thread does it: it is handed duplicates of descriptors, a queue of them, and
// touches nothing else.
#include "sink/spill.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/file.h"

#define MAGIC "iotixsp1"
#define HEAD 8u   // of a file
#define ENTRY 16u // in front of an entry
#define SYNC_S 1.0
#define SYNC_JOBS 16u
#define SEGMENTS_MAX 4096u

struct segment {
    uint32_t number;
    int fd;
    uint32_t size;         // bytes of whole entries, header included
    uint32_t live_entries; // not done
    uint64_t live, unread; // records: not done; not read since the last rewind, done ones left out
    bool closed, dirty;    // dirty: written to since it was last handed to fsync
};

struct syncer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    int jobs[SYNC_JOBS];
    unsigned n;
    bool running, busy, stop;
    int failed; // errno of the first failure
};

struct spill {
    struct spill_config config;
    char *dir, *prefix; // prefix: "NAME-RUN-SHARD-"
    char *shown;        // path of the files, with a star
    struct segment *segments;
    unsigned n;
    uint32_t next_number;
    unsigned read_segment; // place in segments
    uint32_t read_offset;
    uint64_t bytes, damaged;
    bool disk_full, made_dir;
    ev_timer timer;
    struct syncer sync;
};

// --- bytes --------------------------------------------------------------------------------------------------------

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t checksum(uint32_t len, uint32_t count, const void *bytes)
{
    uint8_t head[8];
    put32(head, len);
    put32(head + 4, count);
    return crc32c(crc32c(0, head, sizeof(head)), bytes, len);
}

static bool plausible(const uint8_t *head)
{
    return get32(head) <= SPILL_ENTRY_MAX && get32(head + 8) && get32(head + 12) <= 1;
}

size_t spill_scan(const uint8_t *bytes, size_t n,
                  void (*fn)(void *arg, uint32_t offset, const uint8_t *entry, uint32_t len, uint32_t count, bool done),
                  void *arg)
{
    size_t at = HEAD;
    if (n < HEAD || memcmp(bytes, MAGIC, HEAD) != 0)
        return 0;
    while (n - at >= ENTRY && plausible(bytes + at)) {
        const uint8_t *head = bytes + at, *entry = head + ENTRY;
        uint32_t len = get32(head), count = get32(head + 8);
        if (n - at - ENTRY < len || checksum(len, count, entry) != get32(head + 4))
            break;
        if (fn)
            fn(arg, (uint32_t)at, entry, len, count, get32(head + 12) == 1);
        at += ENTRY + len;
    }
    return at;
}

// --- fsync --------------------------------------------------------------------------------------------------------

static void *sync_main(void *arg)
{
    struct syncer *y = arg;
    pthread_mutex_lock(&y->lock);
    for (;;) {
        while (!y->n && !y->stop)
            pthread_cond_wait(&y->wake, &y->lock);
        if (!y->n)
            break;
        int fd = y->jobs[--y->n];
        y->busy = true;
        pthread_mutex_unlock(&y->lock);
        int failed = fsync(fd) ? errno : 0;
        close(fd);
        pthread_mutex_lock(&y->lock);
        y->busy = false;
        if (failed && !y->failed)
            y->failed = failed;
        pthread_cond_broadcast(&y->idle);
    }
    pthread_mutex_unlock(&y->lock);
    return NULL;
}

static void sync_begin(struct syncer *y)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the loop's
    y->running = pthread_create(&y->thread, NULL, sync_main, y) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void sync_segment(struct spill *s, struct segment *g)
{
    struct syncer *y = &s->sync;
    if (!g->dirty)
        return;
    g->dirty = false;
    int fd = fcntl(g->fd, F_DUPFD_CLOEXEC, 0);
    if (!y->running)
        sync_begin(y);
    pthread_mutex_lock(&y->lock);
    bool queued = fd >= 0 && y->running && y->n < SYNC_JOBS;
    if (queued)
        y->jobs[y->n++] = fd;
    pthread_cond_signal(&y->wake);
    pthread_mutex_unlock(&y->lock);
    if (queued)
        return;
    if (fsync(g->fd) && !y->failed) // the disk is far behind, or there is no thread: then it is waited for
        y->failed = errno;
    if (fd >= 0)
        close(fd);
}

static void sync_all(struct spill *s)
{
    for (unsigned i = 0; i < s->n; i++)
        sync_segment(s, &s->segments[i]);
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    sync_all(container_of(w, struct spill, timer));
}

int spill_sync(struct spill *s, struct error *err)
{
    struct syncer *y = &s->sync;
    sync_all(s);
    pthread_mutex_lock(&y->lock);
    while (y->running && (y->n || y->busy))
        pthread_cond_wait(&y->idle, &y->lock);
    int failed = y->failed;
    pthread_mutex_unlock(&y->lock);
    errno = failed;
    return failed ? error_set_errno(err, "%s", s->shown) : 0;
}

static void sync_end(struct syncer *y)
{
    pthread_mutex_lock(&y->lock);
    y->stop = true;
    pthread_cond_signal(&y->wake);
    pthread_mutex_unlock(&y->lock);
    if (y->running)
        pthread_join(y->thread, NULL);
    pthread_mutex_destroy(&y->lock);
    pthread_cond_destroy(&y->wake);
    pthread_cond_destroy(&y->idle);
}

// --- segments -----------------------------------------------------------------------------------------------------

static void path_of(const struct spill *s, uint32_t number, char *dst, size_t size)
{
    snprintf(dst, size, "%s/%s%06u.spill", s->dir, s->prefix, number);
}

static struct segment *add_segment(struct spill *s, const struct segment *g, struct error *err)
{
    struct segment *more = s->n < SEGMENTS_MAX ? realloc(s->segments, (s->n + 1) * sizeof(*more)) : NULL;
    if (!more) {
        error_set(err, ERR_NO_MEMORY, "no memory for a segment");
        return NULL;
    }
    s->segments = more;
    s->segments[s->n] = *g;
    return &s->segments[s->n++];
}

static void remove_segment(struct spill *s, unsigned i)
{
    char path[4200];
    struct segment *g = &s->segments[i];
    path_of(s, g->number, path, sizeof(path));
    unlink(path);
    close(g->fd);
    s->bytes -= g->size;
    memmove(g, g + 1, (s->n - i - 1) * sizeof(*g));
    s->n--;
    if (s->read_segment > i)
        s->read_segment--;
    else if (s->read_segment == i)
        s->read_offset = HEAD;
}

static bool no_space(int why)
{
    return why == ENOSPC || why == EDQUOT || why == EFBIG;
}

static struct segment *new_segment(struct spill *s, struct error *err)
{
    char path[4200];
    struct segment g = {.number = s->next_number, .size = HEAD};
    path_of(s, g.number, path, sizeof(path));
    if (mkdir(s->dir, 0700) == 0)
        s->made_dir = true;
    g.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (g.fd < 0 || pwrite(g.fd, MAGIC, HEAD, 0) != HEAD) {
        s->disk_full = no_space(errno);
        error_set_errno(err, "%s", path);
        if (g.fd >= 0) {
            close(g.fd);
            unlink(path);
        }
        return NULL;
    }
    struct segment *at = add_segment(s, &g, err);
    if (!at) {
        close(g.fd);
        unlink(path);
        return NULL;
    }
    s->next_number++;
    s->bytes += HEAD;
    return at;
}

static struct segment *writable(struct spill *s, uint32_t need, struct error *err)
{
    struct segment *last = s->n ? &s->segments[s->n - 1] : NULL;
    if (last && !last->closed && (last->size == HEAD || last->size + need <= s->config.segment_bytes))
        return last;
    if (last && !last->closed) {
        last->closed = true;
        sync_segment(s, last);
    }
    return new_segment(s, err);
}

static int write_entry(int fd, const uint8_t head[ENTRY], const void *bytes, size_t n, off_t at)
{
    struct iovec v[2] = {{(void *)(uintptr_t)head, ENTRY}, {(void *)(uintptr_t)bytes, n}};
    size_t left = ENTRY + n;
    int i = 0;
    while (left) {
        ssize_t got = pwritev(fd, v + i, 2 - i, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : ENOSPC;
            return -1;
        }
        at += got;
        left -= (size_t)got;
        for (size_t k = (size_t)got; k;) {
            size_t step = k < v[i].iov_len ? k : v[i].iov_len;
            v[i].iov_base = (char *)v[i].iov_base + step;
            v[i].iov_len -= step;
            k -= step;
            if (!v[i].iov_len && i == 0)
                i = 1;
        }
    }
    return 0;
}

int spill_append(struct spill *s, const void *bytes, size_t n, uint32_t count, struct error *err)
{
    uint8_t head[ENTRY];
    s->disk_full = false;
    if (!count || n > SPILL_ENTRY_MAX)
        return error_set(err, ERR_LIMIT, "an entry of %zu bytes is too large for the disk queue", n);
    if (s->bytes + ENTRY + HEAD + n > s->config.max_bytes)
        return error_set(err, ERR_LIMIT, "%s has its %llu MB", s->shown, (unsigned long long)s->config.max_bytes >> 20);
    struct segment *g = writable(s, ENTRY + (uint32_t)n, err);
    if (!g)
        return -1;
    put32(head, (uint32_t)n);
    put32(head + 4, checksum((uint32_t)n, count, bytes));
    put32(head + 8, count);
    put32(head + 12, 0);
    if (write_entry(g->fd, head, bytes, n, g->size)) {
        s->disk_full = no_space(errno);
        error_set_errno(err, "%s", s->shown);
        if (ftruncate(g->fd, g->size))
            g->closed = true; // what is torn stays behind its end, and nothing comes after it
        if (g->size == HEAD)
            remove_segment(s, s->n - 1);
        return -1;
    }
    g->size += ENTRY + (uint32_t)n;
    g->live_entries++;
    g->live += count;
    g->unread += count;
    g->dirty = true;
    s->bytes += ENTRY + n;
    return 0;
}

// --- reading ------------------------------------------------------------------------------------------------------

static bool read_exactly(int fd, void *to, size_t n, off_t at)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = pread(fd, (char *)to + got, n - got, at + (off_t)got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        got += (size_t)k;
    }
    return true;
}

static bool read_entry(const struct segment *g, uint32_t offset, const uint8_t head[ENTRY], struct buf *out)
{
    uint32_t len = get32(head);
    buf_clear(out);
    if (!plausible(head) || len > g->size - offset - ENTRY || !buf_reserve(out, len ? len : 1) ||
        !read_exactly(g->fd, out->data, len, (off_t)offset + ENTRY))
        return false;
    out->len = len;
    return checksum(len, get32(head + 8), out->data) == get32(head + 4);
}

// What the rest of a segment held is lost.
static void give_up(struct spill *s, struct segment *g)
{
    s->damaged += g->unread;
    g->live -= g->unread < g->live ? g->unread : g->live;
    g->unread = 0;
    g->closed = true;
    s->read_offset = g->size;
}

int spill_read(struct spill *s, struct buf *out, uint32_t *count, struct spill_at *at)
{
    uint8_t head[ENTRY];
    while (s->read_segment < s->n) {
        struct segment *g = &s->segments[s->read_segment];
        if (s->read_offset >= g->size) {
            if (!g->closed)
                return 0;
            bool spent = !g->live; // damaged: its entries are never done
            if (spent)
                remove_segment(s, s->read_segment);
            else
                s->read_segment++;
            s->read_offset = HEAD;
            continue;
        }
        uint32_t offset = s->read_offset;
        if (!read_exactly(g->fd, head, ENTRY, offset)) {
            give_up(s, g);
            continue;
        }
        if (plausible(head) && get32(head + 12) == 1) {
            s->read_offset += ENTRY + get32(head);
            continue;
        }
        if (!read_entry(g, offset, head, out)) {
            give_up(s, g);
            continue;
        }
        *count = get32(head + 8);
        *at = (struct spill_at){g->number, offset};
        g->unread -= *count < g->unread ? *count : g->unread;
        s->read_offset += ENTRY + get32(head);
        return 1;
    }
    return 0;
}

void spill_done(struct spill *s, struct spill_at at)
{
    uint8_t head[ENTRY], done[4];
    for (unsigned i = 0; i < s->n; i++) {
        struct segment *g = &s->segments[i];
        if (g->number != at.segment)
            continue;
        if (!read_exactly(g->fd, head, ENTRY, at.offset) || get32(head + 12) == 1)
            return;
        put32(done, 1);
        (void)!pwrite(g->fd, done, sizeof(done), (off_t)at.offset + 12);
        uint32_t count = get32(head + 8);
        g->live -= count < g->live ? count : g->live;
        if (g->live_entries && --g->live_entries == 0)
            remove_segment(s, i);
        return;
    }
}

void spill_rewind(struct spill *s)
{
    s->read_segment = 0;
    s->read_offset = HEAD;
    for (unsigned i = 0; i < s->n; i++)
        s->segments[i].unread = s->segments[i].live;
}

// --- what there is ------------------------------------------------------------------------------------------------

uint64_t spill_records(const struct spill *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n; i++)
        n += s->segments[i].live;
    return n;
}

uint64_t spill_bytes(const struct spill *s)
{
    return s->bytes;
}

bool spill_unread(const struct spill *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->segments[i].unread)
            return true;
    return false;
}

bool spill_full(const struct spill *s)
{
    return s->bytes + s->config.segment_bytes > s->config.max_bytes;
}

bool spill_disk_full(const struct spill *s)
{
    return s->disk_full;
}

uint64_t spill_take_damaged(struct spill *s)
{
    uint64_t n = s->damaged;
    s->damaged = 0;
    return n;
}

const char *spill_path(const struct spill *s)
{
    return spill_records(s) ? s->shown : "";
}

// --- files of before ----------------------------------------------------------------------------------------------

static bool is_segment(const char *file, const char *prefix)
{
    size_t n = strlen(file), k = strlen(prefix);
    return n > k + 6 && strncmp(file, prefix, k) == 0 && strcmp(file + n - 6, ".spill") == 0;
}

void spill_look(const char *dir, const char *name, const char *run_id, struct spill_leftovers *out)
{
    char prefix[100], own[200], path[4200];
    struct stat st;
    memset(out, 0, sizeof(*out));
    DIR *d = opendir(dir);
    snprintf(prefix, sizeof(prefix), "%s-", name);
    snprintf(own, sizeof(own), "%s-%s-", name, run_id);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_segment(e->d_name, prefix) || strncmp(e->d_name, own, strlen(own)) == 0 ||
            path_join(dir, e->d_name, path, sizeof(path)) || stat(path, &st) || !S_ISREG(st.st_mode))
            continue;
        out->files++;
        out->bytes += (uint64_t)st.st_size;
        snprintf(out->example, sizeof(out->example), "%.299s", path);
    }
    if (d)
        closedir(d);
}

static void count_entry(void *arg, uint32_t offset, const uint8_t *entry, uint32_t len, uint32_t count, bool done)
{
    struct segment *g = arg;
    (void)offset, (void)entry, (void)len;
    if (done)
        return;
    g->live_entries++;
    g->live += count;
    g->unread += count;
}

static int adopt_file(struct spill *s, const char *file, struct error *err)
{
    char path[4200];
    struct buf bytes;
    struct segment g = {.closed = true};
    int64_t number = strtoll(file + strlen(s->prefix), NULL, 10);
    if (number < 0 || number > UINT32_MAX - 1 || path_join(s->dir, file, path, sizeof(path)))
        return 0;
    g.number = (uint32_t)number;
    g.fd = open(path, O_RDWR | O_CLOEXEC);
    buf_create(&bytes, SPILL_SEGMENT_BYTES + SPILL_ENTRY_MAX + 64);
    if (g.fd < 0 || file_read(path, bytes.cap, &bytes, err)) {
        if (g.fd >= 0)
            close(g.fd);
        buf_destroy(&bytes);
        return g.fd < 0 ? error_set_errno(err, "%s", path) : -1;
    }
    g.size = (uint32_t)spill_scan(bytes.data, bytes.len, count_entry, &g);
    bool torn = g.size < bytes.len;
    buf_destroy(&bytes);
    if (torn && g.size && ftruncate(g.fd, g.size)) {
        close(g.fd);
        return error_set_errno(err, "%s", path);
    }
    if (!g.live_entries) {
        close(g.fd);
        return unlink(path) ? error_set_errno(err, "%s", path) : 0;
    }
    s->bytes += g.size;
    if (g.number >= s->next_number)
        s->next_number = g.number + 1;
    if (add_segment(s, &g, err))
        return 0;
    close(g.fd);
    return -1;
}

static int by_number(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int adopt(struct spill *s, struct error *err)
{
    DIR *d = opendir(s->dir);
    int rc = 0;
    for (struct dirent *e; d && rc == 0 && (e = readdir(d));)
        if (is_segment(e->d_name, s->prefix))
            rc = adopt_file(s, e->d_name, err);
    if (d)
        closedir(d);
    if (s->n)
        qsort(s->segments, s->n, sizeof(*s->segments), by_number);
    return rc;
}

static int check_dir(const char *dir, struct error *err)
{
    struct stat st;
    if (stat(dir, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return error_set(err, ERR_INVALID, "%.200s is no directory", dir);
        return access(dir, W_OK | X_OK) ? error_set_errno(err, "cannot write into the directory %.200s", dir) : 0;
    }
    if (errno != ENOENT)
        return error_set_errno(err, "%.200s", dir);
    if (mkdir(dir, 0700)) // to see whether it can be: access(2) tells root that it may do what it cannot
        return error_set_errno(err, "cannot make the directory %.200s", dir);
    rmdir(dir);
    return 0;
}

struct spill *spill_new(const struct spill_config *config, struct error *err)
{
    char prefix[200], shown[4300];
    if (check_dir(config->dir, err))
        return NULL;
    struct spill *s = calloc(1, sizeof(*s));
    snprintf(prefix, sizeof(prefix), "%s-%s-%u-", config->name, config->run_id, config->shard);
    snprintf(shown, sizeof(shown), "%s/%s*.spill", config->dir, prefix);
    if (s) {
        s->config = *config;
        s->dir = strdup(config->dir);
        s->prefix = strdup(prefix);
        s->shown = strdup(shown);
    }
    if (!s || !s->dir || !s->prefix || !s->shown) {
        if (s) {
            free(s->dir);
            free(s->prefix);
            free(s->shown);
        }
        free(s);
        error_set(err, ERR_NO_MEMORY, "no memory for a disk queue");
        return NULL;
    }
    s->config.dir = s->config.name = s->config.run_id = NULL;
    s->config.max_bytes = config->max_bytes ? config->max_bytes : SPILL_MAX_BYTES;
    s->config.segment_bytes = config->segment_bytes ? config->segment_bytes : SPILL_SEGMENT_BYTES;
    s->next_number = 1;
    s->read_offset = HEAD;
    pthread_mutex_init(&s->sync.lock, NULL);
    pthread_cond_init(&s->sync.wake, NULL);
    pthread_cond_init(&s->sync.idle, NULL);
    ev_timer_init(&s->timer, on_timer, SYNC_S, SYNC_S);
    ev_timer_start(loop_ev(config->loop), &s->timer);
    if (!config->adopt || adopt(s, err) == 0)
        return s;
    spill_delete(s);
    return NULL;
}

void spill_delete(struct spill *s)
{
    if (!s)
        return;
    ev_timer_stop(loop_ev(s->config.loop), &s->timer);
    (void)spill_sync(s, NULL);
    sync_end(&s->sync);
    while (s->n) {
        struct segment *g = &s->segments[s->n - 1];
        if (!g->live) {
            remove_segment(s, s->n - 1);
            continue;
        }
        close(g->fd);
        s->n--;
    }
    if (s->made_dir)
        rmdir(s->dir); // when nothing is left in it
    free(s->segments);
    free(s->dir);
    free(s->prefix);
    free(s->shown);
    free(s);
}
