// What all encodings share: values as their declared type, rounding, valid UTF-8.
#include "telemetry/encode.h"
#include <math.h>
#include <string.h>
#include "core/units.h"

static int64_t whole(double v)
{
    if (isnan(v))
        return 0;
    return v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)rint(v);
}

struct value encode_as(enum value_type declared, const struct value *v)
{
    bool number = v->type == VALUE_NUMBER || v->type == VALUE_NUMERAL;
    if (v->type == declared || (!number && v->type != VALUE_INTEGER && v->type != VALUE_BOOLEAN))
        return *v;
    struct value out = {.type = declared};
    switch (declared) {
    case VALUE_NUMBER:
        out.number = number ? v->number : v->type == VALUE_INTEGER ? (double)v->integer : v->boolean;
        return out;
    case VALUE_INTEGER:
        out.integer = number ? whole(v->number) : v->boolean;
        return out;
    case VALUE_BOOLEAN:
        out.boolean = number ? v->number != 0 : v->integer != 0;
        return out;
    default:
        return *v;
    }
}

double encode_round(double v, int precision)
{
    static const double pow10[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    if (precision < 0 || !isfinite(v))
        return v;
    double unit = pow10[precision > 9 ? 9 : precision], magnitude = fabs(v);
    if (magnitude * unit >= 0x1p53)
        return v; // more digits than a double has
    // As buf_append_number does: only the fraction is rounded. The division is exact to the last bit.
    double floor_ = floor(magnitude), fraction = (magnitude - floor_) * unit, units = floor(fraction);
    if (fraction - units >= 0.5)
        units++;
    double rounded = (floor_ * unit + units) / unit;
    return v < 0 && rounded != 0 ? -rounded : rounded;
}

bool encode_text_number(const char *s, size_t n, double *out)
{
    char text[128];
    if (n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = '\0';
    return double_parse(text, out, NULL) == 0;
}

// Bytes from s that are well-formed.
static size_t clean_run(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t len = (unsigned char)s[i] < 0x80 ? 1 : utf8_length(s + i, n - i);
        if (!len)
            break;
        i += len;
    }
    return i;
}

size_t encode_clean_length(const char *s, size_t n)
{
    size_t total = 0;
    while (n) {
        size_t run = clean_run(s, n);
        total += run;
        s += run;
        n -= run;
        if (n) {
            total += 3;
            s++;
            n--;
        }
    }
    return total;
}

int encode_put_clean(struct buf *out, const char *s, size_t n, size_t clean)
{
    if (clean == n) // a replaced byte makes it longer
        return buf_append(out, s, n);
    while (n) {
        size_t run = clean_run(s, n);
        if (buf_append(out, s, run) || (run < n && buf_append(out, "\xef\xbf\xbd", 3)))
            return -1;
        s += run + (run < n);
        n -= run + (run < n);
    }
    return 0;
}
