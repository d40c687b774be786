// Recorded times: a column of a dataset as microseconds since its first row.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "telemetry/dataset_impl.h"

enum { STEPS_FORWARD = 8 }; // rows that are tried one by one before a search

// --- ISO 8601

// n digits as a number, -1 when they are none.
static int digits(const char *s, size_t n)
{
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v;
}

// Days since 1970-01-01; years begin in March, so that the leap day is the last of its year.
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y % 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool date_parse(const char *s, size_t n, int64_t *days)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (n < 10 || s[4] != '-' || s[7] != '-')
        return false;
    int year = digits(s, 4), month = digits(s + 5, 2), day = digits(s + 8, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1])
        return false;
    if (month == 2 && day == 29 && (year % 4 || (year % 100 == 0 && year % 400)))
        return false;
    *days = days_of(year, month, day);
    return true;
}

// "Z", "+01:00", "+0100", "+01" → microseconds east of UTC
static bool zone_parse(const char *s, size_t n, int64_t *us)
{
    *us = 0;
    if (n == 0 || (n == 1 && (*s == 'Z' || *s == 'z')))
        return true;
    int sign = *s == '+' ? 1 : *s == '-' ? -1 : 0;
    if (!sign || (n != 3 && n != 5 && !(n == 6 && s[3] == ':')))
        return false;
    int hours = digits(s + 1, 2), minutes = n > 3 ? digits(s + n - 2, 2) : 0;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *us = sign * ((int64_t)hours * 60 + minutes) * 60000000;
    return true;
}

bool dataset_time_parse(const char *s, size_t n, int64_t *out_us)
{
    int64_t days, zone, us;
    if (!date_parse(s, n, &days))
        return false;
    *out_us = days * 86400000000;
    if (n == 10)
        return true;
    if ((s[10] != 'T' && s[10] != 't' && s[10] != ' ') || n < 16 || s[13] != ':')
        return false;
    int hours = digits(s + 11, 2), minutes = digits(s + 14, 2), seconds = 0;
    size_t at = 16;
    if (n >= 19 && s[16] == ':') {
        seconds = digits(s + 17, 2);
        at = 19;
    }
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || seconds < 0 || seconds > 60)
        return false;
    us = 0;
    if (at == 19 && at < n && (s[at] == '.' || s[at] == ',')) {
        int64_t unit = 100000;
        size_t from = ++at;
        for (; at < n && s[at] >= '0' && s[at] <= '9'; at++, unit /= 10)
            us += unit * (s[at] - '0');
        if (at == from)
            return false;
    }
    if (!zone_parse(s + at, n - at, &zone))
        return false;
    *out_us += ((int64_t)hours * 3600 + minutes * 60 + seconds) * 1000000 + us - zone;
    return true;
}

// --- a column

// Of a number: what its unit is, told by its size. 1e11 s is the year 5138, 1e11 ms is 1973.
static double unit_of(double v)
{
    return v < 1e11 ? 1e6 : v < 1e14 ? 1e3 : v < 1e17 ? 1 : 1e-3;
}

// The time of a row; numbers in c->unit_us, or in the unit that their size tells when that is 0.
static bool read_time(struct dataset_clock *c, uint64_t at, int64_t *us)
{
    struct value v;
    dataset_field_at(c->ds, at, c->column, NULL, &v);
    if (v.type == VALUE_STRING) {
        struct value number; // a JSON string or a quoted field may hold a number
        if (!dataset_number(v.str.s, v.str.n, &number))
            return dataset_time_parse(v.str.s, v.str.n, us);
        v = number;
    }
    if (v.type == VALUE_INTEGER) // without rounding: nanoseconds do not fit a double
        v.number = (double)v.integer;
    else if (v.type != VALUE_NUMBER)
        return false;
    if (c->unit_us == 0)
        c->unit_us = unit_of(fabs(v.number));
    double t = v.number * c->unit_us;
    if (!(fabs(t) < 4e18))
        return false;
    *us = v.type == VALUE_INTEGER && c->unit_us == 1e-3 ? v.integer / 1000 : llround(t);
    return true;
}

