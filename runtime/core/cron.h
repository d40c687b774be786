// Cron expressions of 5 fields (minute hour day-of-month month day-of-week) or 6 (seconds first), in a time zone.
//
// A field: * | number | name (JAN, MON) | a-b | list a,b | step */n, a-b/n, a/n; ? is *. Day-of-week 0 and 7 are
// Sunday, L the last day of the month, 5L the last Friday, 2#1 the first Tuesday. When both day fields are restricted,
// that is, do not begin with *, either matches; otherwise both must (Vixie's rule). @yearly @annually @monthly @weekly
// @daily
// @midnight @hourly are taken.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"
#include "core/zone.h"

struct cron {
    uint64_t seconds, minutes; // bit n: n
    uint32_t hours, days;      // days: bit 1..31
    uint32_t months;           // bit 1..12
    uint8_t weekdays;          // bit 0..6
    bool last_day;             // L as a day of the month
    bool any_day, any_weekday; // the field began with *
    uint8_t last_weekdays;     // 5L: bit of the weekday
    uint8_t nth_weekdays[7];   // 2#1: bits 1..5 of the weekday
};

// -1: err names the field, what is wrong and what is valid ("hour: 24 is not in 0..23"). A day that never comes
// (30 February) is an error too.
int cron_parse(const char *text, struct cron *out, struct error *err) WARN_UNUSED_RESULT;
// The first instant after `after_us` (microseconds since 1970, UTC) that matches, or -1 when there is none within 28
// years. In the gap of spring a time that does not exist fires at the end of the gap, once; in autumn a time that comes
// twice fires the first time only (but for expressions whose hours are all 24: they follow real time).
int64_t cron_next(const struct cron *c, const struct zone *zone, int64_t after_us);
