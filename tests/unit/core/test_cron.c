// Against a walk over every second of the days around clock changes, with libc's idea of civil time.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#include "core/cron.h"
#include "core/rng.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define S INT64_C(1000000)

static struct cron parse_ok(const char *text)
{
    struct cron c;
    struct error err = {0};
    if (cron_parse(text, &c, &err))
        fail_msg("%s: %s", text, err.text);
    return c;
}

static bool have_database(void)
{
    struct stat st;
    return stat("/usr/share/zoneinfo/Europe/Berlin", &st) == 0;
}

static int64_t at(const struct zone *z, const char *text)
{
    int64_t us;
    struct error err;
    if (zone_parse_time(z, text, &us, &err))
        fail_msg("%s", err.text);
    return us;
}

// The next `n` instants after a time, as texts in UTC.
static void expect_zone(const char *expression, const char *zone, const char *after, const char *const *want)
{
    struct cron c = parse_ok(expression);
    struct zone *z = zone_open(zone, NULL);
    assert_non_null(z);
    int64_t t = at(z, after);
    for (; *want; want++) {
        t = cron_next(&c, z, t);
        if (t != at(NULL, *want)) {
            struct civil got;
            zone_civil(NULL, t / S, &got);
            fail_msg("%s in %s: %d-%02d-%02dT%02d:%02d:%02dZ, not %s", expression, zone, got.year, got.month, got.day,
                     got.hour, got.minute, got.second, *want);
        }
    }
    zone_close(z);
}
#define EXPECT(expression, after, ...) expect_zone(expression, "UTC", after, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_IN(zone, expression, after, ...)                                                                        \
    expect_zone(expression, zone, after, (const char *const[]){__VA_ARGS__, NULL})

static void plain(void **state)
{
    (void)state;
    EXPECT("* * * * *", "2026-01-31T12:00:00", "2026-01-31T12:01:00", "2026-01-31T12:02:00");
    EXPECT("* * * * *", "2026-01-31T12:00:59.999999", "2026-01-31T12:01:00");
    EXPECT("* * * * * *", "2026-01-31T23:59:59.5", "2026-02-01", "2026-02-01T00:00:01");
    EXPECT("0 6 * * *", "2026-01-31T06:00:00", "2026-02-01T06:00:00");
    EXPECT("0 6 * * *", "2026-01-31T05:59:59", "2026-01-31T06:00:00");
    EXPECT("*/15 * * * * *", "2026-01-31T12:00:50", "2026-01-31T12:01:00", "2026-01-31T12:01:15");
    EXPECT("5/20 * * * *", "2026-01-31T12:00:00", "2026-01-31T12:05:00", "2026-01-31T12:25:00", "2026-01-31T12:45:00",
           "2026-01-31T13:05:00");
    EXPECT("30 8-10/2 * * *", "2026-01-31", "2026-01-31T08:30:00", "2026-01-31T10:30:00", "2026-02-01T08:30:00");
    EXPECT("0 0 31 * *", "2026-01-31", "2026-03-31", "2026-05-31");
    EXPECT("0 0 L * *", "2026-01-31", "2026-02-28", "2026-03-31");
    EXPECT("0 0 15,L * *", "2026-01-31", "2026-02-15", "2026-02-28");
    EXPECT("0 0 29 2 *", "2026-01-31", "2028-02-29", "2032-02-29");
    EXPECT("0 9 * * MON-FRI", "2026-01-30T10:00:00", "2026-02-02T09:00:00", "2026-02-03T09:00:00");
    EXPECT("0 0 * * 7", "2026-01-31", "2026-02-01", "2026-02-08");
    EXPECT("0 0 * * 0", "2026-01-31", "2026-02-01", "2026-02-08");
    EXPECT("0 0 * * fri-sun", "2026-02-01", "2026-02-06", "2026-02-07", "2026-02-08", "2026-02-13");
    EXPECT("0 0 * * 5L", "2026-01-01", "2026-01-30", "2026-02-27");
    EXPECT("0 0 * * 5L", "2026-12-01", "2026-12-25"); // a month of 31 days that ends on a Thursday
    EXPECT("0 0 * * 5L", "2026-07-01", "2026-07-31");
    EXPECT("0 0 * * FRIL", "2026-01-01", "2026-01-30", "2026-02-27");
    EXPECT("0 0 * * 2#1", "2026-01-31", "2026-02-03", "2026-03-03");
    EXPECT("0 0 * * MON#5", "2026-01-31", "2026-03-30", "2026-06-29");
    EXPECT("0 0 13 * 5", "2026-02-10", "2026-02-13", "2026-02-20", "2026-02-27", "2026-03-06", "2026-03-13");
    EXPECT("0 0 */10 * MON", "2026-01-31", "2026-05-11", "2026-06-01"); // * first: both must match
    EXPECT("0 0 ? * MON", "2026-01-31", "2026-02-02");
    EXPECT("0 12 1 JAN,jul *", "2026-01-31", "2026-07-01T12:00:00", "2027-01-01T12:00:00");
    EXPECT("0 */60 * * * *", "2026-01-31T12:30:00", "2026-01-31T13:00:00"); // the common way to say once an hour
    EXPECT("@hourly", "2026-01-31T12:30:00", "2026-01-31T13:00:00");
    EXPECT("@daily", "2026-01-31T12:30:00", "2026-02-01");
    EXPECT("@weekly", "2026-01-31T12:30:00", "2026-02-01", "2026-02-08");
    EXPECT("@monthly", "2026-01-31T12:30:00", "2026-02-01", "2026-03-01");
    EXPECT(" @Yearly ", "2026-01-31T12:30:00", "2027-01-01");
    EXPECT("\t0  6\t* * * ", "2026-01-31T07:00:00", "2026-02-01T06:00:00");
}

