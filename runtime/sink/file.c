// Files of records in real time: ndjson, csv, line-protocol. A shard writes one of its own, with its number in the name
// where there are several: lines of several writers would tear each other on a full disk.
//
// Lines are gathered for a second, or 256 KB, and written at once. Where that fails the file is cut back to its last
// whole line, the lines stay in memory, and it is tried again each second: records are dropped only once memory is
// full.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/jsonx.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/option.h"
#include "core/zone.h"
#include "sink/ledger.h"
#include "sink/options.h"
#include "sink/types.h"

#define FLUSH_BYTES (256u << 10)
#define SAY_AGAIN_S 60.0

struct file_sink {
    const struct sink_ops *ops;
    enum record_format format;
    struct loop *loop;
    struct log *log;
    struct ledger ledger;
    char name[64], path[4096], trouble[500], said[500];
    double said_at, begun_at; // ev_now
    int fd;
    off_t size; // whole lines
    struct buf out;
    uint64_t waiting; // records in out
    uint32_t memory;
    off_t rotate_size;
    double rotate_age;
    unsigned keep, number; // number: of the last file that was put aside
    bool block, events, disk_full;
    ev_timer timer;
};

static struct file_sink *of(struct sink *s)
{
    return (struct file_sink *)(void *)s;
}

static const struct file_sink *look(const struct sink *s)
{
    return (const struct file_sink *)(const void *)s;
}

// --- options ------------------------------------------------------------------------------------------------------

static json_t *parse(const char *type, const char *target, const json_t *options, struct error *err)
{
    static const char *const full[] = {"block", "drop", NULL};
    static const char *const keys[] = {"path", "rotateSize", "rotateAge", "keep", "memory", "full", "events", NULL};
    json_t *own = target ? json_pack("{s:s}", "path", target) : NULL;
    struct sink_fields f = {.type = type, .in = target ? own : options, .out = json_object(), .err = err};
    if (!f.out || (target && !own))
        f.failed = error_set(err, ERR_NO_MEMORY, "no memory for a sink");
    char what[64];
    snprintf(what, sizeof(what), "%s sink", type);
    if (!f.failed && f.in && option_object(what, f.in, "a table of options", keys, err))
        f.failed = -1;
    sink_text(&f, "path", NULL);
    if (!f.failed && !json_object_get(f.out, "path"))
        sink_fail(&f, "path is missing");
    sink_size(&f, "rotateSize", 0, 0, (uint64_t)1 << 50);
    sink_duration(&f, "rotateAge", 0, 0, (int64_t)366 * 86400 * 1000000);
    sink_count(&f, "keep", 0, 0, 1000000);
    sink_size(&f, "memory", 16u << 20, 1u << 20, 1u << 30);
    sink_choice(&f, "full", "block", full);
    sink_bool(&f, "events", false);
    if (!f.failed && json_is_true(json_object_get(f.out, "events")) && strcmp(type, "ndjson") != 0)
        sink_fail(&f, "events have no form in %s; ndjson has one", type);
    json_decref(own);
    if (!f.failed)
        return f.out;
    json_decref(f.out);
    return NULL;
}

static json_t *parse_ndjson(const char *target, const json_t *options, struct error *err)
{
    return parse("ndjson", target, options, err);
}

static json_t *parse_csv(const char *target, const json_t *options, struct error *err)
{
    return parse("csv", target, options, err);
}

static json_t *parse_line_protocol(const char *target, const json_t *options, struct error *err)
{
    return parse("line-protocol", target, options, err);
}

// --- the file -----------------------------------------------------------------------------------------------------

__attribute__((format(printf, 2, 3))) static void trouble(struct file_sink *s, const char *fmt, ...)
{
    va_list args;
    double now = ev_now(loop_ev(s->loop));
    va_start(args, fmt);
    vsnprintf(s->trouble, sizeof(s->trouble), fmt, args);
    va_end(args);
    if (strcmp(s->trouble, s->said) == 0 && now - s->said_at < SAY_AGAIN_S)
        return;
    memcpy(s->said, s->trouble, sizeof(s->said));
    s->said_at = now;
    log_write(s->log, LOG_WARN, NULL, "sink %s: %s", s->name, s->trouble);
}

