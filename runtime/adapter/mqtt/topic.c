#include <stdint.h>
#include <string.h>
#include "adapter/mqtt/topic.h"

// Length of the UTF-8 sequence at s (n > 0 bytes left), 0 when it is malformed.
static size_t sequence(const unsigned char *s, size_t n)
{
    unsigned c = s[0];
    if (c < 0x80)
        return c != 0;
    size_t len = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (!len || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    // Overlong forms, surrogates, beyond U+10FFFF.
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

// Eight bytes of ASCII without NUL.
static bool plain(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return !((v | (v - 0x0101010101010101u)) & 0x8080808080808080u);
}

bool mqtt_utf8_valid(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        if (n - i >= 8 && plain(p + i)) {
            i += 8;
            continue;
        }
        size_t len = sequence(p + i, n - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

static int check_text(const char *what, const char *s, size_t n, struct error *err)
{
    if (!n)
        return error_set(err, ERR_INVALID, "%s is empty (MQTT 4.7.3)", what);
    if (n > UINT16_MAX)
        return error_set(err, ERR_INVALID, "%s has %zu bytes, at most 65535 are possible (MQTT 4.7.3)", what, n);
    if (memchr(s, 0, n))
        return error_set(err, ERR_INVALID, "%s holds a NUL character (MQTT 1.5.3)", what);
    if (!mqtt_utf8_valid(s, n))
        return error_set(err, ERR_INVALID, "%s is not valid UTF-8 (MQTT 1.5.3)", what);
    return 0;
}

int mqtt_topic_check(const char *topic, size_t n, struct error *err)
{
    // The common case in one pass: ASCII without wildcards.
    size_t i = 0;
    while (i < n && (unsigned char)(topic[i] - 1) < 0x7f && topic[i] != '+' && topic[i] != '#')
        i++;
    if (i == n && n && n <= UINT16_MAX)
        return 0;
    if (check_text("the topic", topic, n, err) < 0)
        return -1;
    if (memchr(topic, '+', n) || memchr(topic, '#', n))
        return error_set(err, ERR_INVALID, "the topic \"%.*s\" holds a wildcard; only filters may (MQTT 3.3.2-2)",
                         (int)(n > 200 ? 200 : n), topic);
    return 0;
}

int mqtt_filter_check(const char *filter, size_t n, struct error *err)
{
    if (check_text("the topic filter", filter, n, err) < 0)
        return -1;
    int shown = (int)(n > 200 ? 200 : n);
    for (size_t i = 0; i < n; i++) {
        if (filter[i] != '+' && filter[i] != '#')
            continue;
        bool alone = (i == 0 || filter[i - 1] == '/') && (i + 1 == n || filter[i + 1] == '/');
        if (!alone)
            return error_set(err, ERR_INVALID, "the topic filter \"%.*s\": %c must fill its whole level (MQTT 4.7.1)",
                             shown, filter, filter[i]);
        if (filter[i] == '#' && i + 1 != n)
            return error_set(err, ERR_INVALID, "the topic filter \"%.*s\": # must be the last level (MQTT 4.7.1-2)",
                             shown, filter);
    }
    return 0;
}
