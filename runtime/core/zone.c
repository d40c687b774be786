// TZif, RFC 8536: a table of instants at which another offset begins, and a rule for the time behind the table.
#include "core/zone.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "core/file.h"
#include "core/units.h"
#include "core/zone_impl.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_FILE (256u * 1024) // the largest of today has 4 KB
#define MAX_NAME 64u
#define MAX_CANDIDATES 1024u // names of one directory that a suggestion is looked for among
#define MAX_INSTANT_S ((int64_t)1 << 55)

static const char *const directories[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo",
                                          "/etc/zoneinfo"};

struct zone {
    struct zone_rule rule;
    int first_s;      // offset before the table
    unsigned n_times; // of the table
    int64_t *times;   // ascending
    int32_t *offsets; // from times[i] on
};

// --- calendar

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

// Years of 400 years are alike, and a year that begins in March ends with its odd day: see H. Hinnant,
// "chrono-compatible low-level date algorithms".
int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    year += floor_div(month - 1, 12);
    month = month - 1 - floor_div(month - 1, 12) * 12 + 1;
    year -= month <= 2;
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468 + day - 1;
}

static void date_of_days(int64_t days, struct civil *out)
{
    days += 719468;
    int64_t era = floor_div(days, 146097), of_era = days - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    out->day = (int)(of_year - (153 * month + 2) / 5 + 1);
    out->month = (int)(month < 10 ? month + 3 : month - 9);
    out->year = (int)(year + era * 400 + (out->month <= 2));
}

static int64_t clamp_instant(int64_t utc_s)
{
    return utc_s > MAX_INSTANT_S ? MAX_INSTANT_S : utc_s < -MAX_INSTANT_S ? -MAX_INSTANT_S : utc_s;
}

// --- reading TZif

struct reader {
    const uint8_t *at, *end;
    const char *name;
    struct error *err;
};

struct header {
    uint8_t version;
    uint32_t isut, isstd, leap, times, types, chars;
};

static int64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = n == 4 && (p[0] & 0x80) ? UINT64_MAX : 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static int malformed(const struct reader *r, const char *what)
{
    return error_set(r->err, ERR_PROTOCOL, "time zone \"%s\": its file is damaged: %s", r->name, what);
}

static int read_header(struct reader *r, struct header *h)
{
    if (r->end - r->at < 44)
        return malformed(r, "it ends within a header");
    if (memcmp(r->at, "TZif", 4))
        return error_set(r->err, ERR_INVALID, "time zone \"%s\": that file holds no time zone (TZif)", r->name);
    uint32_t *const counts[] = {&h->isut, &h->isstd, &h->leap, &h->times, &h->types, &h->chars};
    h->version = r->at[4];
    for (unsigned i = 0; i < LENGTH(counts); i++)
        *counts[i] = (uint32_t)big_endian(r->at + 20 + 4 * (size_t)i, 4);
    r->at += 44;
    if (h->types == 0 || h->types > 256)
        return malformed(r, "its number of types is not in 1..256");
    return 0;
}

static uint64_t body_size(const struct header *h, unsigned time_size)
{
    return (uint64_t)h->times * (time_size + 1) + (uint64_t)h->types * 6 + h->chars +
           (uint64_t)h->leap * (time_size + 4) + h->isstd + h->isut;
}

static int read_offset(const struct reader *r, const uint8_t *types, const struct header *h, unsigned type,
                       int32_t *out)
{
    int64_t v = type < h->types ? big_endian(types + 6 * (size_t)type, 4) : INT64_MAX;
    if (v <= -ZONE_MAX_OFFSET_S || v >= ZONE_MAX_OFFSET_S)
        return malformed(r, type < h->types ? "an offset of more than a day" : "a type that it does not define");
    *out = (int32_t)v;
    return 0;
}