// A crash may have torn the last line.
static int cut_torn(struct file_sink *s, struct error *err)
{
    char bytes[4096];
    off_t end = lseek(s->fd, 0, SEEK_END);
    while (end > 0) {
        off_t from = end > (off_t)sizeof(bytes) ? end - (off_t)sizeof(bytes) : 0;
        ssize_t n = pread(s->fd, bytes, (size_t)(end - from), from);
        if (n != end - from)
            return error_set_errno(err, "%s", s->path);
        const char *last = memrchr(bytes, '\n', (size_t)n);
        end = last ? from + (last - bytes) + 1 : from;
        if (last)
            break;
    }
    s->size = end;
    return ftruncate(s->fd, end) ? error_set_errno(err, "%s", s->path) : 0;
}

static int open_file(struct file_sink *s, bool resumed, struct error *err)
{
    struct stat st;
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | (resumed ? 0 : O_TRUNC), 0644);
    if (s->fd < 0 && errno == EACCES) // it may be written and not read
        s->fd = open(s->path, O_WRONLY | O_CREAT | O_CLOEXEC | (resumed ? 0 : O_TRUNC), 0644);
    if (s->fd < 0)
        return error_set_errno(err, "cannot write %s", s->path);
    if (fstat(s->fd, &st) || !(S_ISREG(st.st_mode) || S_ISCHR(st.st_mode))) {
        error_set(err, ERR_INVALID, "%s is no regular file", s->path);
        close(s->fd);
        s->fd = -1;
        return -1;
    }
    s->size = 0;
    s->begun_at = ev_now(loop_ev(s->loop));
    return resumed && S_ISREG(st.st_mode) ? cut_torn(s, err) : 0;
}

static int write_at(struct file_sink *s, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pwrite(s->fd, (const char *)bytes + done, n - done, s->size + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int why = got < 0 ? errno : ENOSPC;
            (void)!ftruncate(s->fd, s->size);
            errno = why;
            return -1;
        }
        done += (size_t)got;
    }
    s->size += (off_t)n;
    return 0;
}

static bool has_rotated(const struct file_sink *s, unsigned number)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s.%u", s->path, number);
    return access(path, F_OK) == 0;
}

static bool due_for_rotation(const struct file_sink *s)
{
    double age = ev_now(loop_ev(s->loop)) - s->begun_at;
    return s->size && ((s->rotate_size && s->size >= s->rotate_size) || (s->rotate_age > 0 && age >= s->rotate_age));
}

// FILE becomes FILE.1, the next one FILE.2, and so on.
static void rotate(struct file_sink *s)
{
    struct error err;
    char aside[4200], old[4200];
    while (has_rotated(s, s->number + 1))
        s->number++;
    snprintf(aside, sizeof(aside), "%s.%u", s->path, s->number + 1);
    if (rename(s->path, aside)) {
        trouble(s, "%s cannot be put aside: %s", s->path, strerror(errno));
        s->begun_at = ev_now(loop_ev(s->loop)); // not with every line
        return;
    }
    s->number++;
    int before = s->fd;
    if (open_file(s, false, &err)) {
        trouble(s, "%s", err.text);
        s->fd = before; // goes on under its new name
        (void)!rename(aside, s->path);
        s->number--;
        return;
    }
    close(before);
    if (s->keep && s->number > s->keep) {
        snprintf(old, sizeof(old), "%s.%u", s->path, s->number - s->keep);
        unlink(old);
    }
}

