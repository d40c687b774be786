#include "core/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_US ((int64_t)100 * 366 * 86400 * 1000000) // 100 years
#define DURATION_HELP "expected a duration such as \"250ms\", \"1.5s\", \"2m\" or \"1h30m\""
#define WORD_MAX 64 // longest word that suggest() looks at

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Unsigned decimal with an optional fraction; no sign, exponent or locale. Returns where it ends, NULL if there is
// none.
static const char *decimal(const char *s, double *out)
{
    double mantissa = 0, scale = 1;
    const char *at = s;
    while (is_digit(*at))
        mantissa = mantissa * 10 + (*at++ - '0');
    if (at == s)
        return NULL;
    if (*at == '.') {
        if (!is_digit(at[1]))
            return NULL;
        for (at++; is_digit(*at); at++) {
            if (scale >= 1e15)
                continue; // beyond what a double can tell
            mantissa = mantissa * 10 + (*at - '0');
            scale *= 10;
        }
    }
    *out = mantissa / scale; // one rounding: "0.1" is exactly strtod's 0.1
    return at;
}

static const char *duration_unit(const char *s, double *us)
{
    static const struct {
        const char *name;
        double us;
    } units[] = {{"us", 1},  {"\xc2\xb5s", 1}, {"\xce\xbcs", 1}, {"ms", 1e3},
                 {"s", 1e6}, {"m", 60e6},      {"h", 3600e6},    {"d", 86400e6}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].name);
        // "m" must not swallow the start of "ms"; a longer unit comes first in the table or ends in a letter.
        if (strncmp(s, units[i].name, n) == 0 && !isalpha((unsigned char)s[n])) {
            *us = units[i].us;
            return s + n;
        }
    }
    return NULL;
}

int duration_parse(const char *s, bool bare_seconds, int64_t *out_us, struct error *err)
{
    double total = 0, last_unit = INFINITY;
    const char *at = s;
    if (*at == '-')
        return error_set(err, ERR_INVALID, "\"%s\" is negative: " DURATION_HELP, s);
    do {
        double number, unit;
        const char *end = decimal(at, &number);
        if (!end)
            return error_set(err, ERR_INVALID, "\"%s\" is not a duration: " DURATION_HELP, s);
        const char *next = duration_unit(end, &unit);
        if (!next && *end == '\0' && at == s && (bare_seconds || number == 0)) {
            unit = 1e6;
            next = end;
        } else if (!next && *end == '\0') {
            return error_set(err, ERR_INVALID, "\"%s\" has no unit: write us, ms, s, m, h or d after the number", s);
        } else if (!next) {
            return error_set(err, ERR_INVALID, "\"%s\" has an unknown unit: expected us, ms, s, m, h or d", s);
        }
        if (unit >= last_unit)
            return error_set(err, ERR_INVALID, "\"%s\" is not a duration: larger units come first, each once (1m30s)",
                             s);
        last_unit = unit;
        total += number * unit;
        at = next;
    } while (*at);
    if (!(total <= (double)MAX_US))
        return error_set(err, ERR_INVALID, "\"%s\" is more than 100 years", s);
    *out_us = llround(total);
    return 0;
}

int duration_from_seconds(double s, int64_t *out_us, struct error *err)
{
    if (isnan(s))
        return error_set(err, ERR_INVALID, "not a number: expected a duration in seconds");
    if (s < 0)
        return error_set(err, ERR_INVALID, "%.14g is negative: expected a duration in seconds", s);
    if (s * 1e6 > (double)MAX_US)
        return error_set(err, ERR_INVALID, "%.14g seconds is more than 100 years", s);
    *out_us = llround(s * 1e6);
    return 0;
}

char *duration_format(int64_t us, char *dst, size_t size)
{
    const char *sign = us < 0 ? "-" : "";
    double d = us < 0 ? -(double)us : (double)us;
    // Each limit is where rounding would carry into the next form: no "1000 us", "60.0 s" or "1m60s".
    if (d < 1000) {
        snprintf(dst, size, "%s%.0f us", sign, d);
    } else if (d < 99950) {
        snprintf(dst, size, "%s%.1f ms", sign, d / 1e3);
    } else if (d < 999500) {
        snprintf(dst, size, "%s%.0f ms", sign, d / 1e3);
    } else if (d < 9995000) {
        snprintf(dst, size, "%s%.2f s", sign, d / 1e6);
    } else if (d < 59950000) {
        snprintf(dst, size, "%s%.1f s", sign, d / 1e6);
    } else {
        uint64_t seconds = (uint64_t)(d / 1e6 + 0.5);
        uint64_t minutes = (seconds + 30) / 60, hours = (minutes + 30) / 60;
        if (seconds < 3600)
            snprintf(dst, size, "%s%um%02us", sign, (unsigned)(seconds / 60), (unsigned)(seconds % 60));
        else if (minutes < 24 * 60)
            snprintf(dst, size, "%s%uh%02um", sign, (unsigned)(minutes / 60), (unsigned)(minutes % 60));
        else
            snprintf(dst, size, "%s%llud%02uh", sign, (unsigned long long)(hours / 24), (unsigned)(hours % 24));
    }
    return dst;
}

