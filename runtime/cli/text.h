// Text for people: one line at a time, with its width known, clipped to the terminal, coloured or not, and safe.
// Whatever comes from outside (names of groups, errors, metrics) goes through here: control characters, invalid UTF-8
// and bidirectional overrides become visible escapes, so that no name can move the cursor or forge a line. Without
// UTF-8 the product's own symbols have ASCII stand-ins and everything else becomes "?".
#pragma once
#include "core/buf.h"

struct style {
    bool utf8;
    bool color;
    unsigned width; // columns; 0: unlimited
};

enum tint { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, CYAN };

// A line being written. Everything beyond the width is dropped.
struct line {
    struct buf *out;
    const struct style *style;
    unsigned col; // columns used
    bool failed;  // out is at its cap
};
void line_begin(struct line *l, struct buf *out, const struct style *style);
void line_put(struct line *l, enum tint tint, const char *text);
void line_putn(struct line *l, enum tint tint, const char *text, size_t n);
void line_printf(struct line *l, enum tint tint, const char *fmt, ...) PRINTF_LIKE(3, 4);
// Spaces up to column `col`.
void line_pad(struct line *l, unsigned col);
// A cell of a table: cut with "…" when wider, padded to `width` columns. right: aligned to the right.
void line_cell(struct line *l, enum tint tint, const char *text, unsigned width, bool right);
// Newline.
void line_end(struct line *l);

// Columns that text takes once it is made safe.
unsigned text_width(const struct style *style, const char *text);
// Appends text made safe; -1 at the cap.
int text_append(struct buf *out, const struct style *style, const char *text, size_t n) WARN_UNUSED_RESULT;

// Bars of one sample each, 0..max (max <= 0: the largest sample); a negative sample is a gap. dst: UTF-8 for line_put;
// size at least 3 * n + 1.
char *sparkline(const double *samples, unsigned n, double max, char *dst, size_t size);
// A bar of `width` cells filled to ratio 0..1; size at least 3 * width + 1.
char *progress_bar(double ratio, unsigned width, char *dst, size_t size);

// "850us" "3.1ms" "21ms" "1.2s" "2m05s": tight, for the live block. "-" when negative.
char *latency_short(int64_t us, char *dst, size_t size);
// What a person would have written: "30s" "1m30s" "6m10s" "250ms" "1h".
char *span_format(int64_t us, char *dst, size_t size);
// "02:14", "1:02:14".
char *clock_format(int64_t us, char *dst, size_t size);
