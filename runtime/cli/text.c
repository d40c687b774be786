#include "cli/text.h"

#include <stdio.h>
#include <string.h>

struct glyph {
    char bytes[12]; // what goes out
    uint8_t n;
    uint8_t cols;
};

// Decodes a well-formed sequence of `len` bytes.
static uint32_t codepoint(const uint8_t *s, size_t len)
{
    switch (len) {
    case 1:
        return s[0];
    case 2:
        return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    case 3:
        return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    default:
        return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 | (uint32_t)(s[2] & 0x3f) << 6 |
               (s[3] & 0x3f);
    }
}

struct range {
    uint32_t first, last;
};

static bool in_ranges(uint32_t c, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}
#define IN(c, table) in_ranges(c, table, sizeof(table) / sizeof(table[0]))

// Not for typography: enough of Unicode's tables that a line of names is never wider than counted. The locale's wcwidth
// would do it too, but answers -1 for all of it in the C locale and differs from machine to machine.
static const struct range wide[] = {{0x1100, 0x115f},   {0x2329, 0x232a},   {0x2614, 0x2615},   {0x2e80, 0x303e},
                                    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},
                                    {0xa960, 0xa97f},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
                                    {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x16fe0, 0x18aff}, {0x1b000, 0x1b2ff},
                                    {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f64f}, {0x1f680, 0x1f6ff},
                                    {0x1f7e0, 0x1f7eb}, {0x1f90c, 0x1faff}, {0x20000, 0x3fffd}};
static const struct range combining[] = {{0x0300, 0x036f}, {0x0483, 0x0489},  {0x0591, 0x05bd}, {0x0610, 0x061a},
                                         {0x064b, 0x065f}, {0x0900, 0x0902},  {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e},
                                         {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},  {0x20d0, 0x20ff}, {0xfe00, 0xfe0f},
                                         {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef}};
// Invisible, or able to reorder the rest of the line (Unicode TR 36), or a line end of its own.
static const struct range deceptive[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},       {0x061c, 0x061c},
                                         {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
                                         {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}, {0xd800, 0xdfff}};

// ASCII stand-ins for the symbols that the product itself prints.
static const char *stand_in(uint32_t c)
{
    static const char levels[8][2] = {"_", ".", "-", ":", "=", "+", "*", "#"};
    if (c >= 0x2581 && c <= 0x2588)
        return levels[c - 0x2581];
    switch (c) {
    case 0x00b7: // ·
        return "-";
    case 0x00d7: // ×
        return "x";
    case 0x2026: // …
        return "~";
    case 0x2192: // →
        return "->";
    case 0x2591: // ░
        return ".";
    case 0x2713: // ✓
        return "+";
    case 0x2717: // ✗
        return "x";
    default:
        return "?";
    }
}

static void glyph_text(struct glyph *g, const char *text)
{
    g->n = (uint8_t)strlen(text);
    g->cols = g->n;
    memcpy(g->bytes, text, g->n);
}

