#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/units.h"

enum value_kind { KIND_STRING, KIND_NUMBER, KIND_BOOL, KIND_ARRAY };

struct reader {
    const char *path;
    const char *at, *end;
    int line;
    struct buf text; // the value being read, unescaped
    struct options *options;
    int layer;
    bool seen[OPT_MAX];
    struct error *err;
};

#define FAIL(r, ...) fail_at((r), __LINE__, __VA_ARGS__)
static int fail_at(struct reader *r, int source_line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail_at(struct reader *r, int source_line, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return error_set_at(r->err, __FILE__, source_line, ERR_INVALID, "%s:%d: %s", r->path, r->line, text);
}

static int peek(const struct reader *r)
{
    return r->at < r->end ? (unsigned char)*r->at : -1;
}

static void skip_blanks(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || (peek(r) == '\r' && r->at + 1 < r->end && r->at[1] == '\n'))
        r->at++;
}

static void skip_comment(struct reader *r)
{
    skip_blanks(r);
    if (peek(r) == '#')
        while (r->at < r->end && *r->at != '\n')
            r->at++;
}

// Blanks, comments and newlines.
static void skip_space(struct reader *r)
{
    for (skip_comment(r); peek(r) == '\n'; skip_comment(r)) {
        r->at++;
        r->line++;
    }
}

static int end_of_line(struct reader *r)
{
    skip_comment(r);
    if (peek(r) == -1)
        return 0;
    if (peek(r) != '\n')
        return FAIL(r, "unexpected \"%.*s\" behind the value", (int)strcspn(r->at, "\r\n"), r->at);
    r->at++;
    r->line++;
    return 0;
}

static bool is_key_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static int append_utf8(struct reader *r, uint32_t c)
{
    char bytes[4];
    int n = 0;
    if (c < 0x80) {
        bytes[n++] = (char)c;
    } else if (c < 0x800) {
        bytes[n++] = (char)(0xc0 | c >> 6);
        bytes[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        bytes[n++] = (char)(0xe0 | c >> 12);
        bytes[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (c & 0x3f));
    }
    return buf_append(&r->text, bytes, (size_t)n);
}

static int read_escape(struct reader *r)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    int c = peek(r);
    const char *simple = c > 0 ? strchr(from, c) : NULL;
    if (simple) {
        r->at++;
        return buf_append_char(&r->text, to[simple - from]);
    }
    uint32_t v = 0;
    if (c != 'u' || r->end - r->at < 5)
        return FAIL(r, "unknown escape in a string: expected \\n \\t \\r \\b \\f \\\" \\\\ or \\uXXXX");
    for (int i = 1; i <= 4; i++) {
        const char *digit = strchr("0123456789abcdef0123456789ABCDEF", r->at[i]);
        if (!digit || !*digit)
            return FAIL(r, "\\u needs four hexadecimal digits");
        v = v << 4 | (uint32_t)((digit - "0123456789abcdef0123456789ABCDEF") & 15);
    }
    if (v == 0 || (v >= 0xd800 && v < 0xe000))
        return FAIL(r, "\\u%04x is no character", v);
    r->at += 5;
    return append_utf8(r, v);
}

static int read_string(struct reader *r)
{
    char quote = *r->at++;
    if (r->at + 1 < r->end && r->at[0] == quote && r->at[1] == quote)
        return FAIL(r, "multi-line strings are not supported here: write it on one line");
    for (;;) {
        int c = peek(r);
        if (c == -1 || c == '\n')
            return FAIL(r, "the string is not closed");
        r->at++;
        if (c == quote)
            return 0;
        if (c == 0 || (c < 0x20 && c != '\t') || c == 0x7f)
            return FAIL(r, "control character 0x%02x in a string", c);
        if (c == '\\' && quote == '"' ? read_escape(r) : buf_append_char(&r->text, (char)c))
            return r->err->code ? -1 : FAIL(r, "the string is too long");
    }
}

