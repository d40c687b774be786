// What is wrong with a scenario, in the form that editors and people know from compilers.
#include <stdio.h>
#include <string.h>

#include "cli/view.h"

// Line number `line` (1-based) of a text; NULL when it has fewer.
static const char *find_line(const char *text, size_t n, int line, size_t *len)
{
    const char *at = text, *end = text + n;
    for (int i = 1; i < line; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at)
            return NULL;
        at++;
    }
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    *len = (size_t)((stop ? stop : end) - at);
    if (*len > 0 && at[*len - 1] == '\r')
        --*len;
    return *len ? at : NULL;
}

// The source line, cut so that the place is in view, and a caret under it. Tabs become one space in both.
static void source_line(struct line *l, const struct diagnostic *d, const char *text, size_t n)
{
    size_t len, from = 0;
    const char *source = d->line > 0 ? find_line(text, n, d->line, &len) : NULL;
    char shown[161], before[161];
    if (!source)
        return;
    size_t col = d->col > 0 ? (size_t)d->col - 1 : 0;
    if (col > len)
        col = len;
    if (col > 100)
        from = col - 60;
    while (from > 0 && from < len && ((unsigned char)source[from] & 0xc0) == 0x80)
        from++; // not in the middle of a character
    size_t take = len - from > 160 ? 160 : len - from;
    while (take > 0 && take < len - from && ((unsigned char)source[from + take] & 0xc0) == 0x80)
        take--;
    for (size_t i = 0; i < take; i++)
        shown[i] = source[from + i] == '\t' ? ' ' : source[from + i];
    shown[take] = '\0';
    line_printf(l, DIM, "%6d | ", d->line);
    line_putn(l, PLAIN, shown, take);
    line_end(l);
    if (d->col <= 0)
        return;
    size_t k = col - from < take ? col - from : take;
    memcpy(before, shown, k);
    before[k] = '\0';
    line_put(l, DIM, "       | ");
    line_pad(l, l->col + text_width(l->style, before));
    line_put(l, RED, "^");
    line_end(l);
}

int diagnostic_render(struct buf *out, const struct style *style, const struct diagnostic *d, const char *text,
                      size_t n)
{
    struct style whole = *style;
    whole.width = 0; // an editor parses the line: it must not be cut
    struct line l;
    line_begin(&l, out, &whole);
    if (d->file[0]) {
        line_put(&l, BOLD, strcmp(d->file, "-") == 0 ? "stdin" : d->file);
        line_put(&l, BOLD, ":");
        if (d->line > 0)
            line_printf(&l, BOLD, "%d:", d->line);
        if (d->line > 0 && d->col > 0)
            line_printf(&l, BOLD, "%d:", d->col);
        line_put(&l, PLAIN, " ");
    }
    line_printf(&l, RED, "error%s%s:", d->code[0] ? " " : "", d->code);
    line_put(&l, PLAIN, " ");
    // A traceback has lines of its own.
    for (const char *at = d->message; *at;) {
        size_t len = strcspn(at, "\n");
        line_putn(&l, PLAIN, at, len);
        at += len;
        if (*at == '\n' && *++at) {
            line_end(&l);
            line_put(&l, PLAIN, "         ");
            at += strspn(at, "\t ");
        }
    }
    line_end(&l);
    if (text)
        source_line(&l, d, text, n);
    if (d->hint[0]) {
        line_put(&l, CYAN, "  hint:");
        line_printf(&l, PLAIN, " %s", d->hint);
        line_end(&l);
    }
    return l.failed ? -1 : 0;
}

// As the terminal would show it: a diagnostic may quote any byte, and jansson refuses invalid UTF-8.
static json_t *shown_text(const char *s)
{
    static const struct style safe = {.utf8 = true};
    struct buf b;
    buf_create(&b, 16384);
    json_t *v = text_append(&b, &safe, s, strlen(s)) ? NULL : json_string(buf_cstr(&b));
    buf_destroy(&b);
    return v;
}

json_t *diagnostics_json(const struct diagnostic *d, unsigned n)
{
    json_t *array = json_array();
    for (unsigned i = 0; array && i < n; i++) {
        json_t *o = json_pack("{so so si si ss so so si}", "code", shown_text(d[i].code), "file", shown_text(d[i].file),
                              "line", d[i].line, "col", d[i].col, "severity", "error", "message",
                              shown_text(d[i].message), "hint", shown_text(d[i].hint), "exitCode", d[i].exit_code);
        if (json_array_append_new(array, o)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
