// CSV as RFC 4180 has it, and a little more: any of three delimiters, LF or CRLF, a quote inside of an unquoted field
// is an ordinary character, empty lines are left out. Checked in one pass when the file is opened; reading a field
// afterwards walks along its row and stops at DATASET_MAX_ROW whatever it meets.
#include <string.h>
#include "telemetry/dataset_impl.h"

// Where the line's end begins: at LF, at CR LF, or at the end.
static bool at_line_end(const char *p, const char *end)
{
    return p >= end || *p == '\n' || (*p == '\r' && p + 1 < end && p[1] == '\n');
}

static const char *over_line_end(const char *p, const char *end)
{
    if (p < end && *p == '\r')
        p++;
    return p < end ? p + 1 : end;
}

static size_t skip_blank(const struct dataset *ds, size_t at)
{
    const char *p = ds->bytes + at, *end = ds->bytes + ds->size;
    while (p < end && at_line_end(p, end))
        p = over_line_end(p, end);
    return (size_t)(p - ds->bytes);
}

// Closing quote of the field whose opening one is at p, or NULL.
static const char *closing_quote(const char *p, const char *end, bool *escapes)
{
    for (p++; p < end && (p = memchr(p, '"', (size_t)(end - p))); p += 2) {
        if (p + 1 >= end || p[1] != '"')
            return p;
        *escapes = true;
    }
    return NULL;
}

// Reads the field at p. Returns where the delimiter or the line's end behind it is; NULL: the quote is not closed.
static const char *read_field(const struct dataset *ds, const char *p, const char *end, struct span *f)
{
    *f = (struct span){.s = p, .quoted = !ds->plain && p < end && *p == '"'};
    if (f->quoted) {
        const char *close = closing_quote(p, end, &f->escapes);
        if (!close)
            return NULL;
        f->s = p + 1;
        f->n = (size_t)(close - f->s);
        return close + 1;
    }
    while (p < end && *p != ds->delimiter && *p != '\n')
        p++;
    f->n = (size_t)(p - f->s);
    if (f->n && p < end && *p == '\n' && p[-1] == '\r') {
        f->n--;
        p--;
    }
    return p;
}

static const char *row_limit(const struct dataset *ds, size_t at)
{
    size_t left = ds->size - at;
    return ds->bytes + at + (left < DATASET_MAX_ROW + 2 ? left : DATASET_MAX_ROW + 2);
}

size_t dataset_csv_next(const struct dataset *ds, size_t at)
{
    const char *p = ds->bytes + at, *end = row_limit(ds, at);
    struct span f;
    if (ds->plain) {
        p = memchr(p, '\n', (size_t)(end - p));
        return skip_blank(ds, p ? (size_t)(p + 1 - ds->bytes) : ds->size);
    }
    while ((p = read_field(ds, p, end, &f)) && p < end && !at_line_end(p, end))
        p++;
    return p && p < end ? skip_blank(ds, (size_t)(over_line_end(p, end) - ds->bytes)) : ds->size;
}

// --- opening

static int too_long(const struct dataset *ds, size_t at, bool quote, struct error *err)
{
    return dataset_bad(ds, at, err, "a row of more than %u bytes%s", DATASET_MAX_ROW,
                       quote ? "; is a quote not closed?" : "");
}

// Walks over one row and counts its fields; *end: where the next line begins.
static int check_row(const struct dataset *ds, size_t at, unsigned *fields, size_t *next, struct error *err)
{
    const char *p = ds->bytes + at, *limit = row_limit(ds, at), *file_end = ds->bytes + ds->size;
    struct span f;
    for (*fields = 1;; p++, ++*fields) {
        const char *begin = p;
        p = read_field(ds, p, limit, &f);
        if (!p && limit < file_end)
            return too_long(ds, at, true, err);
        if (!p)
            return dataset_bad(ds, (size_t)(begin - ds->bytes), err, "the quote of field %u is not closed", *fields);
        if (at_line_end(p, limit))
            break;
        if (*p != ds->delimiter)
            return dataset_bad(ds, (size_t)(p - ds->bytes), err,
                               "field %u goes on behind its closing quote; write a quote within quotes twice", *fields);
    }
    if ((size_t)(p - ds->bytes) - at > DATASET_MAX_ROW)
        return too_long(ds, at, false, err);
    *next = (size_t)(over_line_end(p, file_end) - ds->bytes);
    return 0;
}

static char find_delimiter(const struct dataset *ds, size_t at)
{
    static const char candidates[] = ",;\t";
    size_t counts[3] = {0}, best = 0, n = strlen(ds->path);
    if (n > 4 && !strcmp(ds->path + n - 4, ".tsv"))
        return '\t';
    bool quoted = false;
    for (const char *p = ds->bytes + at, *end = row_limit(ds, at); p < end && (quoted || !at_line_end(p, end)); p++) {
        if (*p == '"')
            quoted = !quoted;
        const char *hit = quoted ? NULL : memchr(candidates, *p, 3);
        if (hit)
            counts[hit - candidates]++;
    }
    for (size_t i = 1; i < 3; i++)
        best = counts[i] > counts[best] ? i : best;
    return candidates[best];
}

static struct span trimmed(struct span f)
{
    while (f.n && (*f.s == ' ' || *f.s == '\t'))
        f.s++, f.n--;
    while (f.n && (f.s[f.n - 1] == ' ' || f.s[f.n - 1] == '\t'))
        f.n--;
    return f;
}