// Digits with single underscores between them. Returns where they end, NULL without any; *overflow past 64 bits.
static const char *grouped_digits(const char *s, uint64_t *out, bool *overflow)
{
    uint64_t v = 0;
    const char *at = s;
    *overflow = false;
    if (!is_digit(*at))
        return NULL;
    while (is_digit(*at) || (*at == '_' && is_digit(at[1]) && at[-1] != '_')) {
        if (*at != '_' && (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v)))
            *overflow = true;
        at++;
    }
    *out = v;
    return at;
}

int count_parse(const char *s, uint64_t *out, struct error *err)
{
    static const char help[] = "expected a whole number such as 250, 10k or 1m";
    if (*s == '-')
        return error_set(err, ERR_INVALID, "\"%s\" is negative: %s", s, help);
    uint64_t v, factor = 1;
    bool overflow;
    const char *end = grouped_digits(s, &v, &overflow);
    if (end && strcasecmp(end, "k") == 0)
        factor = 1000;
    else if (end && strcasecmp(end, "m") == 0)
        factor = 1000000;
    else if (!end || *end)
        return error_set(err, ERR_INVALID, "\"%s\" is not a count: %s", s, help);
    if (overflow || __builtin_mul_overflow(v, factor, &v))
        return error_set(err, ERR_INVALID, "\"%s\" is too large", s);
    *out = v;
    return 0;
}

int size_parse(const char *s, uint64_t *out, struct error *err)
{
    static const struct {
        const char *name;
        int shift;
    } units[] = {{"", 0},     {"B", 0},  {"K", 10},  {"KB", 10},  {"KiB", 10}, {"M", 20},  {"MB", 20},
                 {"MiB", 20}, {"G", 30}, {"GB", 30}, {"GiB", 30}, {"T", 40},   {"TB", 40}, {"TiB", 40}};
    static const char help[] = "expected a size such as 4096, 64KB, 1MB or 2GB";
    if (*s == '-')
        return error_set(err, ERR_INVALID, "\"%s\" is negative: %s", s, help);
    double number;
    const char *end = decimal(s, &number);
    for (size_t i = 0; end && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(end, units[i].name))
            continue;
        uint64_t whole;
        bool overflow;
        const char *digits_end = grouped_digits(s, &whole, &overflow);
        if (digits_end == end && !overflow && whole <= UINT64_MAX >> units[i].shift) {
            *out = whole << units[i].shift; // exact, where a double is not
            return 0;
        }
        double bytes = ldexp(number, units[i].shift);
        if (digits_end == end || bytes >= 0x1p63)
            return error_set(err, ERR_INVALID, "\"%s\" is too large", s);
        *out = (uint64_t)(bytes + 0.5);
        return 0;
    }
    return error_set(err, ERR_INVALID, "\"%s\" is not a size: %s", s, help);
}

static const struct {
    const char *name, *shown;
    double bits;
} rate_units[] = {{"bit", "bit/s", 1}, {"kbit", "kbit/s", 1e3}, {"mbit", "Mbit/s", 1e6}, {"gbit", "Gbit/s", 1e9}};
#define RATE_UNITS (sizeof rate_units / sizeof rate_units[0])

int rate_parse(const char *s, double *out, struct error *err)
{
    static const char help[] = "expected a rate such as 500kbit, 1.5mbit or 1gbit (bits a second)";
    double number;
    if (*s == '-')
        return error_set(err, ERR_INVALID, "\"%s\" is negative: %s", s, help);
    const char *end = decimal(s, &number);
    if (!end)
        return error_set(err, ERR_INVALID, "\"%s\" is not a rate: %s", s, help);
    const char *unit = end + strspn(end, " ");
    size_t n = strlen(unit);
    if (n > 2 && strcasecmp(unit + n - 2, "/s") == 0)
        n -= 2;
    if (!*unit) {
        *out = number;
        return isfinite(number) ? 0 : error_set(err, ERR_INVALID, "\"%s\" is too large", s);
    }
    for (size_t i = 0; i < RATE_UNITS; i++) {
        if (strlen(rate_units[i].name) != n || strncasecmp(unit, rate_units[i].name, n))
            continue;
        *out = number * rate_units[i].bits;
        return isfinite(*out) ? 0 : error_set(err, ERR_INVALID, "\"%s\" is too large", s);
    }
    // tc means bytes by "kbps", most others bits; a rate that is eight times off is found late.
    return error_set(
        err, ERR_INVALID,
        "\"%s\": the unit \"%.16s\" leaves open whether it means bits or bytes; write bit, kbit, mbit or gbit "
        "(a second); 1 kilobyte a second is 8kbit",
        s, unit);
}

char *rate_format(double bits_a_second, char *dst, size_t size)
{
    size_t i = 0;
    while (i + 1 < RATE_UNITS && fabs(bits_a_second) >= rate_units[i + 1].bits * 0.99995)
        i++;
    snprintf(dst, size, "%.4g %s", bits_a_second / rate_units[i].bits, rate_units[i].shown);
    return dst;
}

