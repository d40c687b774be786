// Whole files: reading with a cap, writing so that a reader never sees half of one.
#pragma once
#include "core/buf.h"

// Reads a regular file into out (appended). Larger than max_bytes, a directory, unreadable → -1 with the path in the
// text.
int file_read(const char *path, uint32_t max_bytes, struct buf *out, struct error *err) WARN_UNUSED_RESULT;
// Writes path.tmp-PID, fsyncs, renames. On any failure (disk full, read-only) the old file stays, the temporary is
// removed and err says which path and why. Keeps the mode of an existing file and follows symbolic links; what is no
// regular file (/dev/stdout, a FIFO) is written in place.
int file_write_atomic(const char *path, const void *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
// Directory part of a path ("." when there is none) into dst; -1 when it does not fit.
int path_dirname(const char *path, char *dst, size_t size) WARN_UNUSED_RESULT;
// a + "/" + b unless b is absolute; -1 when it does not fit.
int path_join(const char *a, const char *b, char *dst, size_t size) WARN_UNUSED_RESULT;
// Writes all bytes to an open descriptor, whatever write(2) takes at a time. -1: errno is the cause, path stands in the
// text.
int file_write_all(int fd, const void *bytes, size_t n, const char *path, struct error *err) WARN_UNUSED_RESULT;
