// The TZ string of POSIX with the extensions of RFC 8536: quoted names, hours from -167 to 167.
#include "core/zone_impl.h"

#include <string.h>

struct scan {
    const char *at, *end;
};

static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool scan_int(struct scan *s, int min, int max, int *out)
{
    int v = 0, digits = 0;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9' && digits < 4; s->at++, digits++)
        v = v * 10 + (*s->at - '0');
    *out = v;
    return digits > 0 && v >= min && v <= max;
}

// CET or <+0330>
static bool scan_name(struct scan *s)
{
    const char *start = s->at;
    if (take(s, '<')) {
        while (s->at < s->end && *s->at != '>')
            s->at++;
        return s->at - start > 1 && take(s, '>');
    }
    while (s->at < s->end && ((*s->at >= 'a' && *s->at <= 'z') || (*s->at >= 'A' && *s->at <= 'Z')))
        s->at++;
    return s->at - start >= 3;
}

// [+-]h[:mm[:ss]] in seconds
static bool scan_time(struct scan *s, int max_hours, int *out)
{
    bool minus = take(s, '-');
    int hours, minutes = 0, seconds = 0;
    if (!minus)
        take(s, '+');
    if (!scan_int(s, 0, max_hours, &hours))
        return false;
    if (take(s, ':') && (!scan_int(s, 0, 59, &minutes) || (take(s, ':') && !scan_int(s, 0, 59, &seconds))))
        return false;
    *out = (hours * 60 + minutes) * 60 + seconds;
    if (minus)
        *out = -*out;
    return true;
}

static bool scan_date(struct scan *s, struct zone_date *d)
{
    d->second = 2 * 3600;
    if (take(s, 'M')) {
        d->kind = DATE_MONTH;
        if (!scan_int(s, 1, 12, &d->month) || !take(s, '.') || !scan_int(s, 1, 5, &d->week) || !take(s, '.') ||
            !scan_int(s, 0, 6, &d->weekday))
            return false;
    } else {
        d->kind = take(s, 'J') ? DATE_JULIAN : DATE_DAY;
        if (!scan_int(s, d->kind == DATE_JULIAN ? 1 : 0, 365, &d->day))
            return false;
    }
    return !take(s, '/') || scan_time(s, 167, &d->second);
}

int zone_rule_parse(const char *text, size_t n, struct zone_rule *out)
{
    struct scan s = {text, text + n};
    int west;
    memset(out, 0, sizeof(*out));
    if (!scan_name(&s) || !scan_time(&s, 24, &west))
        return -1;
    out->present = true;
    out->standard_s = -west;
    if (s.at == s.end)
        return 0;
    if (!scan_name(&s))
        return -1;
    out->has_dst = true;
    out->dst_s = out->standard_s + 3600;
    if (s.at < s.end && *s.at != ',') {
        if (!scan_time(&s, 24, &west))
            return -1;
        out->dst_s = -west;
    }
    if (!take(&s, ',') || !scan_date(&s, &out->start) || !take(&s, ',') || !scan_date(&s, &out->end) || s.at != s.end)
        return -1;
    return 0;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// Wall-clock seconds since 1970 of a date of that year.
static int64_t date_wall_s(const struct zone_date *d, int64_t year)
{
    int64_t day;
    if (d->kind == DATE_MONTH) {
        int64_t first = days_of_date(year, d->month, 1), next = days_of_date(year, d->month + 1, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7); // 1970-01-01 was a Thursday
        day = first + (d->weekday - weekday + 7) % 7 + (d->week - 1) * 7;
        if (day >= next)
            day -= 7; // week 5 is the last
    } else {
        day = days_of_date(year, 1, 1) + d->day;
        if (d->kind == DATE_JULIAN && !(is_leap(year) && d->day >= 60))
            day--;
    }
    return day * 86400 + d->second;
}

struct change {
    int64_t at;
    int offset_s; // from then on
};

// The changes of five years around an instant, in order of time. An end at the instant of a start (daylight saving
// time all the year) counts before it.
static void changes_around(const struct zone_rule *r, int64_t utc_s, struct change out[10])
{
    struct civil now;
    zone_civil(NULL, utc_s + r->standard_s, &now);
    int64_t year = now.year;
    for (int i = 0; i < 5; i++) {
        out[2 * i] = (struct change){date_wall_s(&r->start, year - 2 + i) - r->standard_s, r->dst_s};
        out[2 * i + 1] = (struct change){date_wall_s(&r->end, year - 2 + i) - r->dst_s, r->standard_s};
    }
    for (int i = 1; i < 10; i++) { // insertion: nearly sorted
        struct change c = out[i];
        int k = i;
        for (; k > 0 && (out[k - 1].at > c.at || (out[k - 1].at == c.at && c.offset_s == r->standard_s)); k--)
            out[k] = out[k - 1];
        out[k] = c;
    }
}

int zone_rule_offset_s(const struct zone_rule *r, int64_t utc_s)
{
    if (!r->has_dst)
        return r->standard_s;
    struct change changes[10];
    changes_around(r, utc_s, changes);
    int offset_s = r->standard_s;
    for (int i = 0; i < 10 && changes[i].at <= utc_s; i++)
        offset_s = changes[i].offset_s;
    return offset_s;
}

int64_t zone_rule_next_change(const struct zone_rule *r, int64_t utc_s)
{
    if (!r->has_dst)
        return INT64_MAX;
    struct change changes[10];
    changes_around(r, utc_s, changes);
    int offset_s = zone_rule_offset_s(r, utc_s);
    for (int i = 0; i < 10; i++)
        if (changes[i].at > utc_s && zone_rule_offset_s(r, changes[i].at) != offset_s)
            return changes[i].at;
    return INT64_MAX; // the same all the year
}
