// A field is a set of bits, so that the next match is found field by field, from the month down, without trying every
// second in between.
#include "core/cron.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/units.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define HORIZON_S ((int64_t)28 * 1461 / 4 * 86400) // after 28 years dates fall on the same weekdays again
#define ALL_HOURS 0xffffffu

static const char *const months[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                     "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const weekdays[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

static const struct field {
    const char *name;
    int min, max;
    const char *const *names; // of min and the following, or NULL
    const char *example;
} fields[] = {
    {"second", 0, 59, NULL, "0, */10, 0,30"}, {"minute", 0, 59, NULL, "0, */5, 10-20"},
    {"hour", 0, 23, NULL, "6, 8-18, */2"},    {"day of month", 1, 31, NULL, "1, 10-20, L"},
    {"month", 1, 12, months, "1, JAN, 6-8"},  {"day of week", 0, 7, weekdays, "1, MON-FRI, 5L, 2#1"},
};
enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY };

struct scan {
    const struct field *field;
    const char *item; // the whole of it, for messages
    int item_length;
    const char *at, *end;
    struct error *err;
};

static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static int not_understood(const struct scan *s)
{
    return error_set(s->err, ERR_INVALID, "%s: \"%.*s\" is not understood: expected something such as %s",
                     s->field->name, s->item_length, s->item, s->field->example);
}

static int scan_name(struct scan *s, int *out)
{
    char word[16];
    size_t n = 0;
    while (s->at + n < s->end && ((s->at[n] >= 'a' && s->at[n] <= 'z') || (s->at[n] >= 'A' && s->at[n] <= 'Z')))
        n++;
    if (!n)
        return not_understood(s);
    snprintf(word, sizeof(word), "%.*s", (int)(n < 15 ? n : 15), s->at);
    for (int i = 0; s->field->names && s->field->names[i]; i++) {
        // "FRIL" is FRI and L
        if (strcasecmp(word, s->field->names[i]) && !(n == 4 && strncasecmp(word, s->field->names[i], 3) == 0 &&
                                                      s->field == &fields[WEEKDAY] && (s->at[3] | 32) == 'l'))
            continue;
        *out = s->field->min + i;
        s->at += 3;
        return 0;
    }
    if (!s->field->names)
        return not_understood(s);
    const char *nearest = suggest(word, s->field->names);
    return error_set(s->err, ERR_INVALID, "%s: unknown name \"%s\"%s%s%s: expected %s to %s, or %d to %d",
                     s->field->name, word, nearest ? ", did you mean " : "", nearest ? nearest : "", nearest ? "?" : "",
                     s->field->names[0], s->field == &fields[MONTH] ? "DEC" : "SAT", s->field->min, s->field->max);
}

static int scan_digits(struct scan *s, int min, int max, const char *what, int *out)
{
    int v = 0;
    if (s->at == s->end || *s->at < '0' || *s->at > '9')
        return not_understood(s);
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        v = v > 99999 ? v : v * 10 + (*s->at - '0');
    *out = v;
    if (v < min || v > max)
        return error_set(s->err, ERR_INVALID, "%s: %s%d is not in %d..%d", s->field->name, what, v, min, max);
    return 0;
}