static void zones(void **state)
{
    (void)state;
    if (!have_database()) {
        print_message("package tzdata is missing\n");
        skip();
    }
    // spring: the hour from 2:00 to 3:00 does not exist
    EXPECT_IN("Europe/Berlin", "30 2 * * *", "2026-03-28T03:00:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00");
    EXPECT_IN("Europe/Berlin", "*/20 2 * * *", "2026-03-28T03:00:00", "2026-03-29T01:00:00", "2026-03-30T00:00:00");
    EXPECT_IN("Europe/Berlin", "30 2,3 * * *", "2026-03-28T04:00:00", "2026-03-29T01:00:00", "2026-03-29T01:30:00");
    EXPECT_IN("Europe/Berlin", "*/30 * * * *", "2026-03-29T01:00:00", "2026-03-29T00:30:00", "2026-03-29T01:00:00",
              "2026-03-29T01:30:00");
    // autumn: the hour from 2:00 to 3:00 comes twice
    EXPECT_IN("Europe/Berlin", "30 2 * * *", "2026-10-24T03:00:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00");
    EXPECT_IN("Europe/Berlin", "*/30 * * * *", "2026-10-25T01:30:00", "2026-10-25T00:00:00", "2026-10-25T00:30:00",
              "2026-10-25T01:00:00", "2026-10-25T01:30:00", "2026-10-25T02:00:00");
    // half an hour, on the other side of the world
    EXPECT_IN("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T03:00:00", "2026-10-03T15:30:00", "2026-10-04T15:15:00");
    // a day that was left out
    EXPECT_IN("Pacific/Apia", "0 12 * * *", "2011-12-29T11:00:00", "2011-12-29T22:00:00", "2011-12-30T10:00:00",
              "2011-12-30T22:00:00");
}

struct walk {
    int64_t start;
    size_t n;
    struct civil *civil; // of every second
    bool *second_pass;   // of an hour that comes twice
};