static int no_time(const struct dataset_clock *c, uint64_t at, struct error *err)
{
    struct value v;
    dataset_text_at(c->ds, at, c->column, NULL, &v);
    int n = v.type == VALUE_STRING ? (int)(v.str.n < 40 ? v.str.n : 40) : 0;
    return dataset_bad(c->ds, at, err,
                       "column \"%.64s\": expected a time (seconds since 1970, or 2024-01-31T12:00:00Z), "
                       "got \"%.*s\"",
                       c->ds->names[c->column], n, n ? v.str.s : "");
}

static int read_all(struct dataset_clock *c, struct error *err)
{
    const struct dataset *ds = c->ds;
    int64_t us, last = INT64_MIN;
    // Seconds from 0 on and milliseconds since 1970 are told apart by the largest value, which is the last one.
    if (!read_time(c, dataset_seek(ds, ds->rows - 1), &us))
        return no_time(c, dataset_seek(ds, ds->rows - 1), err);
    uint64_t at = ds->first;
    for (uint64_t row = 0; row < ds->rows; row++, at = dataset_next(ds, at)) {
        if (!read_time(c, at, &us))
            return no_time(c, at, err);
        if (us < last)
            return dataset_bad(ds, at, err, "column \"%.64s\" goes back in time; sort the rows by it",
                               ds->names[c->column]);
        if (row == 0)
            c->origin_us = us;
        if (row % DATASET_STRIDE == 0)
            c->marks[row / DATASET_STRIDE] = us - c->origin_us;
        last = us;
    }
    c->last_us = last - c->origin_us;
    return 0;
}

struct dataset_clock *dataset_clock(struct dataset *ds, unsigned column, struct error *err)
{
    for (struct dataset_clock *c = ds->clocks; c; c = c->next) {
        if (c->column == column)
            return c;
    }
    if (ds->format == DATASET_BINARY) {
        error_set(err, ERR_INVALID, "%s: a binary file has no column of times", ds->path);
        return NULL;
    }
    struct dataset_clock *c = calloc(1, sizeof *c);
    if (c)
        c->marks = calloc(ds->n_marks, sizeof *c->marks);
    if (!c || !c->marks) {
        free(c);
        error_set(err, ERR_NO_MEMORY, "%s: no memory for its times", ds->path);
        return NULL;
    }
    c->ds = ds;
    c->column = column;
    if (read_all(c, err)) {
        free(c->marks);
        free(c);
        return NULL;
    }
    c->next = ds->clocks;
    ds->clocks = c;
    return c;
}

int64_t dataset_clock_span_us(const struct dataset_clock *c)
{
    return c->last_us;
}

int64_t dataset_clock_us(const struct dataset_clock *c, uint64_t at)
{
    struct dataset_clock copy = *c; // its unit is known: nothing is written
    int64_t us;
    return read_time(&copy, at, &us) ? us - c->origin_us : INT64_MAX; // unreadable: the file was changed
}

static void search(const struct dataset_clock *c, int64_t us, uint64_t *row, uint64_t *at)
{
    size_t low = 0, high = c->ds->n_marks; // the last mark that is not after us lies in [low, high)
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (c->marks[middle] <= us)
            low = middle;
        else
            high = middle;
    }
    *row = low * DATASET_STRIDE;
    *at = c->ds->marks[low];
}

void dataset_clock_find(const struct dataset_clock *c, int64_t us, uint64_t *row, uint64_t *at)
{
    const struct dataset *ds = c->ds;
    bool searched = *row >= ds->rows || dataset_clock_us(c, *at) > us;
    if (searched)
        search(c, us, row, at);
    for (unsigned steps = 0; *row + 1 < ds->rows; steps++) {
        uint64_t next = dataset_next(ds, *at);
        if (next >= ds->size || dataset_clock_us(c, next) > us)
            return;
        if (steps == (searched ? DATASET_STRIDE : STEPS_FORWARD)) {
            if (searched)
                return; // only in a file that was changed
            search(c, us, row, at);
            searched = true;
            steps = 0;
            continue;
        }
        *at = next;
        ++*row;
    }
}