// The first character of s made safe; returns the bytes of s it took.
static size_t glyph_next(struct glyph *g, bool utf8, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    char escape[sizeof(g->bytes)];
    size_t len = utf8_length(s, n);
    if (len == 0) {
        snprintf(escape, sizeof(escape), "\\x%02x", s[0]);
        glyph_text(g, escape);
        return 1;
    }
    uint32_t c = codepoint(s, len);
    if (c >= 0x20 && c < 0x7f) {
        g->bytes[0] = (char)c;
        g->n = g->cols = 1;
    } else if (IN(c, deceptive)) {
        if (c == '\n' || c == '\t' || c == '\r')
            snprintf(escape, sizeof(escape), "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else
            snprintf(escape, sizeof(escape), c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
        glyph_text(g, escape);
    } else if (!utf8) {
        glyph_text(g, stand_in(c));
    } else {
        memcpy(g->bytes, s, len);
        g->n = (uint8_t)len;
        g->cols = IN(c, combining) ? 0 : IN(c, wide) ? 2 : 1;
    }
    return len;
}

unsigned text_width(const struct style *style, const char *text)
{
    unsigned cols = 0;
    struct glyph g;
    for (size_t n = strlen(text), i = 0; i < n;) {
        i += glyph_next(&g, style->utf8, text + i, n - i);
        cols += g.cols;
    }
    return cols;
}

int text_append(struct buf *out, const struct style *style, const char *text, size_t n)
{
    struct glyph g;
    for (size_t i = 0; i < n;) {
        i += glyph_next(&g, style->utf8, text + i, n - i);
        if (buf_append(out, g.bytes, g.n))
            return -1;
    }
    return 0;
}

void line_begin(struct line *l, struct buf *out, const struct style *style)
{
    l->out = out;
    l->style = style;
    l->col = 0;
    l->failed = false;
}

static void emit(struct line *l, const char *bytes, size_t n)
{
    if (!l->failed && buf_append(l->out, bytes, n))
        l->failed = true;
}

static const char *tint_code(enum tint tint)
{
    static const char *const codes[] = {"", "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[33m", "\033[36m"};
    return codes[tint];
}

void line_putn(struct line *l, enum tint tint, const char *text, size_t n)
{
    bool colored = l->style->color && tint != PLAIN && n > 0;
    if (colored)
        emit(l, tint_code(tint), strlen(tint_code(tint)));
    struct glyph g;
    for (size_t i = 0; i < n;) {
        i += glyph_next(&g, l->style->utf8, text + i, n - i);
        if (l->style->width && l->col + g.cols > l->style->width) {
            l->col = l->style->width; // nothing narrower may slip in behind what was cut
            break;
        }
        emit(l, g.bytes, g.n);
        l->col += g.cols;
    }
    if (colored)
        emit(l, "\033[0m", 4);
}

void line_put(struct line *l, enum tint tint, const char *text)
{
    line_putn(l, tint, text, strlen(text));
}

void line_printf(struct line *l, enum tint tint, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    line_put(l, tint, text);
}

void line_pad(struct line *l, unsigned col)
{
    if (l->style->width && col > l->style->width)
        col = l->style->width;
    while (l->col < col) {
        emit(l, " ", 1);
        l->col++;
    }
}

// Bytes of text that fit `cols` columns.
static size_t fitting(const struct style *style, const char *text, unsigned cols)
{
    struct glyph g;
    size_t n = strlen(text), i = 0;
    unsigned used = 0;
    while (i < n) {
        size_t took = glyph_next(&g, style->utf8, text + i, n - i);
        if (used + g.cols > cols)
            break;
        used += g.cols;
        i += took;
    }
    return i;
}

void line_cell(struct line *l, enum tint tint, const char *text, unsigned width, bool right)
{
    unsigned end = l->col + width, cols = text_width(l->style, text);
    if (cols > width) {
        line_putn(l, tint, text, fitting(l->style, text, width ? width - 1 : 0));
        line_put(l, tint, "…");
    } else {
        if (right)
            line_pad(l, end - cols);
        line_put(l, tint, text);
    }
    line_pad(l, end);
}

void line_end(struct line *l)
{
    emit(l, "\n", 1);
    l->col = 0;
}

char *sparkline(const double *samples, unsigned n, double max, char *dst, size_t size)
{
    if (max <= 0)
        for (unsigned i = 0; i < n; i++)
            if (samples[i] > max)
                max = samples[i];
    size_t at = 0;
    for (unsigned i = 0; i < n && at + 4 <= size; i++) {
        if (!(samples[i] >= 0)) {
            dst[at++] = ' ';
            continue;
        }
        int level = max > 0 ? (int)(samples[i] / max * 7 + 0.5) : 0;
        level = level > 7 ? 7 : level;
        dst[at++] = '\xe2'; // U+2581 to U+2588
        dst[at++] = '\x96';
        dst[at++] = (char)(0x81 + level);
    }
    dst[at] = '\0';
    return dst;
}

char *progress_bar(double ratio, unsigned width, char *dst, size_t size)
{
    if (!(ratio >= 0))
        ratio = 0;
    unsigned full = ratio >= 1 ? width : (unsigned)(ratio * width);
    size_t at = 0;
    for (unsigned i = 0; i < width && at + 4 <= size; i++) {
        dst[at++] = '\xe2'; // U+2588 full, U+2591 light shade
        dst[at++] = '\x96';
        dst[at++] = (char)(i < full ? 0x88 : 0x91);
    }
    dst[at] = '\0';
    return dst;
}

char *latency_short(int64_t us, char *dst, size_t size)
{
    double d = (double)us;
    if (us < 0)
        snprintf(dst, size, "-");
    else if (us < 1000)
        snprintf(dst, size, "%dus", (int)us);
    else if (d < 9950)
        snprintf(dst, size, "%.1fms", d / 1e3);
    else if (d < 999500)
        snprintf(dst, size, "%.0fms", d / 1e3);
    else if (d < 9950000)
        snprintf(dst, size, "%.1fs", d / 1e6);
    else if (d < 59500000)
        snprintf(dst, size, "%.0fs", d / 1e6);
    else
        span_format((us + 500000) / 1000000 * 1000000, dst, size);
    return dst;
}

char *span_format(int64_t us, char *dst, size_t size)
{
    if (us < 0)
        us = 0;
    if (us % 1000000) {
        if (us < 1000000)
            snprintf(dst, size, "%.4gms", (double)us / 1e3);
        else if (us < 60000000)
            snprintf(dst, size, "%.3gs", (double)us / 1e6);
        else
            return span_format((us + 500000) / 1000000 * 1000000, dst, size);
        return dst;
    }
    unsigned long long s = (unsigned long long)us / 1000000, h = s / 3600, m = s / 60 % 60;
    s %= 60;
    if (h && s)
        snprintf(dst, size, "%lluh%02llum%02llus", h, m, s);
    else if (h && m)
        snprintf(dst, size, "%lluh%02llum", h, m);
    else if (h)
        snprintf(dst, size, "%lluh", h);
    else if (m && s)
        snprintf(dst, size, "%llum%02llus", m, s);
    else if (m)
        snprintf(dst, size, "%llum", m);
    else
        snprintf(dst, size, "%llus", s);
    return dst;
}

char *clock_format(int64_t us, char *dst, size_t size)
{
    unsigned long long s = us > 0 ? (unsigned long long)us / 1000000 : 0;
    if (s >= 3600)
        snprintf(dst, size, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(dst, size, "%02llu:%02llu", s / 60, s % 60);
    return dst;
}
