// The encodings of text: CSV fields and the parts of an InfluxDB line.
#include "telemetry/encode.h"
#include <string.h>

bool csv_delimiter_valid(char c)
{
    bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return c == '\t' || (c >= ' ' && c <= '~' && !alphanumeric && !strchr("\"'.+-_", c));
}

int csv_put_text(struct buf *out, const char *s, size_t n, char delimiter)
{
    bool quote = n == 0;
    for (size_t i = 0; i < n && !quote; i++)
        quote = s[i] == delimiter || s[i] == '"' || s[i] == '\n' || s[i] == '\r';
    if (!quote)
        return buf_append(out, s, n);
    if (buf_append_char(out, '"'))
        return -1;
    while (n) {
        const char *end = memchr(s, '"', n);
        size_t run = end ? (size_t)(end - s) + 1 : n;
        if (buf_append(out, s, run) || (end && buf_append_char(out, '"')))
            return -1;
        s += run;
        n -= run;
    }
    return buf_append_char(out, '"');
}

// --- InfluxDB -----------------------------------------------------------------------------------------------------

static bool escaped(char c, enum influx_part part)
{
    return c == ',' || c == ' ' || (c == '=' && part == INFLUX_KEY);
}

// What takes the place of a character that the protocol has no form for at all, 0: it may stand.
static char line_break(char c)
{
    return c == '\n' ? 'n' : c == '\r' ? 'r' : '\0';
}

// Grows from the end, so that it needs no second buffer.
int influx_escape(struct buf *out, uint32_t from, enum influx_part part)
{
    while (out->len > from && out->data[out->len - 1] == '\\')
        out->len--;
    if (out->len == from)
        return 0;
    bool comment = part == INFLUX_MEASUREMENT && out->data[from] == '#'; // else the line would be one
    uint32_t more = comment;
    for (uint32_t i = from; i < out->len; i++)
        more += escaped((char)out->data[i], part) || line_break((char)out->data[i]);
    if (!more)
        return 0;
    if (!buf_reserve(out, more))
        return -1;
    uint32_t to = out->len + more;
    uint8_t *data = out->data;
    for (uint32_t i = out->len; i-- > from;) {
        char c = (char)data[i], broken = line_break(c);
        data[--to] = broken ? (uint8_t)broken : (uint8_t)c;
        if (broken || escaped(c, part) || (comment && i == from))
            data[--to] = '\\';
    }
    out->len += more;
    return 0;
}

int influx_put_text(struct buf *out, const char *s, size_t n, enum influx_part part)
{
    uint32_t from = out->len;
    return buf_append(out, s, n) || influx_escape(out, from, part) ? -1 : 0;
}

int influx_put_string(struct buf *out, const char *s, size_t n)
{
    if (buf_append_char(out, '"'))
        return -1;
    for (size_t i = 0, run; i < n; i += run) {
        char c = s[i], broken = line_break(c);
        for (run = 0; i + run < n && s[i + run] != '"' && s[i + run] != '\\' && !line_break(s[i + run]);)
            run++;
        if (run) {
            if (buf_append(out, s + i, run))
                return -1;
            continue;
        }
        run = 1;
        if (buf_append_char(out, '\\') || buf_append_char(out, broken ? broken : c))
            return -1;
    }
    return buf_append_char(out, '"');
}

const char *const *influx_precisions(void)
{
    static const char *const names[] = {"ns", "us", "ms", "s", NULL};
    return names;
}

int influx_put_time(struct buf *out, int64_t wall_us, unsigned precision)
{
    static const int64_t divisors[] = {0, 1, 1000, 1000000};
    if (precision)
        return buf_append_int(out, wall_us / divisors[precision]);
    return buf_append_int(out, wall_us > INT64_MAX / 1000   ? INT64_MAX
                               : wall_us < INT64_MIN / 1000 ? INT64_MIN
                                                            : wall_us * 1000);
}

const char *influx_name_problem(const char *name)
{
    if (strcmp(name, "time") == 0)
        return "InfluxDB keeps the name \"time\" for itself";
    return name[0] == '_' ? "InfluxDB keeps names that begin with _ for itself"
           : name[0]      ? NULL
                          : "InfluxDB takes no empty name";
}
