// Against libc: the same zones through TZ and localtime_r, which is another reader of the same files.
#include <dirent.h>
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

#include "core/buf.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/zone.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define YEAR_S ((int64_t)31556952)

static struct zone *open_ok(const char *name)
{
    struct error err = {0};
    struct zone *z = zone_open(name, &err);
    if (!z)
        fail_msg("%s: %s", name, err.text);
    return z;
}

// Without the database there is nothing to compare with; CI counts the skip as a failure.
static void need_database(void)
{
    struct stat st;
    if (stat("/usr/share/zoneinfo/Europe/Berlin", &st)) {
        print_message("package tzdata is missing\n");
        skip();
    }
}

static void utc_needs_no_database(void **state)
{
    (void)state;
    struct zone *z = open_ok("UTC");
    struct civil c;
    assert_int_equal(zone_offset_s(z, 1700000000), 0);
    assert_true(zone_next_change(z, 0) == INT64_MAX);
    zone_civil(z, 1769860800, &c);
    assert_int_equal(c.year * 10000 + c.month * 100 + c.day, 20260131);
    assert_int_equal(c.hour * 10000 + c.minute * 100 + c.second, 120000);
    assert_int_equal(c.weekday, 6);
    zone_civil(NULL, -1, &c);
    assert_int_equal(c.year, 1969);
    assert_int_equal(c.second, 59);
    assert_int_equal(c.weekday, 3);
    zone_close(z);
    zone_close(NULL);
}

static void dates_against_libc(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < 200000; i++) {
        int64_t t = (int64_t)rng_below(&r, 400000000000) - 200000000000;
        time_t libc_t = (time_t)t;
        struct tm tm;
        struct civil c;
        gmtime_r(&libc_t, &tm);
        zone_civil(NULL, t, &c);
        if (c.year != tm.tm_year + 1900 || c.month != tm.tm_mon + 1 || c.day != tm.tm_mday || c.hour != tm.tm_hour ||
            c.minute != tm.tm_min || c.second != tm.tm_sec || c.weekday != tm.tm_wday)
            fail_msg("%lld: %d-%d-%d", (long long)t, c.year, c.month, c.day);
        assert_int_equal(zone_utc_s(NULL, &c), t);
    }
    struct civil carried = {.year = 2025, .month = 14, .day = 31, .hour = 25, .minute = -1};
    struct civil c;
    zone_civil(NULL, zone_utc_s(NULL, &carried), &c); // 31 February 2026 is 3 March, and 24:59 behind it
    assert_int_equal(c.month * 1000000 + c.day * 10000 + c.hour * 100 + c.minute, 3040059);
    int64_t extremes[] = {INT64_MIN, INT64_MAX, INT64_MIN / 2, INT64_MAX / 2};
    for (size_t i = 0; i < COUNT(extremes); i++)
        zone_civil(NULL, extremes[i], &c); // defined, whatever it says
}

// The instant of a wall time by looking at every offset of the days around it.
static int64_t by_search(const struct zone *z, const struct civil *c, bool *gap)
{
    int64_t wall_s = zone_utc_s(NULL, c), best = INT64_MAX;
    int before = zone_offset_s(z, wall_s - 26 * 3600);
    for (int64_t t = wall_s - 26 * 3600; t <= wall_s + 26 * 3600; t += 900) {
        int64_t at = wall_s - zone_offset_s(z, t);
        if (at + zone_offset_s(z, at) == wall_s && at < best)
            best = at;
    }
    *gap = best == INT64_MAX;
    return *gap ? wall_s - before : best;
}

