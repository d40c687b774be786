#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_clear(struct error *err)
{
    if (!err)
        return;
    err->code = ERR_NONE;
    err->line = 0;
    err->file = NULL;
    err->text[0] = '\0';
}

// An error is shown as one line: what a system or a peer put into it must not break that.
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

// A cut in the middle of a UTF-8 sequence would leave bytes that no terminal or JSON writer likes.
static void cut_utf8(char *s, size_t size)
{
    size_t n = strlen(s);
    if (n + 1 < size || n == 0)
        return; // was not truncated
    size_t start = n - 1;
    while (start > 0 && n - start < 4 && ((unsigned char)s[start] & 0xc0) == 0x80)
        start--;
    unsigned char lead = (unsigned char)s[start];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (n - start < want)
        s[start] = '\0';
}

// Cuts at the end of the array.
static void append(char *text, size_t size, const char *tail)
{
    size_t used = strlen(text), n = strlen(tail);
    if (n > size - 1 - used)
        n = size - 1 - used;
    memcpy(text + used, tail, n);
    text[used + n] = '\0';
}

static void fill(struct error *err, const char *file, int line, enum error_code code, const char *fmt, va_list args)
{
    char text[sizeof(err->text)]; // the arguments may point into err->text
    vsnprintf(text, sizeof(text), fmt, args);
    memcpy(err->text, text, strlen(text) + 1);
    err->code = code;
    err->file = file;
    err->line = line;
}

int error_set_at(struct error *err, const char *file, int line, enum error_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list args;
    va_start(args, fmt);
    fill(err, file, line, code, fmt, args);
    va_end(args);
    one_line(err->text);
    cut_utf8(err->text, sizeof(err->text));
    return -1;
}

static enum error_code code_of_errno(int e)
{
    switch (e) {
    case ECONNREFUSED:
        return ERR_REFUSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EMFILE:
    case ENFILE:
    case EADDRNOTAVAIL: // no ephemeral port left on the source address
    case EDQUOT:
        return ERR_LIMIT;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NO_MEMORY;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
    case ENOTCONN:
        return ERR_CLOSED;
    case ECANCELED:
        return ERR_CANCELLED;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
        return ERR_UNSUPPORTED;
    default:
        return ERR_IO;
    }
}

int error_set_errno_at(struct error *err, const char *file, int line, const char *fmt, ...)
{
    int saved = errno;
    if (!err)
        return -1;
    va_list args;
    va_start(args, fmt);
    fill(err, file, line, code_of_errno(saved), fmt, args);
    va_end(args);
    char reason[128];
    append(err->text, sizeof(err->text), ": ");
    append(err->text, sizeof(err->text), strerror_r(saved, reason, sizeof(reason)));
    if (saved == EMFILE) // a limit that users can do something about
        append(err->text, sizeof(err->text),
               " (the descriptor limit of one process: raise ulimit -n, or use more shards)");
    one_line(err->text);
    cut_utf8(err->text, sizeof(err->text));
    errno = saved;
    return -1;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    append(text, sizeof(text), ": ");
    append(text, sizeof(text), err->text);
    memcpy(err->text, text, strlen(text) + 1);
    one_line(err->text);
    cut_utf8(err->text, sizeof(err->text));
    return -1;
}

const char *error_code_name(enum error_code code)
{
    static const char *const names[ERR_CODE_MAX] = {
        [ERR_NONE] = "none",
        [ERR_INVALID] = "invalid",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_LIMIT] = "limit",
        [ERR_NO_MEMORY] = "memory",
        [ERR_IO] = "io",
        [ERR_RESOLVE] = "resolve",
        [ERR_REFUSED] = "refused",
        [ERR_CLOSED] = "closed",
        [ERR_TIMEOUT] = "timeout",
        [ERR_PROTOCOL] = "protocol",
        [ERR_STATE] = "state",
        [ERR_CANCELLED] = "cancelled",
        [ERR_INTERNAL] = "internal",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_TLS] = "tls",
    };
    if ((unsigned)code >= ERR_CODE_MAX)
        return "internal";
    return names[code];
}