static int read_body(struct reader *r, const struct header *h, unsigned time_size, struct zone *z)
{
    if (body_size(h, time_size) > (uint64_t)(r->end - r->at))
        return malformed(r, "it ends within its table");
    if (h->leap)
        return error_set(r->err, ERR_UNSUPPORTED,
                         "time zone \"%s\" counts leap seconds: take the one of the same name without \"right/\"",
                         r->name);
    const uint8_t *times = r->at, *indexes = times + (size_t)h->times * time_size, *types = indexes + h->times;
    int32_t first;
    z->times = malloc((h->times + 1) * sizeof(*z->times));
    z->offsets = malloc((h->times + 1) * sizeof(*z->offsets));
    if (!z->times || !z->offsets)
        return error_set(r->err, ERR_NO_MEMORY, "no memory for a time zone");
    if (read_offset(r, types, h, 0, &first))
        return -1;
    z->first_s = first;
    for (z->n_times = 0; z->n_times < h->times; z->n_times++) {
        unsigned i = z->n_times;
        z->times[i] = clamp_instant(big_endian(times + (size_t)i * time_size, time_size));
        if (i && z->times[i] <= z->times[i - 1])
            return malformed(r, "its instants do not ascend");
        if (read_offset(r, types, h, indexes[i], &z->offsets[i]))
            return -1;
    }
    r->at += body_size(h, time_size);
    return 0;
}

static int read_footer(struct reader *r, struct zone *z)
{
    const uint8_t *end =
        r->at < r->end && *r->at == '\n' ? memchr(r->at + 1, '\n', (size_t)(r->end - r->at - 1)) : NULL;
    if (!end)
        return malformed(r, "its last line is missing");
    size_t n = (size_t)(end - r->at - 1);
    if (n && zone_rule_parse((const char *)r->at + 1, n, &z->rule))
        return malformed(r, "its last line is no rule of POSIX");
    return 0;
}

static int read_zone(struct reader *r, struct zone *z)
{
    struct header h;
    if (read_header(r, &h))
        return -1;
    if (h.version < '2')
        return read_body(r, &h, 4, z);
    if (body_size(&h, 4) > (uint64_t)(r->end - r->at))
        return malformed(r, "it ends within its table");
    r->at += body_size(&h, 4); // the table of 32 bits is for readers of version 1
    return read_header(r, &h) || read_body(r, &h, 8, z) || read_footer(r, z) ? -1 : 0;
}

struct zone *zone_parse(const void *bytes, size_t n, const char *name, struct error *err)
{
    struct reader r = {bytes, (const uint8_t *)bytes + n, name, err};
    struct zone *z = calloc(1, sizeof(*z));
    if (!z) {
        error_set(err, ERR_NO_MEMORY, "no memory for a time zone");
        return NULL;
    }
    if (n > MAX_FILE ? malformed(&r, "it is larger than 256 KB") : read_zone(&r, z)) {
        zone_close(z);
        return NULL;
    }
    return z;
}

// --- finding a zone by its name

static struct zone *open_file(const char *path, const char *name, struct error *err)
{
    struct buf bytes;
    struct zone *z = NULL;
    buf_create(&bytes, MAX_FILE + 1);
    if (file_read(path, MAX_FILE, &bytes, err) == 0)
        z = zone_parse(bytes.data, bytes.len, name, err);
    buf_destroy(&bytes);
    return z;
}

static void free_names(char **names)
{
    for (size_t i = 0; names[i]; i++)
        free(names[i]);
    free(names);
}

// Names in a directory, ends with NULL. NULL: no memory.
static char **names_in(const char *path)
{
    char **names = calloc(MAX_CANDIDATES + 1, sizeof(*names));
    DIR *dir = names ? opendir(path) : NULL;
    size_t n = 0;
    if (!dir)
        return names;
    for (struct dirent *e; n < MAX_CANDIDATES && (e = readdir(dir));)
        if (e->d_name[0] >= 'A' && e->d_name[0] <= 'Z' && (names[n] = strdup(e->d_name)))
            n++;
    closedir(dir);
    return names;
}

