#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"

void terminal_size(int fd, unsigned *columns, unsigned *rows)
{
    struct winsize ws;
    *columns = *rows = 0;
    if (ioctl(fd, TIOCGWINSZ, &ws) == 0) {
        *columns = ws.ws_col;
        *rows = ws.ws_row;
    }
}

static bool locale_is_utf8(void)
{
    // Only LC_CTYPE, and without touching the process: LC_NUMERIC would turn every printed 1.5 into 1,5.
    locale_t l = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (!l)
        return false;
    bool utf8 = strcmp(nl_langinfo_l(CODESET, l), "UTF-8") == 0;
    freelocale(l);
    return utf8;
}

static void style_of(struct style *s, int fd, bool tty, bool utf8, bool color)
{
    unsigned rows;
    s->utf8 = utf8;
    s->color = tty && color;
    s->width = 0;
    if (tty) {
        terminal_size(fd, &s->width, &rows);
        if (s->width == 0)
            s->width = 80;
    }
}

void terminal_detect(struct terminal *t, bool no_color)
{
    const char *term = getenv("TERM"), *veto = getenv("NO_COLOR");
    bool dumb = !term || !*term || strcmp(term, "dumb") == 0;
    bool color = !no_color && !dumb && !(veto && *veto), utf8 = locale_is_utf8();
    t->out_tty = isatty(STDOUT_FILENO);
    t->err_tty = isatty(STDERR_FILENO);
    t->animate = t->out_tty && t->err_tty && !dumb;
    style_of(&t->out, STDOUT_FILENO, t->out_tty, utf8, color);
    style_of(&t->err, STDERR_FILENO, t->err_tty, utf8, color);
}

struct writer {
    int fd;
    bool owned;  // fd is our own, non-blocking description
    bool broken; // the other end is gone
    struct buf waits;
    uint64_t dropped; // units since the last notice
};

// A description of our own for what can block. A file is written as it is: opening it again would start at its
// beginning.
static int own_description(int fd)
{
    struct stat st;
    if (fstat(fd, &st) || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
        return -1;
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

struct writer *writer_new(int fd)
{
    struct writer *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    int own = own_description(fd);
    w->fd = own >= 0 ? own : fd;
    w->owned = own >= 0;
    buf_create(&w->waits, WRITER_MAX);
    return w;
}

void writer_delete(struct writer *w)
{
    if (!w)
        return;
    if (w->owned)
        close(w->fd);
    buf_destroy(&w->waits);
    free(w);
}

// Bytes taken now, 0 when it would wait.
static size_t write_some(struct writer *w, const uint8_t *p, size_t n)
{
    struct pollfd pfd = {.fd = w->fd, .events = POLLOUT};
    if (w->broken || (!w->owned && poll(&pfd, 1, 0) == 0))
        return 0;
    // Without a description of our own a larger write could block half-way: PIPE_BUF is what poll promises.
    ssize_t k = write(w->fd, p, !w->owned && n > 4096 ? 4096 : n);
    if (k < 0 && errno != EAGAIN && errno != EINTR)
        w->broken = true;
    return k > 0 ? (size_t)k : 0;
}

void writer_pump(struct writer *w)
{
    while (w->waits.len > 0 && !w->broken) {
        size_t k = write_some(w, w->waits.data, w->waits.len);
        if (k == 0)
            break;
        buf_consume(&w->waits, (uint32_t)k);
    }
    if (w->broken)
        buf_clear(&w->waits);
}

static void say_dropped(struct writer *w)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "[%llu lines were dropped here: the output did not take them]\n",
                     (unsigned long long)w->dropped);
    if (!buf_append(&w->waits, text, (size_t)n))
        w->dropped = 0;
}

bool writer_put(struct writer *w, const void *bytes, size_t n)
{
    if (w->broken)
        return false;
    writer_pump(w);
    if (w->dropped && w->waits.len < WRITER_MAX / 2)
        say_dropped(w);
    if (buf_append(&w->waits, bytes, n)) {
        w->dropped++;
        return false;
    }
    writer_pump(w);
    return true;
}

bool writer_idle(const struct writer *w)
{
    return w->waits.len == 0;
}

void writer_flush(struct writer *w, int max_ms)
{
    struct clock clock;
    clock_create_real(&clock);
    int64_t deadline = clock_now_us(&clock) + (int64_t)max_ms * 1000;
    for (;;) {
        writer_pump(w);
        if (w->waits.len == 0 && w->dropped)
            say_dropped(w);
        int64_t left = deadline - clock_now_us(&clock);
        if (w->waits.len == 0 || w->broken || left <= 0)
            return;
        struct pollfd pfd = {.fd = w->fd, .events = POLLOUT};
        if (poll(&pfd, 1, (int)(left / 1000) + 1) < 0 && errno != EINTR)
            return;
    }
}
