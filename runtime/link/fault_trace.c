#include "link/fault_trace.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/jsonx.h"
#include "core/option.h"
#include "core/units.h"
#include "link/vary.h"

#define T_MAX_US (INT64_C(366) * 86400 * 1000000)
#define CELL_MAX 64

enum column { COLUMN_TIME, COLUMN_RTT, COLUMN_LOSS, COLUMN_RATE, COLUMNS };
static const char *const column_names[] = {"time", "rtt", "loss", "rate", NULL};

struct trace {
    unsigned refs, n;
    bool repeat;
    int64_t length_us; // of one round
    struct trace_row rows[];
};

struct reader {
    const char *label;
    struct trace *trace;
    unsigned room; // rows allocated
    unsigned line; // of the CSV, 1-based; row of the list, 0-based
    struct error *err;
};

// --- rows, whichever form they come in

static int take(struct reader *r, const struct trace_row *row, const char *what)
{
    struct trace *t = r->trace;
    if (t->n && row->t_us <= t->rows[t->n - 1].t_us)
        return error_set(r->err, ERR_INVALID, "%s: %s %u: time %g s does not come after the time before it, %g s",
                         r->label, what, r->line, (double)row->t_us / 1e6, (double)t->rows[t->n - 1].t_us / 1e6);
    if (t->n == TRACE_ROWS_MAX)
        return error_set(r->err, ERR_INVALID, "%s: more than %u rows", r->label, TRACE_ROWS_MAX);
    if (t->n == r->room) {
        unsigned room = r->room ? r->room * 2 : 16;
        struct trace *grown = realloc(t, sizeof *t + room * sizeof t->rows[0]);
        if (!grown)
            return error_set(r->err, ERR_NO_MEMORY, "no memory for the rows of a trace");
        r->trace = t = grown;
        r->room = room;
    }
    t->rows[t->n++] = *row;
    return 0;
}

// One cell, as the JSON of its value; NULL: empty.
static int cell(struct reader *r, const char *where, enum column column, const json_t *v, struct trace_row *row)
{
    int64_t us;
    if (!v || json_is_null(v)) {
        if (column == COLUMN_TIME)
            return error_set(r->err, ERR_INVALID, "%s: every row needs a time", where);
        return 0;
    }
    switch (column) {
    case COLUMN_TIME:
        return option_duration(where, v, 0, T_MAX_US, &row->t_us, r->err);
    case COLUMN_RTT:
        if (option_duration(where, v, 0, VARY_DURATION_MAX_US, &us, r->err))
            return -1;
        row->rtt_us = (double)us;
        return 0;
    case COLUMN_LOSS:
        return option_share(where, v, 0, 1, &row->loss, r->err);
    case COLUMN_RATE:
        if (option_rate(where, v, 0, VARY_RATE_MAX, &row->rate, r->err))
            return -1;
        row->rate = row->rate < VARY_RATE_MIN ? VARY_RATE_MIN : row->rate;
        return 0;
    case COLUMNS:
        break;
    }
    return -1;
}

static const struct trace_row empty_row = {.rtt_us = NAN, .loss = NAN, .rate = NAN};

// --- a list

static int parse_rows(struct reader *r, const json_t *rows)
{
    char where[160];
    size_t n = json_array_size(rows);
    snprintf(where, sizeof where, "%.90s.rows", r->label);
    if (!json_is_array(rows) || !n)
        return option_expected(where, "a list of rows [time, rtt, loss, rate]", rows, r->err);
    if (n > TRACE_ROWS_MAX)
        return error_set(r->err, ERR_INVALID, "%s: more than %u rows", where, TRACE_ROWS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(rows, i);
        struct trace_row row = empty_row;
        r->line = (unsigned)i;
        snprintf(where, sizeof where, "%.90s.rows[%zu]", r->label, i);
        if (!json_is_array(v) || json_array_size(v) < 2 || json_array_size(v) > COLUMNS)
            return option_expected(where, "[time, rtt, loss, rate] with null for what is not touched", v, r->err);
        for (unsigned c = 0; c < COLUMNS; c++) {
            snprintf(where, sizeof where, "%.90s.rows[%zu] %s", r->label, i, column_names[c]);
            if (cell(r, where, (enum column)c, json_array_get(v, c), &row))
                return -1;
        }
        if (take(r, &row, "row"))
            return -1;
    }
    return 0;
}

// --- CSV

struct csv {
    char separator;
    int columns[COLUMNS + 1]; // what stands in each place, -1: none
    unsigned n;
};