static void one_zone(const char *name, struct rng *r)
{
    struct zone *z = open_ok(name);
    setenv("TZ", name, 1);
    tzset();
    for (int i = 0; i < 120; i++) {
        int64_t t = (int64_t)rng_below(r, (uint64_t)(300 * YEAR_S)) - 70 * YEAR_S; // 1900 to 2200
        if (i % 2) {
            int64_t change = zone_next_change(z, t); // the seconds around a change are where errors live
            if (change < 230 * YEAR_S) {
                if (zone_offset_s(z, change) == zone_offset_s(z, change - 1))
                    fail_msg("%s: nothing changes at %lld", name, (long long)change);
                t = change - 2 + (int64_t)rng_below(r, 4);
            }
        }
        time_t libc_t = (time_t)t;
        struct tm tm;
        localtime_r(&libc_t, &tm);
        if (zone_offset_s(z, t) != tm.tm_gmtoff)
            fail_msg("%s at %lld: %d, libc %ld", name, (long long)t, zone_offset_s(z, t), tm.tm_gmtoff);
        struct civil c;
        bool gap;
        zone_civil(z, t + (int64_t)rng_below(r, 7200) - 3600, &c);
        c.minute += (int)rng_below(r, 120) - 60;
        int64_t want = by_search(z, &c, &gap);
        if (zone_utc_s(z, &c) != want && t > -30 * YEAR_S) // older offsets change within hours of each other
            fail_msg("%s: %d-%d-%d %d:%d: %lld, not %lld", name, c.year, c.month, c.day, c.hour, c.minute,
                     (long long)zone_utc_s(z, &c), (long long)want);
    }
    zone_close(z);
}

static void every_zone_against_libc(void **state)
{
    (void)state;
    need_database();
    static const char *const regions[] = {
        "Africa", "America", "America/Argentina", "Antarctica", "Asia", "Atlantic", "Australia",
        "Europe", "Indian",  "Pacific",           "Etc"};
    struct rng r;
    int zones = 0;
    rng_seed(&r, 2);
    for (size_t i = 0; i < COUNT(regions); i++) {
        char path[300], name[290];
        struct stat st;
        snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", regions[i]);
        DIR *dir = opendir(path);
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            snprintf(name, sizeof(name), "%s/%.200s", regions[i], e->d_name);
            snprintf(path, sizeof(path), "/usr/share/zoneinfo/%.270s", name);
            if (e->d_name[0] == '.' || stat(path, &st) || !S_ISREG(st.st_mode))
                continue;
            one_zone(name, &r);
            zones++;
        }
        closedir(dir);
    }
    unsetenv("TZ");
    tzset();
    print_message("%d zones\n", zones);
    assert_true(zones > 300);
}

static void gaps_and_folds(void **state)
{
    (void)state;
    need_database();
    struct zone *z = open_ok("Europe/Berlin");
    struct civil spring = {.year = 2026, .month = 3, .day = 29, .hour = 2, .minute = 30}, c;
    zone_civil(z, zone_utc_s(z, &spring), &c);
    assert_int_equal(c.hour * 100 + c.minute, 330);
    struct civil autumn = {.year = 2026, .month = 10, .day = 25, .hour = 2, .minute = 30};
    assert_int_equal(zone_offset_s(z, zone_utc_s(z, &autumn)), 7200); // the first of the two
    assert_int_equal(zone_offset_s(z, zone_utc_s(z, &autumn) + 3600), 3600);
    autumn.year = 2300; // by the rule behind the table; the last Sunday is the 28th
    autumn.day = 28;
    assert_int_equal(zone_offset_s(z, zone_utc_s(z, &autumn)), 7200);
    assert_int_equal(zone_offset_s(z, zone_utc_s(z, &autumn) + 3600), 3600);
    zone_close(z);
    z = open_ok("Pacific/Apia"); // had no 30 December 2011
    struct civil skipped = {.year = 2011, .month = 12, .day = 30, .hour = 12};
    zone_civil(z, zone_utc_s(z, &skipped), &c);
    assert_int_equal(c.day * 100 + c.hour, 3112);
    zone_close(z);
    zone_close(open_ok("local"));
}

