// Rows of JSON: one value a line (NDJSON), or the elements of one array. Values are read where they lie, without a
// parse tree: dataset_json_skip checks and finds the end of a value, a member is found by walking along its object.
#include <string.h>
#include "core/buf.h"
#include "telemetry/dataset_impl.h"

enum { MAX_DEPTH = 64 };

static const char *bad(const char *at, const char *why, const char **where, const char **what)
{
    *where = at;
    *what = why;
    return NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

// p: behind the opening quote. Returns behind the closing one.
static const char *skip_string(const char *p, const char *end, const char **where, const char **what)
{
    for (; p < end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return bad(p, "a control character in a string", where, what);
        if (*p != '\\')
            continue;
        if (++p == end)
            break;
        if (*p == 'u') {
            int v = hex4(p + 1, end);
            if (v < 0)
                return bad(p, "expected four hexadecimal digits behind \\u", where, what);
            if (v == 0)
                return bad(p, "\\u0000 is not possible here", where, what);
            p += 4;
        } else if (!*p || !strchr("\"\\/bfnrt", *p)) {
            return bad(p, "an unknown escape in a string", where, what);
        }
    }
    return p < end ? p + 1 : bad(p, "a string is not closed", where, what);
}

static const char *skip_number(const char *p, const char *end, const char **where, const char **what)
{
    p += *p == '-';
    if (p == end || !is_digit(*p))
        return bad(p, "expected a digit", where, what);
    p = *p == '0' ? p + 1 : skip_digits(p, end);
    if (p < end && *p == '.') {
        const char *from = p + 1;
        p = skip_digits(from, end);
        if (p == from)
            return bad(p, "expected a digit behind the point", where, what);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *from = p + 1;
        from += from < end && (*from == '+' || *from == '-');
        p = skip_digits(from, end);
        if (p == from)
            return bad(p, "expected a digit in the exponent", where, what);
    }
    return p;
}

static const char *skip_members(const char *p, const char *end, unsigned depth, const char **where, const char **what)
{
    char close = *p == '{' ? '}' : ']';
    p = skip_space(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    for (;; p = skip_space(p + 1, end)) {
        if (close == '}') {
            if (p == end || *p != '"')
                return bad(p, "expected a key in quotes", where, what);
            p = skip_string(p + 1, end, where, what);
            p = p ? skip_space(p, end) : NULL;
            if (!p)
                return NULL;
            if (p == end || *p != ':')
                return bad(p, "expected a colon behind the key", where, what);
            p = skip_space(p + 1, end);
        }
        p = dataset_json_skip(p, end, depth + 1, where, what);
        if (!p)
            return NULL;
        p = skip_space(p, end);
        if (p < end && *p == close)
            return p + 1;
        if (p == end || *p != ',')
            return bad(p, close == '}' ? "expected , or }" : "expected , or ]", where, what);
    }
}

const char *dataset_json_skip(const char *p, const char *end, unsigned depth, const char **where, const char **what)
{
    static const struct {
        const char *text;
        size_t n;
    } words[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    if (p == end)
        return bad(p, "expected a value, the text ends", where, what);
    if (depth > MAX_DEPTH)
        return bad(p, "more than 64 levels of nesting", where, what);
    if (*p == '{' || *p == '[')
        return skip_members(p, end, depth, where, what);
    if (*p == '"')
        return skip_string(p + 1, end, where, what);
    if (*p == '-' || is_digit(*p))
        return skip_number(p, end, where, what);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if ((size_t)(end - p) >= words[i].n && !memcmp(p, words[i].text, words[i].n))
            return p + words[i].n;
    }
    return bad(p, "expected a value", where, what);
}

// --- strings

static unsigned put_utf8(char *to, uint32_t c)
{
    if (c < 0x80)
        return to[0] = (char)c, 1;
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

// The code point of the \u escape at p (behind "\u"); *used: bytes from p. Half a surrogate pair is U+FFFD.
static uint32_t code_point(const char *p, const char *end, size_t *used)
{
    int high = hex4(p, end), low;
    *used = 4;
    if (high < 0 || (high & 0xf800) != 0xd800)
        return high < 0 ? 0xfffd : (uint32_t)high;
    if (high < 0xdc00 && end - p >= 10 && p[4] == '\\' && p[5] == 'u' && (low = hex4(p + 6, end)) >= 0xdc00 &&
        low < 0xe000) {
        *used = 10;
        return 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    }
    return 0xfffd;
}

// s: between the quotes, checked. `to` has room for n bytes: no escape is shorter than what it stands for.
static size_t unescape(const char *s, size_t n, char *to)
{
    static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
    const char *end = s + n;
    size_t len = 0;
    while (s < end) {
        if (*s != '\\' || s + 1 >= end) {
            to[len++] = *s++;
            continue;
        }
        if (s[1] == 'u') {
            size_t used;
            uint32_t c = end - s >= 6 ? code_point(s + 2, end, &used) : 0;
            if (!c)
                break; // only in a file that was changed since it was checked
            len += put_utf8(to + len, c);
            s += 2 + used;
            continue;
        }
        const char *known = s[1] ? strchr(from, s[1]) : NULL;
        to[len++] = known ? into[known - from] : s[1];
        s += 2;
    }
    return len;
}

// [p, end): a checked string with its quotes.
static void string_value(const char *p, const char *end, struct scratch *scratch, struct value *out)
{
    size_t n = (size_t)(end - p) - 2;
    *out = (struct value){.type = VALUE_STRING, .str = {p + 1, n}};
    if (!n || !memchr(p + 1, '\\', n))
        return;
    char *copy = scratch ? scratch_alloc(scratch, n) : NULL;
    if (!copy) {
        out->type = VALUE_NULL;
        return;
    }
    out->str.s = copy;
    out->str.n = unescape(p + 1, n, copy);
}

// Whether the key [p, end) with its quotes is `name`.
static bool is_key(const char *p, const char *end, const char *name, size_t n)
{
    size_t len = (size_t)(end - p) - 2;
    if (len == n && !memcmp(p + 1, name, n))
        return true;
    if (len <= n || len > 6 * DATASET_MAX_COLUMNS || !memchr(p + 1, '\\', len))
        return false;
    struct scratch scratch;
    struct value v;
    scratch_create(&scratch, len + 64);
    string_value(p, end, &scratch, &v);
    bool same = v.type == VALUE_STRING && v.str.n == n && !memcmp(v.str.s, name, n);
    scratch_destroy(&scratch);
    return same;
}

// --- rows

static const char *row_limit(const struct dataset *ds, size_t at)
{
    size_t left = ds->size - at;
    return ds->bytes + at + (left < DATASET_MAX_ROW ? left : DATASET_MAX_ROW);
}

static size_t skip_blank(const struct dataset *ds, size_t at)
{
    return (size_t)(skip_space(ds->bytes + at, ds->bytes + ds->size) - ds->bytes);
}

size_t dataset_json_next(const struct dataset *ds, size_t at)
{
    const char *p = ds->bytes + at, *end = ds->bytes + ds->size, *where, *what;
    if (ds->format == DATASET_NDJSON) {
        p = memchr(p, '\n', (size_t)(row_limit(ds, at) - p));
        return p ? skip_blank(ds, (size_t)(p - ds->bytes)) : ds->size;
    }
    p = dataset_json_skip(p, row_limit(ds, at), 1, &where, &what);
    p = p ? skip_space(p, end) : end;
    return p < end && *p == ',' ? skip_blank(ds, (size_t)(p + 1 - ds->bytes)) : ds->size;
}

static int bad_json(const struct dataset *ds, const char *where, const char *what, struct error *err)
{
    size_t at = (size_t)(where - ds->bytes), column = 1;
    if (at == ds->size && at) { // the end of the last line says more than the empty one behind it
        at--;
        while (at && is_space(ds->bytes[at]))
            at--;
        at++;
    }
    for (size_t i = at; i-- > 0 && ds->bytes[i] != '\n';)
        column++;
    return error_set(err, ERR_INVALID, "%s:%llu:%zu: %s", ds->path, (unsigned long long)dataset_line_of(ds, at), column,
                     what);
}

static int name_members(struct dataset *ds, const char *p, const char *end, struct error *err)
{
    const char *where, *what;
    struct scratch scratch;
    int rc = 0;
    scratch_create(&scratch, 2 * DATASET_MAX_ROW);
    for (p = skip_space(p + 1, end); !rc && *p == '"';) {
        struct value name;
        const char *key_end = skip_string(p + 1, end, &where, &what);
        string_value(p, key_end, &scratch, &name);
        if (name.type == VALUE_NULL)
            rc = error_set(err, ERR_LIMIT, "no memory for the names of the columns");
        else
            rc = dataset_add_column(ds, name.str.s, name.str.n, err);
        p = skip_space(dataset_json_skip(skip_space(skip_space(key_end, end) + 1, end), end, 1, &where, &what), end);
        if (*p == ',')
            p = skip_space(p + 1, end);
    }
    scratch_destroy(&scratch);
    if (rc)
        return error_prefix(err, "%s", ds->path);
    return ds->columns ? 0 : error_set(err, ERR_INVALID, "%s: the first row is an empty object", ds->path);
}

// Checks the row at p; *next: behind its value.
static int add_row(struct dataset *ds, const char *p, const char *end, const char **next, struct error *err)
{
    const char *where, *what, *limit = row_limit(ds, (size_t)(p - ds->bytes));
    if (limit > end)
        limit = end;
    *next = dataset_json_skip(p, limit, 1, &where, &what);
    if (!*next && limit < end)
        return dataset_bad(ds, (size_t)(p - ds->bytes), err, "a row of more than %u bytes", DATASET_MAX_ROW);
    if (!*next)
        return bad_json(ds, where, what, err);
    if (!ds->rows) {
        ds->first = (size_t)(p - ds->bytes);
        ds->objects = *p == '{';
        if (ds->objects ? name_members(ds, p, *next, err) : dataset_add_column(ds, "value", 5, err))
            return -1;
    } else if ((*p == '{') != ds->objects) {
        return bad_json(ds, p,
                        ds->objects ? "expected an object as in the first row" : "an object, but the first row is none",
                        err);
    }
    return dataset_mark(ds, (size_t)(p - ds->bytes), err);
}

static int index_lines(struct dataset *ds, struct error *err)
{
    for (size_t at = skip_blank(ds, ds->first); at < ds->size;) {
        const char *p = ds->bytes + at, *next;
        const char *end = memchr(p, '\n', ds->size - at);
        if (!end)
            end = ds->bytes + ds->size;
        if (add_row(ds, p, end, &next, err))
            return -1;
        next = skip_space(next, end);
        if (next < end)
            return bad_json(ds, next, "expected one value a line; this one goes on behind it", err);
        if ((size_t)(end - p) > DATASET_MAX_ROW)
            return dataset_bad(ds, at, err, "a row of more than %u bytes", DATASET_MAX_ROW);
        at = skip_blank(ds, (size_t)(end - ds->bytes));
    }
    return ds->rows ? 0 : error_set(err, ERR_INVALID, "%s: there are no rows in it", ds->path);
}

static int index_array(struct dataset *ds, struct error *err)
{
    const char *end = ds->bytes + ds->size, *p = skip_space(ds->bytes + ds->first, end);
    if (p == end || *p != '[')
        return bad_json(ds, p, "expected an array of rows: [ … ]; for one value a line name the file .ndjson", err);
    p = skip_space(p + 1, end);
    if (p < end && *p == ']')
        return error_set(err, ERR_INVALID, "%s: the array has no rows", ds->path);
    for (;; p = skip_space(p + 1, end)) {
        if (add_row(ds, p, end, &p, err))
            return -1;
        p = skip_space(p, end);
        if (p == end || *p != ',')
            break;
    }
    if (p == end || *p != ']')
        return bad_json(ds, p, "expected , or ] behind a row", err);
    p = skip_space(p + 1, end);
    return p == end ? 0 : bad_json(ds, p, "expected nothing behind the array", err);
}

int dataset_json_index(struct dataset *ds, struct error *err)
{
    return ds->format == DATASET_NDJSON ? index_lines(ds, err) : index_array(ds, err);
}

// --- reading

// The value of the column in the row at p; NULL: it has none.
static const char *find_value(const struct dataset *ds, const char *p, const char *end, unsigned column)
{
    const char *where, *what, *name = ds->names[column];
    size_t n = strlen(name);
    if (!ds->objects)
        return p;
    if (p == end || *p != '{')
        return NULL;
    for (p = skip_space(p + 1, end); p < end && *p == '"'; p = skip_space(p + 1, end)) {
        const char *key = p;
        p = skip_string(p + 1, end, &where, &what);
        if (!p)
            return NULL;
        bool found = is_key(key, p, name, n);
        p = skip_space(p, end);
        if (p == end || *p != ':')
            return NULL;
        p = skip_space(p + 1, end);
        if (found)
            return p;
        p = dataset_json_skip(p, end, 1, &where, &what);
        p = p ? skip_space(p, end) : NULL;
        if (!p || p == end || *p != ',')
            return NULL;
    }
    return NULL;
}

void dataset_json_field(const struct dataset *ds, size_t at, unsigned column, bool text, struct scratch *scratch,
                        struct value *out)
{
    const char *where, *what, *end = row_limit(ds, at);
    const char *p = find_value(ds, ds->bytes + at, end, column);
    const char *close = p ? dataset_json_skip(p, end, 1, &where, &what) : NULL;
    out->type = VALUE_NULL;
    if (!close || *p == 'n')
        return;
    size_t n = (size_t)(close - p);
    if (*p == '"') {
        string_value(p, close, scratch, out);
        return;
    }
    *out = (struct value){.type = text ? VALUE_STRING : VALUE_JSON, .str = {p, n}};
    if (text || *p == '{' || *p == '[')
        return;
    if (*p == 't' || *p == 'f')
        *out = (struct value){.type = VALUE_BOOLEAN, .boolean = *p == 't'};
    else if (!dataset_number(p, n, out))
        out->type = VALUE_NULL;
}

void dataset_json_row(const struct dataset *ds, size_t at, struct value *out)
{
    const char *where, *what, *p = ds->bytes + at;
    const char *close = dataset_json_skip(p, row_limit(ds, at), 1, &where, &what);
    *out = (struct value){.type = VALUE_NULL};
    if (close)
        *out = (struct value){.type = VALUE_JSON, .str = {p, (size_t)(close - p)}};
}
