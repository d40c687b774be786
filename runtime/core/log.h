// Log: text for people, JSON lines for machines. One writer object per process, no global.
//
// Text form:   2026-11-23T12:00:00.123Z warn  [sensors-17] message
// JSON form:   {"ts":"…","level":"warn","device":"sensors-17","msg":"message"}
// Control characters are escaped, so a log line is always one line. Lines go out with one write().
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include "core/error.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log;
struct log_config {
    int fd;               // where lines go; not closed by the log
    enum log_level level; // lines above it are dropped
    enum log_format format;
    bool color; // ANSI colour for level names, text form only
    // When set, lines are handed here instead of being written: a shard ships them to its supervisor, the live view
    // prints them above its block. `line` is the finished line with its newline.
    void (*sink)(void *arg, enum log_level level, const char *line, size_t n);
    void *sink_arg;
};

// Never NULL on success; NULL without memory.
struct log *log_new(const struct log_config *config);
void log_delete(struct log *log);
bool log_enabled(const struct log *log, enum log_level level);
// What it was made with: a child process makes its own log in the same form.
struct log_config log_settings(const struct log *log);
// `device` may be NULL. log may be NULL (nothing happens). Text longer than 4 KB is cut with "…".
void log_write(struct log *log, enum log_level level, const char *device, const char *fmt, ...) PRINTF_LIKE(4, 5);
void log_vwrite(struct log *log, enum log_level level, const char *device, const char *fmt, va_list args);
// Writes an already formatted line of another process (shard → supervisor) as it is.
void log_raw(struct log *log, enum log_level level, const char *line, size_t n);
// "error" … ; parse returns -1 on an unknown name.
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name, enum log_level *out) WARN_UNUSED_RESULT;