static void bad_names(void **state)
{
    (void)state;
    need_database();
    static const struct {
        const char *name, *says;
    } bad[] = {
        {"Europe/Berln", "did you mean \"Europe/Berlin\"?"},
        {"europe/berlin", "did you mean \"Europe/Berlin\"?"},
        {"Amerika/New_Yrok", "did you mean \"America/New_York\"?"},
        {"Middle-earth/Mordor", "expected \"UTC\", \"local\" or a name such as \"Europe/Berlin\""},
        {"Europe", "looked in /usr/share/zoneinfo"},
        {"../../etc/passwd", "is not a time zone"},
        {"/etc/localtime", "is not a time zone"},
        {"", "is not a time zone"},
        {"Europe/Berlin/", "is not a time zone"},
        {"Europe Berlin", "is not a time zone"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "is not a time zone"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct error err = {0};
        if (zone_open(bad[i].name, &err))
            fail_msg("%s was taken", bad[i].name);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].name, err.text);
    }
    assert_null(zone_open("Nowhere", NULL));
}

static void damaged_files(void **state)
{
    (void)state;
    need_database();
    struct buf file;
    struct error err;
    buf_create(&file, 1 << 16);
    assert_int_equal(file_read("/usr/share/zoneinfo/Europe/Berlin", 1 << 16, &file, &err), 0);
    for (uint32_t n = 0; n < file.len; n++) { // every truncation is noticed, in memory of its own length
        uint8_t *cut = malloc(n + !n);
        memcpy(cut, file.data, n);
        error_clear(&err);
        if (zone_parse(cut, n, "cut", &err))
            fail_msg("%u bytes were taken", n);
        assert_true(err.code == ERR_PROTOCOL || err.code == ERR_INVALID);
        free(cut);
    }
    struct rng r;
    rng_seed(&r, 3);
    unsigned taken = 0;
    for (int i = 0; i < 20000; i++) {
        uint8_t *copy = malloc(file.len);
        struct civil c;
        memcpy(copy, file.data, file.len);
        for (int k = 0; k < 3; k++)
            copy[rng_below(&r, file.len)] = (uint8_t)rng_u64(&r);
        struct zone *z = zone_parse(copy, file.len, "mutated", &err);
        if (z) {
            taken++;
            int64_t t = (int64_t)(rng_u64(&r) >> 8);
            zone_civil(z, t, &c);
            zone_utc_s(z, &c);
            assert_true(zone_next_change(z, t) > t);
        }
        zone_close(z);
        free(copy);
    }
    assert_true(taken > 100); // most of the bytes are instants and offsets: these must not break anything either
    assert_null(zone_parse("not a zone file, but long enough to be one, or so it seems", 58, "text", &err));
    assert_non_null(strstr(err.text, "holds no time zone"));
    buf_destroy(&file);
}

// A version 2 file without transitions whose footer is the rule.
static struct zone *of_rule(const char *rule, struct error *err)
{
    char bytes[256] = "TZif2";
    memcpy(bytes + 36 + 3, "\1", 1); // one type
    char *second = bytes + 44 + 6;
    memcpy(second, bytes, 44);
    char *footer = second + 44 + 6;
    int n = snprintf(footer, 100, "\n%s\n", rule);
    return zone_parse(bytes, (size_t)(footer + n - bytes), rule, err);
}

