// Time zones, by name, without the process's TZ: a TZif file of the system's zone database (RFC 8536), with its POSIX
// footer for the time beyond its table.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "core/error.h"

struct zone;

struct civil {
    int year, month, day; // month 1..12, day 1..31
    int hour, minute, second;
    int weekday; // 0 = Sunday
};

// "UTC", "Europe/Berlin", "local" (the system's /etc/localtime). NULL: unknown names say how they look and where was
// searched; a name with ".." or a leading "/" is refused.
struct zone *zone_open(const char *name, struct error *err);
// The bytes of a TZif file, versions 1 to 4; name: for messages. NULL: what is malformed in it. Tables of leap seconds
// ("right/...") are refused: nothing here counts them.
struct zone *zone_parse(const void *bytes, size_t n, const char *name, struct error *err);
void zone_close(struct zone *z);
// Instants beyond a milliard of years count as that.
//
// Seconds east of UTC at that time (seconds since 1970). z NULL: UTC, 0.
int zone_offset_s(const struct zone *z, int64_t utc_s);
// The first instant after utc_s at which the offset changes, INT64_MAX when it never does.
int64_t zone_next_change(const struct zone *z, int64_t utc_s);
// Days since 1970-01-01 of a date of the Gregorian calendar; month and day may lie beyond their range and carry over.
int64_t days_of_date(int64_t year, int64_t month, int64_t day);
// Civil time at that instant.
void zone_civil(const struct zone *z, int64_t utc_s, struct civil *out);
// The instant of a civil time (weekday is not looked at; fields may lie beyond their range and carry over). In the gap
// of spring: as if the clock had not moved (one hour later by the wall). Twice in autumn: the first.
int64_t zone_utc_s(const struct zone *z, const struct civil *c);
// "2026-01-31", "2026-01-31T12:00:00", with "Z" or "+02:00" or, without, in the zone. Fractions down to microseconds.
// 0 and microseconds since 1970, or -1.
int zone_parse_time(const struct zone *z, const char *text, int64_t *wall_us, struct error *err) WARN_UNUSED_RESULT;
// "2026-01-31T23:59:59.123Z" of microseconds since 1970, which count as the first or last moment of 1970..9999 beyond
// them. No NUL behind it. Cheap: it stands in messages.
#define TIME_TEXT_LEN 24
void time_text(int64_t wall_us, char dst[TIME_TEXT_LEN]);
