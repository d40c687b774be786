#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The rest of an open file into out; at most max_bytes.
static int read_all(int fd, const char *path, uint32_t max_bytes, struct buf *out, struct error *err)
{
    uint32_t total = 0;
    for (;;) {
        uint32_t want = max_bytes - total;
        if (want > 65536)
            want = 65536;
        // One byte more than allowed tells "exactly the cap" from "too large".
        uint8_t *at = buf_reserve(out, want ? want : 1);
        uint8_t probe;
        if (!at && want)
            return error_set(err, ERR_LIMIT, "%s: does not fit a buffer of %u bytes", path, out->cap);
        ssize_t n = read(fd, want ? at : &probe, want ? want : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, "cannot read %s", path);
        if (n == 0)
            return 0;
        if (!want)
            return error_set(err, ERR_LIMIT, "%s: larger than %u bytes", path, max_bytes);
        out->len += (uint32_t)n;
        total += (uint32_t)n;
    }
}

int file_read(const char *path, uint32_t max_bytes, struct buf *out, struct error *err)
{
    // O_NONBLOCK: opening a FIFO must not hang; it has no effect on regular files.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set_errno(err, "cannot open %s", path);
    uint32_t before = out->len;
    struct stat st;
    int rc;
    if (fstat(fd, &st))
        rc = error_set_errno(err, "cannot stat %s", path);
    else if (S_ISDIR(st.st_mode))
        rc = error_set(err, ERR_INVALID, "%s: is a directory, expected a file", path);
    else if (!S_ISREG(st.st_mode))
        rc = error_set(err, ERR_INVALID, "%s: is not a regular file", path);
    else if (st.st_size > (off_t)max_bytes)
        rc = error_set(err, ERR_LIMIT, "%s: %lld bytes, larger than %u bytes", path, (long long)st.st_size, max_bytes);
    else
        rc = read_all(fd, path, max_bytes, out, err);
    close(fd);
    if (rc)
        out->len = before;
    return rc;
}

int file_write_all(int fd, const void *bytes, size_t n, const char *path, struct error *err)
{
    const char *p = bytes;
    while (n) {
        ssize_t took = write(fd, p, n);
        if (took < 0 && errno == EINTR)
            continue;
        if (took < 0 && errno == EAGAIN) { // a stdout that somebody made non-blocking
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (took == 0)
            errno = EIO;
        if (took <= 0)
            return error_set_errno(err, "cannot write %s", path);
        p += took;
        n -= (size_t)took;
    }
    return 0;
}

// The name is durable only when its directory is. A failure here is not reported: the file is in place and readable,
// and some file systems cannot fsync a directory at all.
static void sync_directory(const char *path)
{
    char dir[PATH_MAX];
    if (path_dirname(path, dir, sizeof(dir)))
        return;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

// A device, FIFO or the like cannot be replaced by a rename: it is written in place.
static int write_in_place(const char *path, const void *bytes, size_t n, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, "cannot write %s", path);
    int rc = file_write_all(fd, bytes, n, path, err);
    if (close(fd) && !rc)
        rc = error_set_errno(err, "cannot write %s", path);
    return rc;
}

static int create_temporary(const char *tmp)
{
    // O_EXCL does not follow a planted link; a file of that name is a leftover of a dead process with our id.
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = open(tmp, flags, 0666);
    if (fd < 0 && errno == EEXIST && unlink(tmp) == 0)
        fd = open(tmp, flags, 0666);
    return fd;
}

// Writes the temporary and moves it into place; on failure errno says why and the temporary is gone.
static int write_and_rename(const char *tmp, const char *path, const void *bytes, size_t n, const struct stat *old)
{
    int fd = create_temporary(tmp);
    if (fd < 0)
        return -1;
    int rc = file_write_all(fd, bytes, n, path, NULL);
    if (!rc)
        rc = fsync(fd);
    if (!rc && old && fchmod(fd, old->st_mode & 07777))
        rc = 0; // keeping the mode is a courtesy that a file of another owner may refuse
    int saved = errno;
    if (close(fd) && !rc) { // NFS and quotas report here
        saved = errno;
        rc = -1;
    }
    if (!rc && rename(tmp, path)) {
        saved = errno;
        rc = -1;
    }
    if (rc)
        unlink(tmp);
    errno = saved;
    return rc;
}

int file_write_atomic(const char *path, const void *bytes, size_t n, struct error *err)
{
    // A symbolic link stays one: what it points to is replaced.
    char real[PATH_MAX], tmp[PATH_MAX];
    const char *target = realpath(path, real) ? real : path;
    struct stat st;
    bool exists = stat(target, &st) == 0;
    if (exists && S_ISDIR(st.st_mode))
        return error_set(err, ERR_INVALID, "cannot write %s: is a directory, expected a file", path);
    if (exists && !S_ISREG(st.st_mode))
        return write_in_place(target, bytes, n, err);
    int len = snprintf(tmp, sizeof(tmp), "%s.tmp-%ld", target, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof(tmp))
        return error_set(err, ERR_INVALID, "cannot write %.200s...: the path is too long", path);
    if (write_and_rename(tmp, target, bytes, n, exists ? &st : NULL))
        return error_set_errno(err, "cannot write %s", path);
    sync_directory(target);
    return 0;
}

static int copy_path(const char *s, size_t n, char *dst, size_t size)
{
    if (n >= size)
        return -1;
    memcpy(dst, s, n);
    dst[n] = '\0';
    return 0;
}

int path_dirname(const char *path, char *dst, size_t size)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        return copy_path(".", 1, dst, size);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return copy_path(path, n, dst, size);
}

int path_join(const char *a, const char *b, char *dst, size_t size)
{
    if (b[0] == '/' || a[0] == '\0')
        return copy_path(b, strlen(b), dst, size);
    size_t na = strlen(a), nb = strlen(b);
    bool slash = a[na - 1] != '/';
    if (na + slash + nb >= size)
        return -1;
    memcpy(dst, a, na);
    if (slash)
        dst[na] = '/';
    memcpy(dst + na + slash, b, nb + 1);
    return 0;
}