// A bare word: number or boolean. Which number it may be is the option's business.
static int read_word(struct reader *r, enum value_kind *kind)
{
    const char *start = r->at;
    while (is_key_char(peek(r)) || peek(r) == '+' || peek(r) == '.' || peek(r) == ':')
        r->at++;
    size_t n = (size_t)(r->at - start);
    if (n == 0)
        return FAIL(r, peek(r) == '{' ? "inline tables are not supported here" : "expected a value");
    *kind = (n == 4 && !memcmp(start, "true", 4)) || (n == 5 && !memcmp(start, "false", 5)) ? KIND_BOOL : KIND_NUMBER;
    bool digits = *start >= '0' && *start <= '9';
    if (*kind == KIND_NUMBER && !digits && !((*start == '-' || *start == '+') && n > 1))
        return FAIL(r, "\"%.*s\" is no value: strings need quotes", (int)n, start);
    for (size_t i = 0; i < n; i++)
        if (*kind == KIND_NUMBER && !strchr("0123456789+-._eE", start[i]))
            return FAIL(r, "\"%.*s\" is not a number: strings need quotes", (int)n, start);
    // TOML's underscores are only for the eye.
    for (size_t i = 0; i < n; i++)
        if (start[i] != '_' && buf_append_char(&r->text, start[i]))
            return FAIL(r, "out of memory");
    return 0;
}

static int read_value(struct reader *r, enum value_kind *kind)
{
    buf_clear(&r->text);
    if (peek(r) != '"' && peek(r) != '\'')
        return read_word(r, kind);
    *kind = KIND_STRING;
    return read_string(r);
}

static const char *kind_name(enum value_kind kind)
{
    static const char *const names[] = {"a string", "a number", "a boolean", "an array"};
    return names[kind];
}

static int check_kind(struct reader *r, const struct option_spec *spec, enum value_kind kind)
{
    const char *want;
    switch (spec->type) {
    case TYPE_BOOL:
        if (kind == KIND_BOOL)
            return 0;
        want = "true or false";
        break;
    case TYPE_COUNT:
        if (kind == KIND_NUMBER || kind == KIND_STRING)
            return 0;
        want = "a number or a string such as \"10k\"";
        break;
    case TYPE_INT:
    case TYPE_SEED:
    case TYPE_FACTOR:
    case TYPE_PERCENT:
        if (kind == KIND_NUMBER)
            return 0;
        want = "a number";
        break;
    case TYPE_DURATION:
        if (kind == KIND_STRING)
            return 0;
        want = "a string with a unit such as \"30s\"";
        break;
    default:
        if (kind == KIND_STRING)
            return 0;
        want = spec->flags & OPTION_REPEAT ? "a string or an array of strings" : "a string";
    }
    return FAIL(r, "%s: expected %s, got %s", spec->name, want, kind_name(kind));
}

static int set(struct reader *r, enum option_id id, enum value_kind kind)
{
    char from[128], as[256];
    if (check_kind(r, &option_specs[id], kind))
        return -1;
    const char *text = buf_cstr(&r->text);
    snprintf(from, sizeof(from), "%s:%d", r->path, r->line);
    snprintf(as, sizeof(as), "%s: %s", from, option_specs[id].name);
    return options_set(r->options, id, text, r->layer, from, as, r->err);
}

static int read_array(struct reader *r, enum option_id id)
{
    if (!(option_specs[id].flags & OPTION_REPEAT))
        return check_kind(r, &option_specs[id], KIND_ARRAY);
    r->at++;
    for (skip_space(r); peek(r) != ']'; skip_space(r)) {
        enum value_kind kind;
        if (peek(r) == -1)
            return FAIL(r, "the array is not closed");
        if (read_value(r, &kind) || set(r, id, kind))
            return -1;
        skip_space(r);
        if (peek(r) == ',')
            r->at++;
        else if (peek(r) != ']')
            return FAIL(r, "expected , or ] in the array");
    }
    r->at++;
    return 0;
}

static int unknown_key(struct reader *r, const char *key, size_t n)
{
    const char *candidates[OPT_MAX + 1] = {0};
    unsigned count = 0;
    for (int id = 0; id < OPT_MAX; id++)
        if (!(option_specs[id].flags & OPTION_ONLY_FLAG))
            candidates[count++] = option_specs[id].name;
    char word[64];
    snprintf(word, sizeof(word), "%.*s", (int)n, key);
    const char *near = suggest(word, candidates);
    return FAIL(r, "unknown key \"%.*s\"%s%s%s", (int)(n > 80 ? 80 : n), key, near ? " (did you mean \"" : "",
                near ? near : "", near ? "\"?)" : "; `iotix-run --help` lists the options");
}

