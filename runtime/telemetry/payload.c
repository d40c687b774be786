// A template becomes a list of pieces: literal bytes, then one slot. How a slot is written (plain, as JSON, or inside
// quotes that the template opened) is decided when compiling, so that rendering is one switch a piece.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "core/zone.h"
#include "telemetry/dataset.h"
#include "telemetry/payload.h"

enum slot {
    SLOT_NONE,
    SLOT_VALUE,
    SLOT_DATA, // index: the column
    SLOT_DEVICE_ID,
    SLOT_GROUP_ID,
    SLOT_INDEX,
    SLOT_TIMESTAMP,
    SLOT_TIMESTAMP_ISO,
    SLOT_ATTRIBUTE,
    SLOT_GATEWAY_ID,
    SLOT_CHILD_INDEX
};
enum style { STYLE_TEXT, STYLE_JSON, STYLE_QUOTED }; // QUOTED: within quotes of the template, JSON-escaped

static const struct {
    const char *name;
    enum slot slot;
} builtins[] = {{"deviceId", SLOT_DEVICE_ID},
                {"groupId", SLOT_GROUP_ID},
                {"index", SLOT_INDEX},
                {"timestamp", SLOT_TIMESTAMP},
                {"timestampIso", SLOT_TIMESTAMP_ISO},
                {"attribute", SLOT_ATTRIBUTE},
                {PAYLOAD_GATEWAY_ID, SLOT_GATEWAY_ID},
                {PAYLOAD_CHILD_INDEX, SLOT_CHILD_INDEX}};
enum { N_BUILTINS = sizeof builtins / sizeof builtins[0], N_LISTED = N_BUILTINS - 2 };
enum { MAX_PRECISION = 9 };

struct piece {
    uint32_t at, len; // literal bytes before the slot, in payload.literals
    uint32_t index;   // of the value
    uint8_t slot;     // enum slot
    uint8_t style;    // enum style
    int8_t precision; // digits after the point, -1: as buf_append_number chooses
};

struct payload {
    struct buf literals;
    struct piece *pieces;
    unsigned n, size; // pieces used and allocated
};

struct compiler {
    struct payload *p;
    const char *const *names;
    const int *precision;
    unsigned n_names;
    const struct dataset *data;
    bool json;
    bool in_string;        // the literal text so far has opened a JSON string
    uint32_t literal_from; // where the next piece's literal begins
    struct error *err;
};

static int no_memory(struct error *err)
{
    return error_set(err, ERR_NO_MEMORY, "out of memory");
}

// Ends the literal that was gathered and adds the slot behind it.
static int add_piece(struct compiler *c, enum slot slot, unsigned index)
{
    struct payload *p = c->p;
    if (p->n == p->size) {
        unsigned size = p->size ? p->size * 2 : 8;
        struct piece *grown = realloc(p->pieces, size * sizeof *grown);
        if (!grown)
            return no_memory(c->err);
        p->pieces = grown;
        p->size = size;
    }
    int precision = slot == SLOT_VALUE && c->precision ? c->precision[index] : -1;
    p->pieces[p->n++] = (struct piece){
        .at = c->literal_from,
        .len = p->literals.len - c->literal_from,
        .index = index,
        .slot = (uint8_t)slot,
        .style = (uint8_t)(!c->json       ? STYLE_TEXT
                           : c->in_string ? STYLE_QUOTED
                                          : STYLE_JSON),
        .precision = (int8_t)precision,
    };
    c->literal_from = p->literals.len;
    return 0;
}

