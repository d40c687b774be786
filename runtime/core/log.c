// A line is put together in a buffer on the stack: no allocation, so that "out of memory" can be logged too.
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "core/buf.h"
#include "core/clock.h"

#define TEXT_MAX 4096
#define DEVICE_MAX 256
#define LINE_MAX_BYTES (6 * (TEXT_MAX + DEVICE_MAX) + 256) // the longest escape of one byte is \u001b

struct log {
    struct log_config config;
    bool torn; // the last line was cut by a full pipe: the next one starts with a newline
};

struct log *log_new(const struct log_config *config)
{
    struct log *log = calloc(1, sizeof(*log));
    if (log)
        log->config = *config;
    return log;
}

void log_delete(struct log *log)
{
    free(log);
}

bool log_enabled(const struct log *log, enum log_level level)
{
    return log && level <= log->config.level;
}

struct log_config log_settings(const struct log *log)
{
    return log ? log->config : (struct log_config){.fd = 2, .level = LOG_INFO};
}

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *log_level_name(enum log_level level)
{
    return (unsigned)level <= LOG_DEBUG ? level_names[level] : "debug";
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i <= LOG_DEBUG; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    return -1;
}

// Bytes of valid UTF-8 text at the start of s that a line may show as they are.
static size_t printable(const uint8_t *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t len = utf8_length(s + i, n - i);
        bool c1 = len == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0; // terminals act on these as on ESC
        if (len == 0 || s[i] < 0x20 || s[i] == 0x7f || c1)
            break;
        i += len;
    }
    return i;
}

// Backslashes stay as they are: this is for reading, not for parsing back.
static int append_escaped(struct buf *b, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    while (n > 0) {
        size_t run = printable(s, n);
        if (buf_append(b, s, run))
            return -1;
        s += run;
        n -= run;
        if (n == 0)
            break;
        int rc;
        if (*s == '\n')
            rc = buf_append(b, "\\n", 2);
        else if (*s == '\t')
            rc = buf_append(b, "\\t", 2);
        else if (*s == '\r')
            rc = buf_append(b, "\\r", 2);
        else
            rc = buf_printf(b, "\\x%02x", *s);
        if (rc)
            return -1;
        s++;
        n--;
    }
    return 0;
}

static int append_time(struct buf *b)
{
    struct clock clock;
    clock_create_real(&clock);
    int64_t us = clock_wall_us(&clock);
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return -1;
    return buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                      tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us / 1000 % 1000));
}

static int format_text(struct buf *b, const struct log *log, enum log_level level, const char *device,
                       size_t device_len, const char *msg, size_t n)
{
    static const char *const colors[] = {"\033[31m", "\033[33m", "\033[36m", "\033[2m"};
    bool color = log->config.color;
    if (append_time(b) || buf_append_char(b, ' ') ||
        buf_printf(b, "%s%-5s%s ", color ? colors[level] : "", level_names[level], color ? "\033[0m" : ""))
        return -1;
    if (device && (buf_append_char(b, '[') || append_escaped(b, device, device_len) || buf_append_str(b, "] ")))
        return -1;
    return append_escaped(b, msg, n) || buf_append_char(b, '\n') ? -1 : 0;
}

static int format_json(struct buf *b, enum log_level level, const char *device, size_t device_len, const char *msg,
                       size_t n)
{
    if (buf_append_str(b, "{\"ts\":\"") || append_time(b) || buf_append_str(b, "\",\"level\":\"") ||
        buf_append_str(b, level_names[level]) || buf_append_char(b, '"'))
        return -1;
    if (device && (buf_append_str(b, ",\"device\":") || buf_append_json_string(b, device, device_len)))
        return -1;
    if (buf_append_str(b, ",\"msg\":") || buf_append_json_string(b, msg, n))
        return -1;
    return buf_append_str(b, "}\n");
}

static void emit(struct log *log, enum log_level level, const char *line, size_t n)
{
    if (log->config.sink) {
        log->config.sink(log->config.sink_arg, level, line, n);
        return;
    }
    struct iovec iov[2] = {{(char *)"\n", log->torn ? 1 : 0}, {(void *)(uintptr_t)line, n}};
    bool begun = false;
    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t k = writev(log->config.fd, iov, 2);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break; // a full pipe or a closed terminal: the line is dropped, the run goes on
        begun = true;
        if (iov[0].iov_len) {
            iov[0].iov_len = 0;
            k--;
        }
        iov[1].iov_base = (char *)iov[1].iov_base + k;
        iov[1].iov_len -= (size_t)k;
    }
    if (begun)
        log->torn = iov[1].iov_len > 0 && iov[1].iov_len < n;
}

void log_vwrite(struct log *log, enum log_level level, const char *device, const char *fmt, va_list args)
{
    if (!log_enabled(log, level))
        return;
    int saved = errno;
    char msg[TEXT_MAX + 4], storage[LINE_MAX_BYTES];
    int len = vsnprintf(msg, sizeof(msg), fmt, args);
    size_t n = len < 0 ? 0 : (size_t)len;
    if (n > TEXT_MAX) {
        n = TEXT_MAX;
        while (n > TEXT_MAX - 4 && ((uint8_t)msg[n] & 0xc0) == 0x80)
            n--; // cut before a character, not inside it
        memcpy(msg + n, "…", sizeof("…"));
        n += sizeof("…") - 1;
    }
    size_t device_len = device ? strnlen(device, DEVICE_MAX) : 0;
    // A buffer whose storage is full-grown never allocates.
    struct buf line = {.data = (uint8_t *)storage, .len = 0, .size = sizeof(storage), .cap = sizeof(storage)};
    int rc = log->config.format == LOG_JSON ? format_json(&line, level, device, device_len, msg, n)
                                            : format_text(&line, log, level, device, device_len, msg, n);
    if (rc == 0)
        emit(log, level, (const char *)line.data, line.len);
    errno = saved;
}

void log_write(struct log *log, enum log_level level, const char *device, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_vwrite(log, level, device, fmt, args);
    va_end(args);
}

void log_raw(struct log *log, enum log_level level, const char *line, size_t n)
{
    if (log_enabled(log, level) && n > 0)
        emit(log, level, line, n);
}