static void walk_of(struct walk *w, const char *zone, int64_t middle)
{
    setenv("TZ", zone, 1);
    tzset();
    w->start = middle - 30 * 3600;
    w->n = 60 * 3600;
    w->civil = calloc(w->n, sizeof(*w->civil));
    w->second_pass = calloc(w->n, sizeof(*w->second_pass));
    int64_t furthest = INT64_MIN;
    for (size_t i = 0; i < w->n; i++) {
        time_t t = (time_t)(w->start + (int64_t)i);
        struct tm tm;
        localtime_r(&t, &tm);
        w->civil[i] =
            (struct civil){tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_wday};
        int64_t wall_s = (int64_t)t + tm.tm_gmtoff;
        w->second_pass[i] = wall_s <= furthest;
        if (wall_s > furthest)
            furthest = wall_s;
    }
    unsetenv("TZ");
    tzset();
}

static bool matches(const struct cron *c, const struct civil *t)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int length = lengths[t->month - 1] + (t->month == 2 && t->year % 4 == 0);
    bool day = c->days >> t->day & 1 || (c->last_day && t->day == length);
    bool weekday = c->weekdays >> t->weekday & 1 || (c->last_weekdays >> t->weekday & 1 && t->day > length - 7) ||
                   c->nth_weekdays[t->weekday] >> ((t->day - 1) / 7 + 1) & 1;
    return c->seconds >> t->second & 1 && c->minutes >> t->minute & 1 && c->hours >> t->hour & 1 &&
           c->months >> t->month & 1 && (c->any_day || c->any_weekday ? day && weekday : day || weekday);
}

// Whether the expression fires at second i of the walk.
static bool fires(const struct cron *c, const struct walk *w, size_t i)
{
    bool real_time = c->hours == 0xffffff;
    if (matches(c, &w->civil[i]) && (real_time || !w->second_pass[i]))
        return true;
    if (real_time || !i)
        return false;
    struct civil before = w->civil[i - 1]; // the seconds that a gap before i left out
    int64_t from = zone_utc_s(NULL, &before), to = zone_utc_s(NULL, &w->civil[i]);
    for (int64_t s = from + 1; s < to; s++) {
        struct civil skipped;
        zone_civil(NULL, s, &skipped);
        if (matches(c, &skipped))
            return true;
    }
    return false;
}

static void random_field(struct rng *r, char *out, size_t size, int min, int max)
{
    int a = min + (int)rng_below(r, (uint64_t)(max - min + 1)), b = min + (int)rng_below(r, (uint64_t)(max - min + 1));
    switch (rng_below(r, 5)) {
    case 0:
        snprintf(out, size, "%d", a);
        break;
    case 1:
        snprintf(out, size, "%d,%d", a, b);
        break;
    case 2:
        snprintf(out, size, "%d-%d/%d", a < b ? a : b, a < b ? b : a, 1 + (int)rng_below(r, 6));
        break;
    case 3:
        snprintf(out, size, "*/%d", 1 + (int)rng_below(r, (uint64_t)(max - min)));
        break;
    default:
        snprintf(out, size, "*");
    }
}

