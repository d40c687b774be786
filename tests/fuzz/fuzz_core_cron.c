// Any text as a cron expression and any bytes as a time zone: refused, or the next time is a match behind the time it
// was asked for.
// Input: a text up to the first NUL, then the bytes of a TZif file (none: UTC). The text is tried as a time too.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void zone_holds(const struct zone *z, int64_t t)
{
    struct civil c;
    int64_t next = zone_next_change(z, t);
    if (next <= t || (next != INT64_MAX && zone_offset_s(z, next) == zone_offset_s(z, t)))
        abort();
    zone_civil(z, t, &c);
    int64_t back = zone_utc_s(z, &c);
    if (back > t || back + zone_offset_s(z, back) != t + zone_offset_s(z, t))
        abort(); // the first of the instants with that civil time, t being one of them
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct cron c;
    int64_t us;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    size_t n = strlen(text);
    struct zone *z = NULL;
    if (n + 1 < size)
        z = zone_parse(data + n + 1, size - n - 1, "fuzz", &err);
    static const int64_t times[] = {0, 1, 1767225600, 1774746000, 4102444800};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]) && z; i++)
        zone_holds(z, times[i]);
    if (cron_parse(text, &c, &err) == 0) {
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
            int64_t next = cron_next(&c, z, times[i] * 1000000);
            if (next != -1 && next <= times[i] * 1000000)
                abort();
        }
    } else if (!err.text[0]) {
        abort();
    }
    if (zone_parse_time(z, text, &us, &err) && !err.text[0])
        abort();
    zone_close(z);
    free(text);
    return 0;
}