static void posix_rules(void **state)
{
    (void)state;
    static const char *const rules[] = {
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "EST5EDT,0/0,J365/25",
        "AAA3BBB,J59,J300/0",
        "AAA-3BBB,59,300",
        "AEST-10AEDT,M10.1.0,M4.1.0/3",
        "XXX-14",
        "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
        "WET0WEST,J60/0,J61/0",
    };
    struct rng r;
    rng_seed(&r, 4);
    for (size_t i = 0; i < COUNT(rules); i++) {
        struct error err = {0};
        struct zone *z = of_rule(rules[i], &err);
        if (!z)
            fail_msg("%s: %s", rules[i], err.text);
        setenv("TZ", rules[i], 1);
        tzset();
        for (int k = 0; k < 3000; k++) {
            int64_t t = (int64_t)rng_below(&r, (uint64_t)(400 * YEAR_S)) + 2 * YEAR_S; // libc has no rules before 1970
            if (k % 2 && zone_next_change(z, t) != INT64_MAX)
                t = zone_next_change(z, t) - (int64_t)rng_below(&r, 2);
            time_t libc_t = (time_t)t;
            struct tm tm;
            localtime_r(&libc_t, &tm);
            if (zone_offset_s(z, t) != tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, libc %ld", rules[i], (long long)t, zone_offset_s(z, t), tm.tm_gmtoff);
        }
        zone_close(z);
    }
    unsetenv("TZ");
    tzset();
    static const char *const bad[] = {"C-1",
                                      "CET",
                                      "CET-1CEST",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M3.5.0,M13.1.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-25",
                                      "CET-1CEST,J0,J5",
                                      "CET-1CEST,M3.5.0,M10.5.0/168",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "<CET-1",
                                      "CET-1:60"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct error err = {0};
        if (of_rule(bad[i], &err))
            fail_msg("%s was taken", bad[i]);
        assert_non_null(strstr(err.text, "no rule of POSIX"));
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"2026-01-31", 1769817600000000},
        {"2026-01-31T12:00:00", 1769860800000000},
        {"2026-01-31T12:00", 1769860800000000},
        {"2026-01-31 12:00:00Z", 1769860800000000},
        {"2026-01-31T12:00:00.5", 1769860800500000},
        {"2026-01-31t12:00:00.1234567z", 1769860800123456},
        {"2026-01-31T14:00:00+02:00", 1769860800000000},
        {"2026-01-31T06:30:00-0530", 1769860800000000},
        {"2026-01-31T13:00:00+01", 1769860800000000},
        {"2024-02-29T23:59:60Z", 1709251200000000},
        {"1969-12-31T23:59:59.5Z", -500000},
    };
    struct error err;
    int64_t us;
    for (size_t i = 0; i < COUNT(good); i++) {
        if (zone_parse_time(NULL, good[i].text, &us, &err))
            fail_msg("%s", err.text);
        if (us != good[i].us)
            fail_msg("%s: %lld", good[i].text, (long long)us);
    }
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "is not a time: expected one such as"},
        {"today", "is not a time"},
        {"2026-13-01", "month 13 is not in 1..12"},
        {"2026-02-29", "day 29 is not in 1..28"},
        {"2026-00-01", "month 00 is not"},
        {"0000-01-01", "year 0000 is not in 1..9999"},
        {"2026-1-1", "is not a time"},
        {"2026-01-01T", "is not a time"},
        {"2026-01-01T24:00:00", "hour 24"},
        {"2026-01-01T12:60", "minute 60"},
        {"2026-01-01T12:00:61", "second 61"},
        {"2026-01-01T12:00:00.", "is not a time"},
        {"2026-01-01T12:00:00x", "is not a time"},
        {"2026-01-01T12:00:00+24:00", "hour of the offset 24"},
        {"2026-01-01T12:00:00+2", "is not a time"},
        {"2026-01-01T12:00:00+02:", "is not a time"},
        {"2026-01-01x", "is not a time"},
        {"1767225600", "is not a time"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (zone_parse_time(NULL, bad[i].text, &us, &err) == 0)
            fail_msg("%s was taken", bad[i].text);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
    need_database();
    struct zone *z = open_ok("Europe/Berlin");
    assert_int_equal(zone_parse_time(z, "2026-01-31T13:00:00", &us, &err), 0);
    assert_int_equal(us, 1769860800000000);
    assert_int_equal(zone_parse_time(z, "2026-01-31T12:00:00Z", &us, &err), 0);
    assert_int_equal(us, 1769860800000000);
    zone_close(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utc_needs_no_database),
        cmocka_unit_test(dates_against_libc),
        cmocka_unit_test(every_zone_against_libc),
        cmocka_unit_test(gaps_and_folds),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(posix_rules),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
