// What the streams are, and writing to them without ever waiting: a terminal stopped with Ctrl-S or a pipe that nobody
// reads must not stop the supervisor's loop.
#pragma once
#include "cli/text.h"

struct terminal {
    bool out_tty, err_tty;
    bool animate; // both are terminals, and not a dumb one: animation on one stream corrupts `cmd | jq`
    struct style out, err;
};
// Reads NO_COLOR, TERM, the locale and the window. no_color: --no-color.
void terminal_detect(struct terminal *t, bool no_color);
// Columns and rows of the window at fd now; 0 when unknown.
void terminal_size(int fd, unsigned *columns, unsigned *rows);

#define WRITER_MAX (256u << 10) // bytes that may wait; what comes beyond is dropped and counted

// Writes to a descriptor as it takes it; the rest waits.
struct writer;
// fd is not closed. The writer opens terminals and FIFOs once more to get a non-blocking description of its own (the
// flag is shared with the shell otherwise).
struct writer *writer_new(int fd);
void writer_delete(struct writer *w);
// Whole units (a line, a frame): all of it or, at the cap, nothing. Returns false when it was dropped.
bool writer_put(struct writer *w, const void *bytes, size_t n);
// Writes what can be written now.
void writer_pump(struct writer *w);
// Nothing waits: a frame of the live block that would only queue is better not drawn.
bool writer_idle(const struct writer *w);
// Waits at most max_ms until all is written; then says on the stream how much was dropped, if anything was.
void writer_flush(struct writer *w, int max_ms);