// The text of the next cell, without blanks and quotes around it; *at moves behind its separator. NULL: too long.
static const char *next_cell(const char **at, const char *end, char separator, char dst[CELL_MAX])
{
    const char *from = *at, *to = memchr(from, separator, (size_t)(end - from));
    to = to ? to : end;
    *at = to < end ? to + 1 : NULL;
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    if (to - from >= 2 && *from == '"' && to[-1] == '"') {
        from++;
        to--;
    }
    if (to - from >= CELL_MAX)
        return NULL;
    memcpy(dst, from, (size_t)(to - from));
    dst[to - from] = '\0';
    return dst;
}

static int parse_header(struct reader *r, const char *line, const char *end, struct csv *csv)
{
    char name[CELL_MAX], where[160];
    bool seen[COLUMNS] = {false};
    const char *at = line;
    csv->separator = memchr(line, ';', (size_t)(end - line))    ? ';'
                     : memchr(line, '\t', (size_t)(end - line)) ? '\t'
                                                                : ',';
    snprintf(where, sizeof where, "%.90s.csv: line %u", r->label, r->line);
    for (csv->n = 0; at; csv->n++) {
        const char *text = next_cell(&at, end, csv->separator, name);
        if (csv->n == COLUMNS || !text)
            return error_set(r->err, ERR_INVALID,
                             "%s: expected a header with columns out of time, rtt (ms), loss, rate (bit/s)", where);
        for (char *c = name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        int column = name_choose("unknown column", text, column_names, r->err);
        if (column < 0)
            return error_prefix(r->err, "%s", where);
        if (seen[column])
            return error_set(r->err, ERR_INVALID, "%s: the column %s is there twice", where, text);
        seen[column] = true;
        csv->columns[csv->n] = column;
    }
    if (!seen[COLUMN_TIME] || csv->n < 2)
        return error_set(r->err, ERR_INVALID,
                         "%s: expected the column time and at least one of rtt (ms), loss, rate (bit/s)", where);
    return 0;
}

// A cell's text as the JSON that means the same: a bare rtt is in ms. Bare numbers may have an exponent.
static json_t *cell_json(enum column column, const char *text)
{
    double d;
    if (double_parse(text, &d, NULL))
        return json_text_of(text);
    return json_real(column == COLUMN_RTT ? d / 1000 : d);
}

static int parse_line(struct reader *r, const char *line, const char *end, const struct csv *csv)
{
    char text[CELL_MAX], where[160];
    struct trace_row row = empty_row;
    const char *at = line;
    bool timed = false;
    for (unsigned i = 0; at; i++) {
        const char *c = next_cell(&at, end, csv->separator, text);
        if (i >= csv->n)
            return error_set(r->err, ERR_INVALID, "%.90s.csv: line %u: more cells than the header's %u", r->label,
                             r->line, csv->n);
        enum column column = (enum column)csv->columns[i];
        snprintf(where, sizeof where, "%.90s.csv: line %u: %s", r->label, r->line, column_names[column]);
        if (!c)
            return error_set(r->err, ERR_INVALID, "%s: a cell is longer than %d bytes", where, CELL_MAX - 1);
        json_t *v = *c ? cell_json(column, c) : NULL;
        if (*c && !v)
            return error_set(r->err, ERR_NO_MEMORY, "no memory for a trace");
        int rc = cell(r, where, column, v, &row);
        json_decref(v);
        if (rc)
            return -1;
        timed = timed || column == COLUMN_TIME;
    }
    if (!timed)
        return error_set(r->err, ERR_INVALID, "%.90s.csv: line %u: every row needs a time", r->label, r->line);
    return take(r, &row, "csv: line");
}

static int parse_csv(struct reader *r, const json_t *text)
{
    struct csv csv = {.n = 0};
    char where[160];
    const char *at = json_string_value(text);
    size_t n = json_string_length(text);
    snprintf(where, sizeof where, "%.90s.csv", r->label);
    if (!at)
        return option_expected(where, "the text of a CSV (time,rtt,loss,rate)", text, r->err);
    if (n > TRACE_BYTES_MAX)
        return error_set(r->err, ERR_INVALID, "%s: more than %u MB", where, TRACE_BYTES_MAX >> 20);
    for (const char *end = at + n; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *to = newline ? newline : end;
        const char *line = at;
        at = newline ? newline + 1 : end;
        r->line++;
        if (to > line && to[-1] == '\r')
            to--;
        const char *first = line;
        while (first < to && isspace((unsigned char)*first))
            first++;
        if (first == to || *first == '#')
            continue;
        if (csv.n ? parse_line(r, line, to, &csv) : parse_header(r, line, to, &csv))
            return -1;
    }
    if (!csv.n)
        return error_set(r->err, ERR_INVALID, "%s: it is empty; expected a header with time, rtt, loss, rate", where);
    return 0;
}

// --- the trace

static bool has(const struct trace *t, size_t offset)
{
    for (unsigned i = 0; i < t->n; i++) {
        double v;
        memcpy(&v, (const char *)&t->rows[i] + offset, sizeof v);
        if (!isnan(v))
            return true;
    }
    return false;
}

struct trace *trace_parse(const char *label, const json_t *v, struct error *err)
{
    static const char *const keys[] = {"rows", "csv", "repeat", NULL};
    const json_t *rows = json_object_get(v, "rows"), *csv = json_object_get(v, "csv");
    const json_t *repeat = json_object_get(v, "repeat");
    char where[128];
    if (option_object(label, v, "{rows or csv, repeat}", keys, err))
        return NULL;
    if (!rows == !csv) {
        error_set(err, ERR_INVALID, "%s: give either \"rows\" or \"csv\"", label);
        return NULL;
    }
    struct reader r = {.label = label, .err = err, .trace = calloc(1, sizeof *r.trace)};
    if (!r.trace) {
        error_set(err, ERR_NO_MEMORY, "no memory for a trace");
        return NULL;
    }
    r.trace->refs = 1;
    snprintf(where, sizeof where, "%.90s.repeat", label);
    int rc = repeat ? option_bool(where, repeat, &r.trace->repeat, err) : 0;
    if (rc == 0)
        rc = rows ? parse_rows(&r, rows) : parse_csv(&r, csv);
    struct trace *t = r.trace;
    if (rc == 0 && !trace_has_rtt(t) && !trace_has_rate(t) && !has(t, offsetof(struct trace_row, loss)))
        rc = error_set(err, ERR_INVALID, "%s: no row says anything about rtt, loss or rate", label);
    if (rc) {
        free(t);
        return NULL;
    }
    int64_t last = t->rows[t->n - 1].t_us;
    t->length_us = t->n > 1 ? last + (last - t->rows[t->n - 2].t_us) : INT64_MAX;
    return t;
}

struct trace *trace_ref(struct trace *t)
{
    t->refs++;
    return t;
}

void trace_release(struct trace *t)
{
    if (t && --t->refs == 0)
        free(t);
}

static json_t *cell_out(double v)
{
    return isnan(v) ? json_null() : json_num(v);
}

json_t *trace_json(const struct trace *t)
{
    json_t *rows = json_array();
    int rc = rows ? 0 : -1;
    for (unsigned i = 0; rc == 0 && i < t->n; i++) {
        const struct trace_row *row = &t->rows[i];
        rc = json_array_append_new(rows,
                                   json_pack("[o, o, o, o]", json_num((double)row->t_us / 1e6),
                                             cell_out(row->rtt_us / 1e6), cell_out(row->loss), cell_out(row->rate)));
    }
    if (rc == 0)
        return json_pack("{s:o, s:b}", "rows", rows, "repeat", (int)t->repeat);
    json_decref(rows);
    return NULL;
}

unsigned trace_rows(const struct trace *t)
{
    return t->n;
}

// Time within the round.
static int64_t within(const struct trace *t, int64_t t_us)
{
    return t->repeat && t_us > 0 && t->length_us != INT64_MAX ? t_us % t->length_us : t_us;
}

// How many rows begin at t_us or before.
static unsigned begun(const struct trace *t, int64_t t_us)
{
    unsigned low = 0, high = t->n;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (t->rows[middle].t_us <= t_us)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct trace_row *trace_at(const struct trace *t, int64_t t_us)
{
    unsigned n = begun(t, within(t, t_us));
    return n ? &t->rows[n - 1] : NULL;
}

int64_t trace_next_us(const struct trace *t, int64_t t_us)
{
    int64_t at = within(t, t_us);
    unsigned n = begun(t, at);
    if (n < t->n)
        return t_us + (t->rows[n].t_us - at);
    return t->repeat && t->length_us != INT64_MAX ? t_us + (t->length_us - at) : INT64_MAX;
}

bool trace_has_rtt(const struct trace *t)
{
    return has(t, offsetof(struct trace_row, rtt_us));
}

bool trace_has_rate(const struct trace *t)
{
    return has(t, offsetof(struct trace_row, rate));
}
