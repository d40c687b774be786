// What zone.c and zone_rule.c share. Not for other files.
#pragma once
#include <stdbool.h>
#include "core/zone.h"

enum { ZONE_MAX_OFFSET_S = 26 * 3600 }; // RFC 8536, section 3.2: -25 h to +26 h, exclusive

// When a season begins: Mm.w.d, Jn or n of POSIX, with the wall-clock second of the day.
struct zone_date {
    enum zone_date_kind { DATE_MONTH, DATE_JULIAN, DATE_DAY } kind;
    int month, week, weekday; // DATE_MONTH
    int day;                  // DATE_JULIAN 1..365, 29 February never counted; DATE_DAY 0..365
    int second;               // -167 h to 167 h
};

// The POSIX footer: what goes on for ever behind the table.
struct zone_rule {
    bool present, has_dst;
    int standard_s, dst_s; // east of UTC
    struct zone_date start, end;
};

// "CET-1CEST,M3.5.0,M10.5.0/3", n bytes. -1: not of that form.
int zone_rule_parse(const char *text, size_t n, struct zone_rule *out);
int zone_rule_offset_s(const struct zone_rule *r, int64_t utc_s);
int64_t zone_rule_next_change(const struct zone_rule *r, int64_t utc_s);