static int read_pair(struct reader *r)
{
    const char *key = r->at;
    while (is_key_char(peek(r)))
        r->at++;
    size_t n = (size_t)(r->at - key);
    if (n == 0)
        return FAIL(r, "expected `key = value`, [run] or a comment");
    int id = option_find(key, n);
    if (id < 0)
        return unknown_key(r, key, n);
    if (option_specs[id].flags & OPTION_ONLY_FLAG)
        return FAIL(r, "%s can only be given on the command line", option_specs[id].name);
    if (r->seen[id])
        return FAIL(r, "%s is there twice", option_specs[id].name);
    r->seen[id] = true;
    skip_blanks(r);
    if (peek(r) != '=')
        return FAIL(r, "expected = behind %s", option_specs[id].name);
    r->at++;
    skip_blanks(r);
    if (peek(r) == '[')
        return read_array(r, (enum option_id)id);
    enum value_kind kind;
    return read_value(r, &kind) ? -1 : set(r, (enum option_id)id, kind);
}

static int read_table(struct reader *r)
{
    const char *start = r->at;
    size_t n = strcspn(r->at, "\r\n#");
    if (n > (size_t)(r->end - r->at))
        n = (size_t)(r->end - r->at);
    while (n > 0 && (start[n - 1] == ' ' || start[n - 1] == '\t'))
        n--;
    if (n != 5 || memcmp(start, "[run]", 5))
        return FAIL(r, "unknown table %.*s: the only one is [run]", (int)(n > 60 ? 60 : n), start);
    r->at += n;
    return 0;
}

static int read_all(struct reader *r)
{
    for (skip_space(r); peek(r) != -1; skip_space(r)) {
        if (peek(r) == '[' ? read_table(r) : read_pair(r))
            return -1;
        if (end_of_line(r))
            return -1;
    }
    return 0;
}

int config_parse(struct options *o, const char *path, const char *text, size_t n, int layer, struct error *err)
{
    struct error own;
    struct reader r = {
        .path = path, .at = text, .end = text + n, .line = 1, .options = o, .layer = layer, .err = err ? err : &own};
    error_clear(r.err);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        r.at += 3; // a byte order mark
    buf_create(&r.text, CONFIG_MAX_BYTES + 1);
    int rc = memchr(text, '\0', n) ? FAIL(&r, "the file contains NUL bytes") : read_all(&r);
    buf_destroy(&r.text);
    return rc;
}

int config_read(struct options *o, const char *path, int layer, struct error *err)
{
    struct buf text;
    struct error why;
    buf_create(&text, CONFIG_MAX_BYTES + 1);
    int rc = file_read(path, CONFIG_MAX_BYTES, &text, &why);
    if (rc == 0)
        rc = config_parse(o, path, buf_cstr(&text), text.len, layer, err);
    else if (why.code == ERR_NOT_FOUND)
        rc = 0;
    else
        rc = error_set(err, why.code, "%s", why.text);
    buf_destroy(&text);
    return rc;
}

int config_read_all(struct options *o, const char *const *files, unsigned n_files, struct error *err)
{
    if (files) {
        for (unsigned i = 0; i < n_files; i++)
            if (config_read(o, files[i], LAYER_FILE + (int)i, err))
                return -1;
        return 0;
    }
    char user[4096];
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/') // the XDG specification: relative paths are to be ignored
        snprintf(user, sizeof(user), "%s/iotix/run.toml", xdg);
    else
        snprintf(user, sizeof(user), "%s/.config/iotix/run.toml", home ? home : "");
    if (config_read(o, "/etc/iotix/run.toml", LAYER_FILE, err))
        return -1;
    if (*user == '/' && config_read(o, user, LAYER_FILE + 1, err))
        return -1;
    return config_read(o, "./iotix.toml", LAYER_FILE + 2, err);
}