static int add_literal(struct compiler *c, const char *s, size_t n)
{
    return buf_append(&c->p->literals, s, n) < 0 ? no_memory(c->err) : 0;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

enum { DATA_PREFIX = 5 };

static bool is_data(const char *name)
{
    return strncmp(name, "data.", DATA_PREFIX) == 0;
}

// Length of the name in "{name}" (s points at the brace), 0 when what is in the braces is no name. Columns of data
// files are named as their authors like: up to the closing brace.
static size_t placeholder(const char *s)
{
    size_t n = 1;
    if (s[0] != '{' || !is_letter(s[1]))
        return 0;
    if (is_data(s + 1)) {
        n += DATA_PREFIX;
        while ((unsigned char)s[n] >= ' ' && !strchr("{}\"\\", s[n]))
            n++;
        return s[n] == '}' && n > 1 + DATA_PREFIX ? n - 1 : 0;
    }
    while (is_letter(s[n]) || (s[n] >= '0' && s[n] <= '9') || s[n] == '_')
        n++;
    return s[n] == '}' ? n - 1 : 0;
}

static enum slot find_slot(const struct compiler *c, const char *name, size_t n, unsigned *index)
{
    for (unsigned i = 0; i < c->n_names; i++)
        if (strlen(c->names[i]) == n && memcmp(c->names[i], name, n) == 0) {
            *index = i;
            return SLOT_VALUE;
        }
    *index = 0;
    if (is_data(name)) {
        for (unsigned i = 0; c->data && i < dataset_columns(c->data); i++) {
            const char *column = dataset_column_name(c->data, i);
            if (strlen(column) == n - DATA_PREFIX && memcmp(column, name + DATA_PREFIX, n - DATA_PREFIX) == 0) {
                *index = i;
                return SLOT_DATA;
            }
        }
        return SLOT_NONE;
    }
    for (unsigned i = 0; i < N_BUILTINS; i++)
        if (strlen(builtins[i].name) == n && memcmp(builtins[i].name, name, n) == 0)
            return builtins[i].slot;
    return SLOT_NONE;
}

static int unknown_column(const struct compiler *c, const char *column)
{
    if (c->data)
        return dataset_column(c->data, column, c->err) < 0 ? error_prefix(c->err, "${data.%s}", column) : -1;
    return error_set(c->err, ERR_INVALID,
                     "${data.%s}: there is no data here; a group with data = iotix.data{ \"file.csv\" } has it in its "
                     "id, client_id, username, password, topics and will",
                     column);
}

static int unknown_name(const struct compiler *c, const char *name, size_t n)
{
    struct buf list;
    char word[65];
    if (is_data(name)) {
        snprintf(word, sizeof word, "%.*s", (int)(n < 69 ? n - DATA_PREFIX : 64), name + DATA_PREFIX);
        return unknown_column(c, word);
    }
    const char **all = calloc(c->n_names + N_LISTED + 1, sizeof *all);
    if (!all)
        return no_memory(c->err);
    snprintf(word, sizeof word, "%.*s", (int)(n < 64 ? n : 64), name);
    buf_create(&list, 320); // what does not fit is left out: the error text is short anyway
    unsigned k = 0;
    for (unsigned i = 0; i < c->n_names; i++)
        all[k++] = c->names[i];
    for (unsigned i = 0; i < N_LISTED; i++)
        all[k++] = builtins[i].name;
    for (unsigned i = 0; i < k; i++)
        if (buf_printf(&list, "%s%s", i ? ", " : "", all[i]) < 0)
            break;
    const char *near = suggest(word, all);
    if (near)
        error_set(c->err, ERR_INVALID, "unknown placeholder ${%s}; valid: %s; did you mean ${%s}?", word,
                  buf_cstr(&list), near);
    else
        error_set(c->err, ERR_INVALID, "unknown placeholder ${%s}; valid: %s", word, buf_cstr(&list));
    buf_destroy(&list);
    free(all);
    return -1;
}

// Follows the template's own quotes.
static void track_quote(struct compiler *c, const char **s)
{
    if (**s == '"')
        c->in_string = !c->in_string;
    else if (**s == '\\' && c->in_string && (*s)[1] != '\0')
        (*s)++; // the escaped character is no quote
}

static int compile_text(struct compiler *c, const char *s)
{
    while (*s) {
        bool escaped = s[0] == '$' && s[1] == '$' && s[2] == '{';
        bool dollar = s[0] == '$' && !escaped;
        size_t n = escaped ? 0 : placeholder(dollar ? s + 1 : s);
        unsigned index = 0;
        enum slot slot = n ? find_slot(c, s + 1 + dollar, n, &index) : SLOT_NONE;
        if (n && dollar && slot == SLOT_NONE)
            return unknown_name(c, s + 2, n);
        if (slot != SLOT_NONE) {
            if (add_piece(c, slot, index) < 0)
                return -1;
            s += n + 2 + dollar;
            continue;
        }
        const char *from = escaped ? ++s : s;
        if (escaped)
            s++; // over the brace too, so that it opens no {name}
        else if (c->json)
            track_quote(c, &s);
        s++;
        if (add_literal(c, from, (size_t)(s - from)) < 0)
            return -1;
    }
    return 0;
}

static int check_arguments(const int *precision, unsigned n_values, struct error *err)
{
    if (n_values > PAYLOAD_MAX_VALUES)
        return error_set(err, ERR_LIMIT, "at most %u values in a payload, there are %u", PAYLOAD_MAX_VALUES, n_values);
    for (unsigned i = 0; precision && i < n_values; i++)
        if (precision[i] < -1 || precision[i] > MAX_PRECISION)
            return error_set(err, ERR_INVALID, "precision: must be 0..%d, is %d", MAX_PRECISION, precision[i]);
    return 0;
}

static struct payload *payload_new(struct error *err)
{
    struct payload *p = calloc(1, sizeof *p);
    if (!p) {
        no_memory(err);
        return NULL;
    }
    buf_create(&p->literals, 2 * PAYLOAD_MAX_TEXT);
    return p;
}

struct payload *payload_compile(const char *text, const char *const *value_names, const int *precision,
                                unsigned n_values, bool json, struct error *err)
{
    return payload_compile_data(text, value_names, precision, n_values, json, NULL, err);
}

struct payload *payload_compile_data(const char *text, const char *const *value_names, const int *precision,
                                     unsigned n_values, bool json, const struct dataset *data, struct error *err)
{
    if (check_arguments(precision, n_values, err) < 0)
        return NULL;
    if (strlen(text) > PAYLOAD_MAX_TEXT) {
        error_set(err, ERR_LIMIT, "template: at most %u bytes, it has %zu", PAYLOAD_MAX_TEXT, strlen(text));
        return NULL;
    }
    struct payload *p = payload_new(err);
    if (!p)
        return NULL;
    struct compiler c = {.p = p,
                         .names = value_names,
                         .precision = precision,
                         .n_names = n_values,
                         .data = data,
                         .json = json,
                         .err = err};
    if (compile_text(&c, text) == 0 && (c.literal_from == p->literals.len || add_piece(&c, SLOT_NONE, 0) == 0))
        return p;
    payload_delete(p);
    return NULL;
}

static int object_key(struct compiler *c, const char *name, bool first)
{
    struct buf *b = &c->p->literals;
    if (buf_append_char(b, first ? '{' : ',') < 0 || buf_append_json_string(b, name, strlen(name)) < 0 ||
        buf_append_char(b, ':') < 0)
        return error_set(c->err, ERR_LIMIT, "payload: the names take more than %u bytes", 2 * PAYLOAD_MAX_TEXT);
    return 0;
}

static int compile_object(struct compiler *c, bool with_timestamp)
{
    for (unsigned i = 0; i < c->n_names; i++) {
        if (object_key(c, c->names[i], i == 0) < 0 || add_piece(c, SLOT_VALUE, i) < 0)
            return -1;
        if (strcmp(c->names[i], "timestamp") == 0)
            with_timestamp = false;
    }
    if (with_timestamp && (object_key(c, "timestamp", c->n_names == 0) < 0 || add_piece(c, SLOT_TIMESTAMP, 0) < 0))
        return -1;
    const char *end = c->n_names == 0 && !with_timestamp ? "{}" : "}";
    return add_literal(c, end, strlen(end)) < 0 ? -1 : add_piece(c, SLOT_NONE, 0);
}

struct payload *payload_compile_object(const char *const *value_names, const int *precision, unsigned n_values,
                                       bool with_timestamp, struct error *err)
{
    if (check_arguments(precision, n_values, err) < 0)
        return NULL;
    struct payload *p = payload_new(err);
    if (!p)
        return NULL;
    struct compiler c = {
        .p = p, .names = value_names, .precision = precision, .n_names = n_values, .json = true, .err = err};
    if (compile_object(&c, with_timestamp) == 0)
        return p;
    payload_delete(p);
    return NULL;
}

void payload_delete(struct payload *p)
{
    if (!p)
        return;
    buf_destroy(&p->literals);
    free(p->pieces);
    free(p);
}

static int write_quoted(struct buf *out, const char *s, size_t n)
{
    uint32_t start = out->len;
    if (buf_append_json_string(out, s, n) < 0)
        return -1;
    out->len -= 2; // without the quotes
    memmove(out->data + start, out->data + start + 1, out->len - start);
    return 0;
}

static int write_text(struct buf *out, enum style style, const char *s, size_t n)
{
    if (style == STYLE_TEXT)
        return buf_append(out, s, n);
    return style == STYLE_JSON ? buf_append_json_string(out, s, n) : write_quoted(out, s, n);
}

// Puts quotes around what `inner` writes where the style asks for them.
static int open_quote(struct buf *out, enum style style)
{
    return style == STYLE_JSON ? buf_append_char(out, '"') : 0;
}

static int write_iso(struct buf *out, enum style style, int64_t wall_us)
{
    char text[TIME_TEXT_LEN];
    time_text(wall_us, text);
    if (open_quote(out, style) < 0 || buf_append(out, text, sizeof(text)) < 0)
        return -1;
    return open_quote(out, style);
}

static int write_value(struct buf *out, const struct piece *piece, const struct value *v)
{
    enum style style = (enum style)piece->style;
    switch (v->type) {
    case VALUE_NUMBER:
        return buf_append_number(out, v->number, piece->precision);
    case VALUE_INTEGER:
        return buf_append_int(out, v->integer);
    case VALUE_BOOLEAN:
        return v->boolean ? buf_append(out, "true", 4) : buf_append(out, "false", 5);
    case VALUE_STRING:
        return write_text(out, style, v->str.s, v->str.n);
    case VALUE_BINARY:
        if (style == STYLE_TEXT)
            return buf_append(out, v->str.s, v->str.n);
        if (open_quote(out, style) < 0 || buf_append_base64(out, v->str.s, v->str.n) < 0)
            return -1;
        return open_quote(out, style);
    case VALUE_JSON:
        return style == STYLE_QUOTED ? write_quoted(out, v->str.s, v->str.n) : buf_append(out, v->str.s, v->str.n);
    case VALUE_NUMERAL:
        if (open_quote(out, style) < 0 || buf_append_number(out, v->number, piece->precision) < 0)
            return -1;
        return open_quote(out, style);
    case VALUE_NULL:
        break;
    }
    return buf_append(out, "null", 4);
}

// Of data: text as it is written. Only what stands quoted or escaped in the file takes memory.
static int write_field(struct buf *out, enum style style, const struct payload_scope *scope, unsigned column)
{
    struct scratch scratch;
    struct value v = {.type = VALUE_NULL};
    scratch_create(&scratch, 2 * DATASET_MAX_ROW);
    if (scope->data && scope->index)
        dataset_text(scope->data, scope->index - 1, column, &scratch, &v);
    int rc = v.type == VALUE_NULL ? write_text(out, style, "", 0) : write_text(out, style, v.str.s, v.str.n);
    scratch_destroy(&scratch);
    return rc;
}

static int write_id(struct buf *out, enum style style, const char *s)
{
    return write_text(out, style, s ? s : "", s ? strlen(s) : 0);
}

static int write_slot(struct buf *out, const struct piece *piece, const struct payload_scope *scope)
{
    enum style style = (enum style)piece->style;
    switch ((enum slot)piece->slot) {
    case SLOT_VALUE:
        return write_value(out, piece, &scope->values[piece->index]);
    case SLOT_DATA:
        return write_field(out, style, scope, piece->index);
    case SLOT_DEVICE_ID:
        return write_id(out, style, scope->device_id);
    case SLOT_GROUP_ID:
        return write_id(out, style, scope->group_id);
    case SLOT_INDEX:
        return buf_append_int(out, (int64_t)scope->index);
    case SLOT_TIMESTAMP:
        return buf_append_int(out, scope->wall_us / 1000);
    case SLOT_TIMESTAMP_ISO:
        return write_iso(out, style, scope->wall_us);
    case SLOT_ATTRIBUTE:
        return write_id(out, style, scope->attribute);
    case SLOT_GATEWAY_ID:
        return write_id(out, style, scope->gateway_id);
    case SLOT_CHILD_INDEX:
        return buf_append_int(out, scope->child_index);
    case SLOT_NONE:
        break;
    }
    return 0;
}

int payload_render(const struct payload *p, const struct payload_scope *scope, struct buf *out)
{
    uint32_t start = out->len;
    for (unsigned i = 0; i < p->n; i++) {
        const struct piece *piece = &p->pieces[i];
        if ((piece->len && buf_append(out, p->literals.data + piece->at, piece->len) < 0) ||
            write_slot(out, piece, scope) < 0) {
            out->len = start;
            return -1;
        }
    }
    return 0;
}