// "Europe/Berln" → "Europe/Berlin", part by part. false: nothing resembles it.
static bool nearest_name(const char *directory, const char *name, char *out, size_t size)
{
    char part[MAX_NAME + 1], path[512];
    size_t used = 0;
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, "/");
        snprintf(part, sizeof(part), "%.*s", (int)n, at);
        int length = snprintf(path, sizeof(path), "%s%s%.*s", directory, used ? "/" : "", (int)used, out);
        char **names = length > 0 && (size_t)length < sizeof(path) ? names_in(path) : NULL;
        if (!names)
            return false;
        const char *found = NULL;
        for (size_t i = 0; names[i] && !found; i++)
            found = strcmp(names[i], part) == 0 ? names[i] : NULL;
        if (!found)
            found = suggest(part, (const char *const *)names);
        length = found ? snprintf(out + used, size - used, "%s%s", used ? "/" : "", found) : -1;
        free_names(names);
        if (length < 0 || (size_t)length >= size - used)
            return false;
        used += (size_t)length;
        at += n + (at[n] == '/');
    }
    return used > 0;
}

static int unknown_zone(const char *name, struct error *err)
{
    char nearest[128];
    struct stat st;
    for (size_t i = 0; i < LENGTH(directories); i++) {
        if (stat(directories[i], &st) || !S_ISDIR(st.st_mode))
            continue;
        bool found = nearest_name(directories[i], name, nearest, sizeof(nearest));
        return error_set(err, ERR_NOT_FOUND,
                         "unknown time zone \"%s\"%s%s%s: expected \"UTC\", \"local\" or a name such as "
                         "\"Europe/Berlin\" (looked in %s)",
                         name, found ? ", did you mean \"" : "", found ? nearest : "", found ? "\"?" : "",
                         directories[i]);
    }
    return error_set(err, ERR_NOT_FOUND,
                     "time zone \"%s\": this machine has no zone database (package tzdata); only \"UTC\" works without",
                     name);
}

static bool plausible(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/");
    return n > 0 && n <= MAX_NAME && name[n] == '\0' && name[0] != '/' && name[n - 1] != '/';
}