static void against_a_walk(void **state)
{
    (void)state;
    if (!have_database()) {
        print_message("package tzdata is missing\n");
        skip();
    }
    static const char *const names[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns",
                                        "Africa/Casablanca"};
    struct rng r;
    rng_seed(&r, 5);
    for (size_t i = 0; i < 2 * COUNT(names); i++) {
        struct zone *z = zone_open(names[i / 2], NULL);
        assert_non_null(z);
        int64_t change = zone_next_change(z, 1767225600 + (int64_t)rng_below(&r, 86400 * 365));
        if (i % 2)
            change = zone_next_change(z, change);
        struct walk w;
        walk_of(&w, names[i / 2], change);
        for (int k = 0; k < 40; k++) {
            char text[120], f[6][16];
            for (int n = 0; n < 6; n++)
                random_field(&r, f[n], sizeof(f[n]), (int[]){0, 0, 0, 1, 1, 0}[n], (int[]){59, 59, 23, 28, 12, 6}[n]);
            // near the change: the hours of the night, most days
            snprintf(text, sizeof(text), "%s %s %s %s * %s", rng_below(&r, 3) ? "0" : f[0], f[1],
                     k % 4 == 0   ? "*"
                     : k % 4 == 1 ? "1-3"
                                  : f[2],
                     rng_below(&r, 4) ? "*" : f[3], rng_below(&r, 4) ? "*" : f[5]);
            struct cron c = parse_ok(text);
            int64_t t = w.start, end = w.start + (int64_t)w.n;
            size_t count = 0;
            for (size_t s = 1; s < w.n && count < 3000; s++) {
                if (!fires(&c, &w, s))
                    continue;
                int64_t got = cron_next(&c, z, t * S);
                if (got != (w.start + (int64_t)s) * S)
                    fail_msg("%s in %s after %lld: %lld, not %lld", text, names[i / 2], (long long)t,
                             (long long)(got / S), (long long)(w.start + (int64_t)s));
                t = got / S;
                count++;
            }
            if (count < 3000)
                assert_true(cron_next(&c, z, t * S) == -1 || cron_next(&c, z, t * S) >= end * S);
        }
        free(w.civil);
        free(w.second_pass);
        zone_close(z);
    }
}

static void bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", "has 0 fields: expected 5"},
        {"* * * *", "has 4 fields"},
        {"* * * * * * *", "has more than 6 fields"},
        {"* * * * * * * * * * *", "has more than 6 fields"},
        {"60 * * * *", "minute: 60 is not in 0..59"},
        {"* 24 * * *", "hour: 24 is not in 0..23"},
        {"60 * * * * *", "second: 60 is not in 0..59"},
        {"* * 0 * *", "day of month: 0 is not in 1..31"},
        {"* * 32 * *", "day of month: 32 is not in 1..31"},
        {"* * * 13 *", "month: 13 is not in 1..12"},
        {"* * * JNA *", "month: unknown name \"JNA\", did you mean JAN?"},
        {"* * * * 8", "day of week: 8 is not in 0..7"},
        {"* * * * MONDAY", "did you mean MON?"},
        {"* * * * L", "5L is the last Friday"},
        {"* * * * 5#6", "day of week: the number behind # 6 is not in 1..5"},
        {"* * * * 5#", "day of week: \"5#\" is not understood"},
        {"* * LW * *", "day of month: \"LW\" is not understood"},
        {"* * L-3 * *", "is not understood: expected something such as 1, 10-20, L"},
        {"* L * * *", "hour: \"L\" is not understood"},
        {"*/0 * * * *", "minute: step 0 is not in 1..60"},
        {"*/61 * * * *", "minute: step 61 is not in 1..60"},
        {"*/ * * * *", "minute: \"*/\" is not understood"},
        {"5- * * * *", "is not understood"},
        {"-5 * * * *", "is not understood"},
        {"1,,2 * * * *", "is not understood"},
        {"1, * * * *", "is not understood"},
        {"** * * * *", "is not understood"},
        {"1.5 * * * *", "is not understood"},
        {"30-10 * * * *", "minute: \"30-10\" runs backwards: write two ranges, such as 30-59,0-10"},
        {"* * * * FRI-MON", "such as 5-7,0-1"},
        {"99999999999999999999 * * * *", "is not in 0..59"},
        {"0 0 30 2 *", "never comes"},
        {"0 0 31 4,6 *", "never comes"},
        {"@dayly", "did you mean @daily?"},
        {"@reboot", "expected @yearly"},
        {"every day", "has 2 fields"},
        {"\xff * * * *", "is not understood"},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct cron c;
        struct error err = {0};
        if (cron_parse(table[i].text, &c, &err) == 0)
            fail_msg("%s was taken", table[i].text);
        if (!strstr(err.text, table[i].says))
            fail_msg("%s: %s", table[i].text, err.text);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(zones),
        cmocka_unit_test(against_a_walk),
        cmocka_unit_test(bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