int share_parse(const char *s, double *out, struct error *err)
{
    static const char help[] = "expected a share such as 5% or 0.05";
    double number;
    if (*s == '-')
        return error_set(err, ERR_INVALID, "\"%s\" is negative: %s", s, help);
    const char *end = decimal(s, &number);
    bool percent = end && strcmp(end + strspn(end, " "), "%") == 0;
    if (!end || (*end && !percent))
        return error_set(err, ERR_INVALID, "\"%s\" is not a share: %s", s, help);
    if (!(number <= (percent ? 100 : 1)))
        return error_set(err, ERR_INVALID, "\"%s\" is more than the whole: %s", s, help);
    *out = percent ? number / 100 : number;
    return 0;
}

char *count_format(uint64_t n, char *dst, size_t size)
{
    char text[32], *at = text + sizeof(text);
    *--at = '\0';
    int digits = 0;
    do {
        if (digits && digits % 3 == 0)
            *--at = ',';
        *--at = (char)('0' + n % 10);
        n /= 10;
        digits++;
    } while (n);
    snprintf(dst, size, "%s", at);
    return dst;
}

char *size_format(double bytes, char *dst, size_t size)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    unsigned i = 0;
    double v = bytes;
    while (fabs(v) >= 1023.95 && i < 5) {
        v /= 1024;
        i++;
    }
    snprintf(dst, size, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
    return dst;
}

int int_parse(const char *s, int64_t min, int64_t max, int64_t *out, struct error *err)
{
    char *end;
    errno = 0;
    bool starts = is_digit(*s) || ((*s == '-' || *s == '+') && is_digit(s[1])); // strtoll would skip blanks
    long long v = starts ? strtoll(s, &end, 10) : 0;
    if (!starts || *end)
        return error_set(err, ERR_INVALID, "\"%s\" is not a whole number", s);
    if (errno == ERANGE || v < min || v > max)
        return error_set(err, ERR_INVALID, "%s is out of range: expected %lld to %lld", s, (long long)min,
                         (long long)max);
    *out = v;
    return 0;
}

int double_parse(const char *s, double *out, struct error *err)
{
    char *end;
    // strtod also takes blanks, hexadecimal, "inf" and "nan": none of them is a number that a person means here.
    bool plain = *s && s[strspn(s, "0123456789+-.eE")] == '\0';
    double v = plain ? strtod(s, &end) : 0;
    if (!plain || end == s || *end)
        return error_set(err, ERR_INVALID, "\"%s\" is not a number", s);
    if (!isfinite(v))
        return error_set(err, ERR_INVALID, "\"%s\" is too large", s);
    *out = v;
    return 0;
}

// Edit distance with transpositions (optimal string alignment), letters compared without case. Both <= WORD_MAX.
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint8_t rows[3][WORD_MAX + 1]; // the row before last, the last, this one
    uint8_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        before[j] = last[j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= nb; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            unsigned best = last[j - 1] + (ca != cb);
            if (last[j] + 1u < best)
                best = last[j] + 1u;
            if (row[j - 1] + 1u < best)
                best = row[j - 1] + 1u;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && tolower((unsigned char)a[i - 2]) == cb &&
                before[j - 2] + 1u < best)
                best = before[j - 2] + 1u;
            row[j] = (uint8_t)best;
        }
        uint8_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[nb];
}

const char *suggest(const char *word, const char *const *candidates)
{
    size_t n = strlen(word);
    if (n == 0 || n > WORD_MAX)
        return NULL;
    const char *best = NULL;
    unsigned best_distance = (unsigned)(n / 3 + 1) + 1;
    for (; *candidates; candidates++) {
        size_t m = strlen(*candidates);
        if (m > WORD_MAX)
            continue;
        unsigned d = distance(word, n, *candidates, m);
        // A distance of the whole word is no resemblance.
        if (d < best_distance && d < (n > m ? n : m)) {
            best_distance = d;
            best = *candidates;
        }
    }
    return best;
}

char *names_join(const char *const *names, char *dst, size_t size)
{
    size_t used = 0;
    dst[0] = '\0';
    for (; *names; names++) {
        size_t n = strlen(*names), separator = used ? 2 : 0;
        if (used + separator + n + 1 > size)
            break;
        memcpy(dst + used, ", ", separator);
        memcpy(dst + used + separator, *names, n + 1);
        used += separator + n;
    }
    return dst;
}

int error_unknown(struct error *err, const char *what, const char *word, const char *const *valid)
{
    char list[384];
    const char *near = suggest(word, valid);
    return error_set(err, ERR_INVALID, "%s \"%.64s\"; valid: %s%s%s%s", what, word,
                     valid[0] ? names_join(valid, list, sizeof(list)) : "none", near ? "; did you mean \"" : "",
                     near ? near : "", near ? "\"?" : "");
}

int name_choose(const char *what, const char *word, const char *const *valid, struct error *err)
{
    for (int i = 0; valid[i]; i++) {
        if (!strcmp(valid[i], word))
            return i;
    }
    return error_unknown(err, what, word, valid);
}