static void flush(struct file_sink *s)
{
    const char *header = record_header(s->format);
    if (!s->out.len)
        return;
    if (due_for_rotation(s))
        rotate(s);
    if ((s->size == 0 && *header && write_at(s, header, strlen(header))) || write_at(s, s->out.data, s->out.len)) {
        s->disk_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
        trouble(s, "%s cannot be written: %s; trying again", s->path, strerror(errno));
        return;
    }
    s->disk_full = false;
    ledger_deliver(&s->ledger, s->waiting);
    s->waiting = 0;
    buf_clear(&s->out);
    gauge_set(s->ledger.memory_bytes, 0);
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    (void)ev, (void)events;
    flush(container_of(w, struct file_sink, timer));
}

// --- records ------------------------------------------------------------------------------------------------------

static bool has_room(const struct file_sink *s)
{
    return s->out.len < s->memory;
}

static const char *why_full(const struct file_sink *s)
{
    return s->disk_full ? "disk_full" : "full";
}

// rc of what was made behind `before`.
static void made(struct file_sink *s, int rc)
{
    if (rc == 0) {
        counter_add(s->ledger.skipped, 1);
        return;
    }
    ledger_accept(&s->ledger, 1);
    if (rc < 0) {
        ledger_drop(&s->ledger, "too_large", 1);
        return;
    }
    s->waiting++;
    gauge_set(s->ledger.memory_bytes, s->out.len);
    if (s->out.len >= FLUSH_BYTES && !s->disk_full)
        flush(s);
}

static void telemetry(struct sink *sink, const struct record *r)
{
    struct file_sink *s = of(sink);
    if (!has_room(s)) {
        ledger_accept(&s->ledger, 1);
        ledger_drop(&s->ledger, why_full(s), 1);
        return;
    }
    made(s, record_write(s->format, r, &s->out));
}

static int put_event(struct buf *out, const struct sink_event *e)
{
    char time[TIME_TEXT_LEN];
    const char *const members[][2] = {{"event", e->kind},
                                      {"group", e->group},
                                      {"device", e->device},
                                      {"protocol", e->protocol},
                                      {"detail", e->detail}};
    time_text(e->wall_us, time);
    int rc = buf_append_str(out, "{\"time\":\"") || buf_append(out, time, sizeof(time)) || buf_append_char(out, '"');
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (*members[i][1])
            rc = rc || buf_printf(out, ",\"%s\":", members[i][0]) ||
                 buf_append_json_string(out, members[i][1], strlen(members[i][1]));
    if (e->latency_us >= 0)
        rc = rc || buf_append_str(out, ",\"latencyMs\":") || buf_append_number(out, (double)e->latency_us / 1e3, 3);
    return rc || buf_append_str(out, "}\n") ? -1 : 1;
}

static void event(struct sink *sink, const struct sink_event *e)
{
    struct file_sink *s = of(sink);
    uint32_t before = s->out.len;
    if (!s->events)
        return;
    if (!has_room(s)) {
        ledger_accept(&s->ledger, 1);
        ledger_drop(&s->ledger, why_full(s), 1);
        return;
    }
    int rc = put_event(&s->out, e);
    if (rc < 0)
        s->out.len = before;
    made(s, rc);
}

static unsigned load(const struct sink *sink)
{
    const struct file_sink *s = look(sink);
    return (unsigned)((uint64_t)s->out.len * 100 / s->memory);
}

static bool is_full(const struct sink *sink)
{
    const struct file_sink *s = look(sink);
    return s->block && !has_room(s);
}

static const char *last_trouble(const struct sink *sink)
{
    return look(sink)->trouble;
}

static bool drain(struct sink *sink, bool late)
{
    struct file_sink *s = of(sink);
    flush(s);
    if (s->out.len && late) {
        ledger_drop(&s->ledger, s->disk_full ? "disk_full" : "deadline", s->waiting);
        s->waiting = 0;
        buf_clear(&s->out);
        gauge_set(s->ledger.memory_bytes, 0);
    }
    return !s->out.len;
}