struct zone *zone_open(const char *name, struct error *err)
{
    struct stat st;
    char path[256];
    if (strcmp(name, "UTC") == 0 || (strcmp(name, "local") == 0 && stat("/etc/localtime", &st))) {
        struct zone *z = calloc(1, sizeof(*z)); // without /etc/localtime a machine lives in UTC
        if (!z)
            error_set(err, ERR_NO_MEMORY, "no memory for a time zone");
        return z;
    }
    if (strcmp(name, "local") == 0)
        return open_file("/etc/localtime", name, err);
    if (!plausible(name)) {
        error_set(err, ERR_INVALID,
                  "\"%.80s\" is not a time zone: expected \"UTC\", \"local\" or a name such as \"Europe/Berlin\"",
                  name);
        return NULL;
    }
    for (size_t i = 0; i < LENGTH(directories); i++) {
        snprintf(path, sizeof(path), "%s/%s", directories[i], name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            return open_file(path, name, err);
    }
    unknown_zone(name, err);
    return NULL;
}

void zone_close(struct zone *z)
{
    if (!z)
        return;
    free(z->times);
    free(z->offsets);
    free(z);
}

// --- asking it

// How many of the table's instants lie at or before utc_s.
static unsigned passed(const struct zone *z, int64_t utc_s)
{
    unsigned low = 0, high = z->n_times;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (z->times[middle] <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int zone_offset_s(const struct zone *z, int64_t utc_s)
{
    if (!z)
        return 0;
    utc_s = clamp_instant(utc_s);
    unsigned n = passed(z, utc_s);
    if (n == z->n_times && z->rule.present)
        return zone_rule_offset_s(&z->rule, utc_s);
    return n ? z->offsets[n - 1] : z->first_s;
}

int64_t zone_next_change(const struct zone *z, int64_t utc_s)
{
    if (!z || utc_s >= MAX_INSTANT_S)
        return INT64_MAX;
    utc_s = clamp_instant(utc_s);
    int offset_s = zone_offset_s(z, utc_s);
    for (unsigned n = passed(z, utc_s); n < z->n_times; n++)
        if (zone_offset_s(z, z->times[n]) != offset_s)
            return z->times[n];
    if (!z->rule.present)
        return INT64_MAX;
    int64_t behind = z->n_times && z->times[z->n_times - 1] > utc_s ? z->times[z->n_times - 1] : utc_s;
    int64_t next = zone_rule_next_change(&z->rule, behind);
    return next > MAX_INSTANT_S ? INT64_MAX : next; // behind it no offset is asked for any more
}

void zone_civil(const struct zone *z, int64_t utc_s, struct civil *out)
{
    int64_t wall_s = clamp_instant(utc_s) + zone_offset_s(z, utc_s);
    int64_t days = floor_div(wall_s, 86400);
    int second = (int)(wall_s - days * 86400);
    date_of_days(days, out);
    out->hour = second / 3600;
    out->minute = second / 60 % 60;
    out->second = second % 60;
    out->weekday = (int)(((days + 4) % 7 + 7) % 7); // 1970-01-01 was a Thursday
}

int64_t zone_utc_s(const struct zone *z, const struct civil *c)
{
    int64_t wall_s =
        days_of_date(c->year, c->month, c->day) * 86400 + (int64_t)c->hour * 3600 + (int64_t)c->minute * 60 + c->second;
    if (!z)
        return wall_s;
    // Stretch by stretch of one offset: the first that contains the time, else the first gap that swallowed it. Behind
    // a gap the search goes on: a zone may move back within the day and have the time after all.
    int64_t from = clamp_instant(wall_s - ZONE_MAX_OFFSET_S), gap = INT64_MAX;
    for (;;) {
        int64_t next = zone_next_change(z, from), utc_s = wall_s - zone_offset_s(z, from);
        if (utc_s >= from && utc_s < next)
            return utc_s;
        if (next >= wall_s + ZONE_MAX_OFFSET_S)
            return gap == INT64_MAX ? utc_s : gap;
        if (gap == INT64_MAX && utc_s >= next && wall_s - zone_offset_s(z, next) < next)
            gap = utc_s;
        from = next;
    }
}

// --- "2026-01-31T12:00:00.5+02:00"

struct time_text {
    const char *text, *at;
    struct error *err;
};

static int time_form(const struct time_text *t)
{
    return error_set(t->err, ERR_INVALID,
                     "\"%.64s\" is not a time: expected one such as \"2026-01-31\", \"2026-01-31T12:00:00\", "
                     "\"2026-01-31T12:00:00Z\" or \"...+02:00\"",
                     t->text);
}

// Exactly n digits, within min..max.
static int time_digits(struct time_text *t, unsigned n, const char *what, int min, int max, int *out)
{
    *out = 0;
    for (unsigned i = 0; i < n; i++) {
        if (t->at[i] < '0' || t->at[i] > '9')
            return time_form(t);
        *out = *out * 10 + (t->at[i] - '0');
    }
    t->at += n;
    if (*out < min || *out > max)
        return error_set(t->err, ERR_INVALID, "\"%.64s\": %s %0*d is not in %d..%d", t->text, what, (int)n, *out, min,
                         max);
    return 0;
}

static bool time_take(struct time_text *t, char c)
{
    if (*t->at != c)
        return false;
    t->at++;
    return true;
}

static int time_date(struct time_text *t, struct civil *c)
{
    if (time_digits(t, 4, "year", 1, 9999, &c->year))
        return -1;
    if (!time_take(t, '-'))
        return time_form(t);
    if (time_digits(t, 2, "month", 1, 12, &c->month))
        return -1;
    if (!time_take(t, '-'))
        return time_form(t);
    int days = (int)(days_of_date(c->year, c->month + 1, 1) - days_of_date(c->year, c->month, 1));
    return time_digits(t, 2, "day", 1, days, &c->day);
}

static int time_of_day(struct time_text *t, struct civil *c, int64_t *micros)
{
    if (time_digits(t, 2, "hour", 0, 23, &c->hour))
        return -1;
    if (!time_take(t, ':'))
        return time_form(t);
    if (time_digits(t, 2, "minute", 0, 59, &c->minute))
        return -1;
    if (!time_take(t, ':'))
        return 0;
    if (time_digits(t, 2, "second", 0, 60, &c->second)) // 60: a leap second, which is the next minute
        return -1;
    if (!time_take(t, '.') && !time_take(t, ','))
        return 0;
    if (*t->at < '0' || *t->at > '9')
        return time_form(t);
    for (int64_t unit = 100000; *t->at >= '0' && *t->at <= '9'; t->at++, unit /= 10)
        *micros += unit * (*t->at - '0');
    return 0;
}

// Z, +02, +0200, +02:00. present: there is one.
static int time_offset(struct time_text *t, bool *present, int *offset_s)
{
    int hours, minutes = 0;
    *present = true;
    *offset_s = 0;
    if (time_take(t, 'Z') || time_take(t, 'z'))
        return 0;
    *present = *t->at == '+' || *t->at == '-';
    if (!*present)
        return 0;
    bool west = *t->at++ == '-';
    if (time_digits(t, 2, "hour of the offset", 0, 23, &hours))
        return -1;
    bool colon = time_take(t, ':');
    if ((colon || *t->at) && time_digits(t, 2, "minute of the offset", 0, 59, &minutes))
        return -1;
    *offset_s = (hours * 60 + minutes) * (west ? -60 : 60);
    return 0;
}

int zone_parse_time(const struct zone *z, const char *text, int64_t *wall_us, struct error *err)
{
    struct time_text t = {text, text, err};
    struct civil c = {0};
    int64_t micros = 0;
    bool fixed = false;
    int offset_s = 0;
    if (time_date(&t, &c))
        return -1;
    if ((time_take(&t, 'T') || time_take(&t, 't') || time_take(&t, ' ')) &&
        (time_of_day(&t, &c, &micros) || time_offset(&t, &fixed, &offset_s)))
        return -1;
    if (*t.at)
        return time_form(&t);
    int64_t utc_s = fixed ? zone_utc_s(NULL, &c) - offset_s : zone_utc_s(z, &c);
    *wall_us = utc_s * 1000000 + micros;
    return 0;
}

// --- as text ------------------------------------------------------------------------------------------------------

static void two(char *to, int64_t v)
{
    to[0] = (char)('0' + v / 10);
    to[1] = (char)('0' + v % 10);
}

// Civil date from days: years begin in March, so that the leap day is the last of its year.
void time_text(int64_t wall_us, char dst[TIME_TEXT_LEN])
{
    static const int64_t max_ms = 253402300799999; // end of the year 9999
    int64_t ms = wall_us < 0 ? 0 : wall_us / 1000;
    if (ms > max_ms)
        ms = max_ms;
    int64_t days = ms / 86400000 + 719468, rest = ms % 86400000; // days since 0000-03-01
    int64_t era = days / 146097, day = days % 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153; // 0 = March
    day -= (153 * month + 2) / 5;
    year += era * 400 + (month >= 10);
    month = month < 10 ? month + 3 : month - 9;
    memcpy(dst, "0000-00-00T00:00:00.000Z", TIME_TEXT_LEN);
    two(dst, year / 100);
    two(dst + 2, year % 100);
    two(dst + 5, month);
    two(dst + 8, day + 1);
    two(dst + 11, rest / 3600000);
    two(dst + 14, rest / 60000 % 60);
    two(dst + 17, rest / 1000 % 60);
    dst[20] = (char)('0' + rest % 1000 / 100);
    two(dst + 21, rest % 100);
}