// A first row of nothing but numbers and times is data, not names.
static bool looks_like_data(const struct dataset *ds, size_t at, unsigned fields)
{
    const char *p = ds->bytes + at, *end = row_limit(ds, at);
    bool some = false;
    for (unsigned i = 0; i < fields; i++, p++) {
        struct span f;
        struct value v;
        int64_t us;
        p = read_field(ds, p, end, &f);
        if (!p)
            return false;
        f = trimmed(f);
        if (!f.n)
            continue;
        if (!dataset_number(f.s, f.n, &v) && !dataset_time_parse(f.s, f.n, &us))
            return false;
        some = true;
    }
    return some;
}

static int name_column(struct dataset *ds, struct span f, unsigned place, struct scratch *scratch, struct error *err)
{
    char number[16];
    if (f.escapes) {
        char *copy = scratch_alloc(scratch, f.n);
        size_t n = 0;
        if (!copy)
            return error_set(err, ERR_LIMIT, "%s: the name of column %u is too long", ds->path, place);
        for (size_t i = 0; i < f.n; i++) {
            copy[n++] = f.s[i];
            i += f.s[i] == '"';
        }
        f.s = copy;
        f.n = n;
    }
    f = trimmed(f);
    if (!f.n) {
        f.n = (size_t)snprintf(number, sizeof number, "%u", place);
        f.s = number;
    }
    return dataset_add_column(ds, f.s, f.n, err);
}

static int name_columns(struct dataset *ds, size_t at, unsigned fields, bool header, struct error *err)
{
    const char *p = ds->bytes + at, *end = row_limit(ds, at);
    struct scratch scratch;
    scratch_create(&scratch, 2 * DATASET_MAX_ROW);
    int rc = 0;
    for (unsigned i = 0; i < fields && !rc; i++) {
        struct span f = {0};
        if (header) {
            p = read_field(ds, p, end, &f);
            p = p && p < end ? p + 1 : end;
        }
        rc = name_column(ds, f, i + 1, &scratch, err);
    }
    scratch_destroy(&scratch);
    return rc ? error_prefix(err, "%s:%llu", ds->path, (unsigned long long)dataset_line_of(ds, at)) : 0;
}

static int index_rows(struct dataset *ds, size_t at, unsigned columns, struct error *err)
{
    while (at < ds->size) {
        unsigned fields;
        size_t next;
        if (check_row(ds, at, &fields, &next, err))
            return -1;
        if (fields != columns)
            return dataset_bad(ds, at, err, "expected %u field%s as in the first row, got %u", columns,
                               columns == 1 ? "" : "s", fields);
        if (dataset_mark(ds, at, err))
            return -1;
        at = skip_blank(ds, next);
    }
    if (!ds->rows)
        return error_set(err, ERR_INVALID, "%s: a header and no rows", ds->path);
    return 0;
}

int dataset_csv_index(struct dataset *ds, struct error *err)
{
    size_t at = skip_blank(ds, ds->first), next;
    unsigned fields;
    if (at >= ds->size)
        return error_set(err, ERR_INVALID, "%s: there are no rows in it", ds->path);
    ds->plain = !memchr(ds->bytes, '"', ds->size);
    ds->delimiter = ds->asked.delimiter ? ds->asked.delimiter : find_delimiter(ds, at);
    if (check_row(ds, at, &fields, &next, err))
        return -1;
    bool header = ds->asked.header == DATASET_HEADER_YES ||
                  (ds->asked.header == DATASET_HEADER_AUTO && !looks_like_data(ds, at, fields));
    if (fields > DATASET_MAX_COLUMNS)
        return error_set(err, ERR_LIMIT, "%s: %u columns, at most %u are possible", ds->path, fields,
                         DATASET_MAX_COLUMNS);
    if (name_columns(ds, at, fields, header, err))
        return -1;
    ds->first = header ? skip_blank(ds, next) : at;
    return index_rows(ds, ds->first, fields, err);
}

// --- reading

static bool is_word(const struct span *f, const char *word)
{
    for (size_t i = 0; i < f->n; i++) {
        char c = f->s[i] >= 'A' && f->s[i] <= 'Z' ? (char)(f->s[i] + 32) : f->s[i];
        if (c != word[i])
            return false; // its NUL differs from any character of the field
    }
    return !word[f->n];
}

static void unquote(const struct span *f, struct scratch *scratch, struct value *out)
{
    char *copy = scratch ? scratch_alloc(scratch, f->n) : NULL;
    size_t n = 0;
    if (!copy)
        return;
    for (size_t i = 0; i < f->n; i++) {
        copy[n++] = f->s[i];
        i += f->s[i] == '"';
    }
    *out = (struct value){.type = VALUE_STRING, .str = {copy, n}};
}

void dataset_csv_field(const struct dataset *ds, size_t at, unsigned column, bool text, struct scratch *scratch,
                       struct value *out)
{
    const char *p = ds->bytes + at, *end = row_limit(ds, at);
    struct span f;
    out->type = VALUE_NULL;
    for (unsigned i = 0;; i++, p++) {
        p = read_field(ds, p, end, &f);
        if (!p)
            return;
        if (i == column)
            break;
        if (at_line_end(p, end))
            return;
    }
    if (f.escapes) {
        unquote(&f, scratch, out);
        return;
    }
    if ((!f.n && !f.quoted) || (f.n && memchr(f.s, '\0', f.n))) // NUL: the file was cut off since
        return;
    *out = (struct value){.type = VALUE_STRING, .str = {f.s, f.n}};
    if (text || f.quoted || dataset_number(f.s, f.n, out))
        return;
    if (is_word(&f, "true") || is_word(&f, "false"))
        *out = (struct value){.type = VALUE_BOOLEAN, .boolean = f.n == 4};
}