static int scan_number(struct scan *s, int *out)
{
    if (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        return scan_digits(s, s->field->min, s->field->max, "", out);
    return scan_name(s, out);
}

// L, 5L, 2#1: true when the item was one of these.
static int scan_special(struct scan *s, struct cron *c, bool *was)
{
    int day, nth;
    *was = true;
    if (s->field == &fields[DAY] && (take(s, 'L') || take(s, 'l'))) {
        c->last_day = true;
        return 0;
    }
    const char *start = s->at;
    if (s->field == &fields[WEEKDAY] && s->at < s->end && *s->at != '*' && *s->at != '?') {
        if ((*s->at | 32) == 'l')
            return error_set(s->err, ERR_INVALID, "day of week: L needs a day before it: 5L is the last Friday");
        if (scan_number(s, &day))
            return -1;
        if (take(s, 'L') || take(s, 'l')) {
            c->last_weekdays |= (uint8_t)(1u << day % 7);
            return 0;
        }
        if (take(s, '#')) {
            if (scan_digits(s, 1, 5, "the number behind # ", &nth))
                return -1;
            c->nth_weekdays[day % 7] |= (uint8_t)(1u << nth);
            return 0;
        }
    }
    s->at = start;
    *was = false;
    return 0;
}

static int scan_range(struct scan *s, int *low, int *high)
{
    *low = s->field->min;
    *high = s->field->max;
    if (take(s, '*') || take(s, '?'))
        return 0;
    if (scan_number(s, low))
        return -1;
    if (take(s, '-')) {
        if (scan_number(s, high))
            return -1;
        if (s->field == &fields[WEEKDAY] && *high == 0)
            *high = 7; // FRI-SUN
        if (*high < *low)
            return error_set(s->err, ERR_INVALID, "%s: \"%.*s\" runs backwards: write two ranges, such as %d-%d,%d-%d",
                             s->field->name, s->item_length, s->item, *low, s->field->max, s->field->min, *high);
    } else if (s->at == s->end || *s->at != '/') {
        *high = *low; // alone; with a step it goes on to the end
    }
    return 0;
}

static int scan_item(struct scan *s, struct cron *c, uint64_t *bits)
{
    bool special;
    int low, high, step = 1;
    if (scan_special(s, c, &special))
        return -1;
    if (!special) {
        if (scan_range(s, &low, &high))
            return -1;
        // A step as large as the field is common for "once": */60.
        if (take(s, '/') && scan_digits(s, 1, s->field->max - s->field->min + 1, "step ", &step))
            return -1;
        for (int i = low; i <= high; i += step)
            *bits |= 1ull << (s->field == &fields[WEEKDAY] ? i % 7 : i);
    }
    return s->at == s->end ? 0 : not_understood(s);
}

static int parse_field(const struct field *field, const char *text, size_t n, struct cron *c, uint64_t *bits,
                       struct error *err)
{
    *bits = 0;
    for (const char *at = text, *end = text + n;; at++) {
        size_t length = 0;
        while (at + length < end && at[length] != ',')
            length++;
        struct scan s = {field, at, (int)(length < 40 ? length : 40), at, at + length, err};
        if (scan_item(&s, c, bits))
            return -1;
        at += length;
        if (at == end)
            return 0;
    }
}

static const char *macro(const char *text, struct error *err)
{
    static const char *const names[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                        "@daily",  "@midnight", "@hourly",  NULL};
    static const char *const meanings[] = {"0 0 1 1 *", "0 0 1 1 *", "0 0 1 * *", "0 0 * * 0",
                                           "0 0 * * *", "0 0 * * *", "0 * * * *"};
    for (int i = 0; names[i]; i++)
        if (strcasecmp(text, names[i]) == 0)
            return meanings[i];
    const char *nearest = suggest(text, names);
    error_set(err, ERR_INVALID,
              "unknown \"%.40s\"%s%s%s: expected @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly, "
              "or five or six fields",
              text, nearest ? ", did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    return NULL;
}

struct words {
    const char *at[7];
    size_t length[7];
    unsigned n; // 7: more than 6
};

static void split(const char *text, struct words *w)
{
    w->n = 0;
    for (text += strspn(text, " \t"); *text && w->n < 7; text += strspn(text, " \t")) {
        w->at[w->n] = text;
        w->length[w->n] = strcspn(text, " \t");
        text += w->length[w->n++];
    }
}

int cron_parse(const char *text, struct cron *out, struct error *err)
{
    struct words w;
    uint64_t bits[LENGTH(fields)] = {[SECOND] = 1};
    split(text, &w);
    if (w.n == 1 && *w.at[0] == '@') {
        char name[48];
        snprintf(name, sizeof(name), "%.*s", (int)(w.length[0] < 40 ? w.length[0] : 40), w.at[0]);
        text = macro(name, err);
        if (!text)
            return -1;
        split(text, &w);
    }
    if (w.n != 5 && w.n != 6)
        return error_set(err, ERR_INVALID,
                         "\"%.80s\" has %s%u field%s: expected 5 (minute, hour, day of month, month, day of week) or 6 "
                         "(second first)",
                         text, w.n == 7 ? "more than " : "", w.n == 7 ? 6 : w.n, w.n == 1 ? "" : "s");
    unsigned first = 6 - w.n;
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < w.n; i++)
        if (parse_field(&fields[first + i], w.at[i], w.length[i], out, &bits[first + i], err))
            return -1;
    const char *day = w.at[DAY - first], *weekday = w.at[WEEKDAY - first];
    out->seconds = bits[SECOND];
    out->minutes = bits[MINUTE];
    out->hours = (uint32_t)bits[HOUR];
    out->days = (uint32_t)bits[DAY];
    out->months = (uint32_t)bits[MONTH];
    out->weekdays = (uint8_t)bits[WEEKDAY];
    out->any_day = *day == '*' || *day == '?';
    out->any_weekday = *weekday == '*' || *weekday == '?';
    if (cron_next(out, NULL, 0) < 0)
        return error_set(err, ERR_INVALID, "\"%.80s\" never comes: no month of these has such a day", text);
    return 0;
}

// --- the next match

static int days_of_month(int year, int month)
{
    return (int)(days_of_date(year, month + 1, 1) - days_of_date(year, month, 1));
}

// Bits 1..31 of the days of a month that match.
static uint32_t matching_days(const struct cron *c, int year, int month)
{
    int n = days_of_month(year, month);
    uint32_t by_day = c->days, by_weekday = 0, exist = (uint32_t)((2ull << n) - 2);
    int weekday = (int)(((days_of_date(year, month, 1) + 4) % 7 + 7) % 7); // of the 1st; 1970-01-01 was a Thursday
    if (c->last_day)
        by_day |= 1u << n;
    for (int day = 1; day <= n; day++, weekday = (weekday + 1) % 7)
        if (c->weekdays >> weekday & 1 || (c->last_weekdays >> weekday & 1 && day + 7 > n) ||
            c->nth_weekdays[weekday] >> ((day + 6) / 7) & 1)
            by_weekday |= 1u << day;
    return (c->any_day || c->any_weekday ? by_day & by_weekday : by_day | by_weekday) & exist;
}

// The first set bit at or above `from`, -1: none.
static int bit_from(uint64_t bits, int from)
{
    bits = from < 64 ? bits >> from : 0;
    return bits ? from + __builtin_ctzll(bits) : -1;
}

// The first matching time of day at or after hour:minute:second, into *second_of_day. false: not on this day.
static bool next_time_of_day(const struct cron *c, int hour, int minute, int second, int *second_of_day)
{
    int h = bit_from(c->hours, hour);
    if (h > hour)
        minute = second = 0;
    int m = h < 0 ? -1 : bit_from(c->minutes, minute);
    if (m > minute)
        second = 0;
    int s = m < 0 ? -1 : bit_from(c->seconds, second);
    if (h >= 0 && m >= 0 && s < 0) { // the rest of this minute has none
        m = bit_from(c->minutes, m + 1);
        s = bit_from(c->seconds, 0);
    }
    if (h >= 0 && m < 0) { // the rest of this hour has none
        h = bit_from(c->hours, h + 1);
        m = bit_from(c->minutes, 0);
        s = bit_from(c->seconds, 0);
    }
    *second_of_day = (h * 60 + m) * 60 + s;
    return h >= 0;
}

// The first match at or after a wall-clock second, at most at `limit_s`; INT64_MAX: none.
static int64_t next_wall(const struct cron *c, int64_t wall_s, int64_t limit_s)
{
    struct civil at;
    int second_of_day;
    zone_civil(NULL, wall_s, &at);
    int year = at.year, month = at.month, from = at.day;
    bool fresh = false; // days behind the first begin at midnight
    while (days_of_date(year, month, 1) * 86400 <= limit_s) {
        uint32_t days = c->months >> month & 1 ? matching_days(c, year, month) : 0;
        for (int day; (day = bit_from(days, from)) >= 0; from = day + 1) {
            fresh = fresh || day != at.day;
            if (next_time_of_day(c, fresh ? 0 : at.hour, fresh ? 0 : at.minute, fresh ? 0 : at.second,
                                 &second_of_day)) {
                int64_t found = days_of_date(year, month, day) * 86400 + second_of_day;
                return found <= limit_s ? found : INT64_MAX;
            }
            fresh = true;
        }
        fresh = true;
        from = 1;
        if (++month > 12) {
            month = 1;
            year++;
        }
    }
    return INT64_MAX;
}

// When a wall-clock time that zone_utc_s took for utc_s comes: in the gap of spring, when the gap ends.
static int64_t fire_time(const struct zone *z, int64_t wall_s, int64_t utc_s)
{
    if (utc_s + zone_offset_s(z, utc_s) == wall_s)
        return utc_s;
    int64_t end = zone_next_change(z, utc_s - 2 * 86400); // a gap of a whole day has been seen in the Pacific
    for (int64_t next; (next = zone_next_change(z, end)) <= utc_s;)
        end = next;
    return end;
}

static int64_t next_by_the_wall(const struct cron *c, const struct zone *z, int64_t after_s)
{
    int64_t wall_s = after_s + zone_offset_s(z, after_s), limit_s = wall_s + HORIZON_S;
    for (;;) {
        wall_s = next_wall(c, wall_s + 1, limit_s);
        if (wall_s == INT64_MAX)
            return -1;
        struct civil at;
        zone_civil(NULL, wall_s, &at);
        int64_t utc_s = fire_time(z, wall_s, zone_utc_s(z, &at));
        if (utc_s > after_s)
            return utc_s; // otherwise the hour that comes twice: it has fired the first time
    }
}

// Every stretch of one offset by itself: both passes of the hour of autumn count, the gap of spring has no time.
static int64_t next_in_real_time(const struct cron *c, const struct zone *z, int64_t after_s)
{
    int64_t from = after_s + 1, limit_s = after_s + HORIZON_S;
    while (from <= limit_s) {
        int offset_s = zone_offset_s(z, from);
        int64_t end = zone_next_change(z, from), last = end - 1 < limit_s ? end - 1 : limit_s;
        int64_t wall_s = next_wall(c, from + offset_s, last + offset_s);
        if (wall_s != INT64_MAX)
            return wall_s - offset_s;
        if (end > limit_s)
            break;
        from = end;
    }
    return -1;
}

int64_t cron_next(const struct cron *c, const struct zone *zone, int64_t after_us)
{
    int64_t after_s = after_us / 1000000 - (after_us % 1000000 < 0);
    int64_t next_s =
        !zone || c->hours == ALL_HOURS ? next_in_real_time(c, zone, after_s) : next_by_the_wall(c, zone, after_s);
    return next_s < 0 ? -1 : next_s * 1000000;
}
