// What InfluxDB says about a write. Version 1 and 2 write texts, version 3 lists what was wrong with which line; all
// three store the good lines of a "partial write", so that one must never be written again as it was.
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "sink/influx.h"

#define WAIT_MAX_US 600000000 // a server that wants more is asked again all the same

static const char *find(const char *text, const char *what)
{
    return strcasestr(text, what);
}

static uint32_t count_of(const char *text, const char *what)
{
    uint32_t n = 0;
    for (const char *p = text; (p = find(p, what)); p += strlen(what))
        n++;
    return n;
}

// "dropped=17", the last one.
static uint32_t dropped_of(const char *text)
{
    int64_t n = 0;
    for (const char *p = text; (p = strstr(p, "dropped=")); p++) {
        char digits[16];
        size_t k = strspn(p + 8, "0123456789");
        snprintf(digits, sizeof(digits), "%.*s", (int)(k < 10 ? k : 10), p + 8);
        if (int_parse(digits, 0, UINT32_MAX, &n, NULL))
            n = k ? UINT32_MAX : 0;
    }
    return (uint32_t)n;
}

// RFC 9110, 10.2.3: seconds or a date.
static int64_t wait_of(const char *text, int64_t now_s)
{
    int64_t s;
    struct tm tm = {0};
    if (!*text)
        return -1;
    if (int_parse(text, 0, 1000000, &s, NULL)) {
        if (!strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
            return -1;
        s = (int64_t)timegm(&tm) - now_s;
    }
    if (s < 0)
        return 0;
    return s * 1000000 < WAIT_MAX_US ? s * 1000000 : WAIT_MAX_US;
}

// The message of an answer, "" without.
static void read_text(const json_t *v, const uint8_t *body, size_t n, char *dst, size_t size)
{
    static const char *const keys[] = {"error", "message", "err"};
    const char *text = NULL;
    for (size_t i = 0; i < 3 && !text; i++)
        text = json_string_value(json_object_get(v, keys[i]));
    if (text)
        snprintf(dst, size, "%s", text);
    else
        snprintf(dst, size, "%.*s", (int)(n < size ? n : size - 1), (const char *)body);
    for (char *p = dst; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

static void judge_refusal(const json_t *v, uint32_t lines, const char *whole, struct influx_answer *out)
{
    const json_t *data = json_object_get(v, "data"); // version 3
    bool partial = find(whole, "partial write") != NULL;
    out->verdict = INFLUX_BAD;
    if (!partial)
        return;
    out->verdict = INFLUX_PARTIAL;
    out->refused = json_is_array(data) ? (uint32_t)json_array_size(data)
                                       : dropped_of(whole) + count_of(whole, "unable to parse '");
    if (out->refused > lines)
        out->refused = lines;
    if (!out->refused) // it says that something is missing, and not how much
        out->refused = 1;
}

void influx_judge(unsigned status, const char *retry_after, const uint8_t *body, size_t n, uint32_t lines,
                  int64_t now_s, struct influx_answer *out)
{
    char whole[8192];
    memset(out, 0, sizeof(*out));
    out->wait_us = -1;
    json_t *v = n ? json_parse((const char *)body, n, "answer", NULL) : NULL;
    read_text(v, body, n, whole, sizeof(whole));
    snprintf(out->text, sizeof(out->text), "HTTP %u%s%.*s", status, *whole ? ": " : "", 270, whole);
    if (status >= 200 && status < 300)
        out->verdict = INFLUX_STORED;
    else if (status == 400 || status == 422)
        judge_refusal(v, lines, whole, out);
    else if (status == 413)
        out->verdict = INFLUX_LARGE;
    else if (status == 401 || status == 403 || status == 407)
        out->verdict = INFLUX_DENIED;
    else if (status == 404)
        out->verdict = INFLUX_MISSING;
    else
        out->verdict = INFLUX_LATER;
    if (status == 429 || status == 503)
        out->wait_us = wait_of(retry_after, now_s);
    json_decref(v);
}