static void close_file(struct sink *sink)
{
    struct file_sink *s = of(sink);
    ev_timer_stop(loop_ev(s->loop), &s->timer);
    if (s->waiting)
        ledger_drop(&s->ledger, "closed", s->waiting);
    if (s->fd >= 0)
        close(s->fd);
    buf_destroy(&s->out);
    free(s);
}

// "a/out.ndjson" → "a/out-3.ndjson"
static int name_path(struct file_sink *s, const char *path, const struct sink_env *env, struct error *err)
{
    const char *base = strrchr(path, '/'), *dot = strrchr(base ? base : path, '.');
    int n;
    if (dot && (dot == path || dot[-1] == '/'))
        dot = NULL; // ".hidden"
    if (env->shards <= 1)
        n = snprintf(s->path, sizeof(s->path), "%s", path);
    else
        n = snprintf(s->path, sizeof(s->path), "%.*s-%u%s", dot ? (int)(dot - path) : (int)strlen(path), path,
                     env->shard, dot ? dot : "");
    if (n < 0 || n >= (int)sizeof(s->path))
        return error_set(err, ERR_INVALID, "the path %.100s... is too long", path);
    if (strcmp(path, "-") == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "stdout is for virtual time, where one process writes it: give it a file, or /dev/null");
    return 0;
}

static struct sink *open_any(const struct sink_ops *ops, enum record_format format, const struct sink_env *env,
                             const char *name, const json_t *o, struct error *err)
{
    struct file_sink *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for a sink");
        return NULL;
    }
    s->ops = ops;
    s->format = format;
    s->loop = env->loop;
    s->log = env->log;
    s->fd = -1;
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->memory = (uint32_t)json_integer_value(json_object_get(o, "memory"));
    s->rotate_size = (off_t)json_integer_value(json_object_get(o, "rotateSize"));
    s->rotate_age = (double)json_integer_value(json_object_get(o, "rotateAge")) / 1e6;
    s->keep = (unsigned)json_integer_value(json_object_get(o, "keep"));
    s->block = strcmp(json_string_value(json_object_get(o, "full")), "block") == 0;
    s->events = json_is_true(json_object_get(o, "events"));
    buf_create(&s->out, s->memory + 2 * RECORD_LINE_MAX);
    ev_timer_init(&s->timer, on_timer, 1.0, 1.0);
    if (ledger_create(&s->ledger, env->metrics, name, err) == 0 &&
        name_path(s, json_string_value(json_object_get(o, "path")), env, err) == 0 &&
        open_file(s, env->resumed, err) == 0) {
        ev_timer_start(loop_ev(s->loop), &s->timer);
        return (struct sink *)(void *)s;
    }
    error_prefix(err, "sink %s", name);
    close_file((struct sink *)(void *)s);
    return NULL;
}

static struct sink *open_ndjson(const struct sink_env *env, const char *name, const json_t *o, struct error *err)
{
    return open_any(&ndjson_sink, RECORD_NDJSON, env, name, o, err);
}

static struct sink *open_csv(const struct sink_env *env, const char *name, const json_t *o, struct error *err)
{
    return open_any(&csv_sink, RECORD_CSV, env, name, o, err);
}

static struct sink *open_line_protocol(const struct sink_env *env, const char *name, const json_t *o, struct error *err)
{
    return open_any(&line_protocol_sink, RECORD_INFLUX, env, name, o, err);
}

#define FILE_SINK(type, parse_it, open_it)                                                                             \
    {                                                                                                                  \
        .name = type, .file = true, .parse = parse_it, .open = open_it, .telemetry = telemetry, .event = event,        \
        .load = load, .full = is_full, .drain = drain, .trouble = last_trouble, .close = close_file                    \
    }
const struct sink_ops ndjson_sink = FILE_SINK("ndjson", parse_ndjson, open_ndjson);
const struct sink_ops csv_sink = FILE_SINK("csv", parse_csv, open_csv);
const struct sink_ops line_protocol_sink = FILE_SINK("line-protocol", parse_line_protocol, open_line_protocol);
