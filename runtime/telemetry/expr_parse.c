// A recursive descent parser that emits code for a stack machine. Nesting is capped while parsing, and the height of
// the stack is known from the code, so that evaluating needs neither recursion, checks nor jumps.
#include "telemetry/expr_code.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/units.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_NAMES_SHOWN 256u // bytes of the list of valid names in an error

static const struct function {
    const char *name;
    enum op op;
    unsigned min, max; // arguments; max 0: as many as there are, folded two by two
} functions[] = {
    {"abs", OP_ABS, 1, 1},   {"min", OP_MIN, 2, 0},     {"max", OP_MAX, 2, 0},   {"floor", OP_FLOOR, 1, 1},
    {"ceil", OP_CEIL, 1, 1}, {"round", OP_ROUND, 1, 1}, {"sqrt", OP_SQRT, 1, 1}, {"exp", OP_EXP, 1, 1},
    {"log", OP_LOG, 1, 1},   {"sin", OP_SIN, 1, 1},     {"cos", OP_COS, 1, 1},   {"clamp", OP_CLAMP, 3, 3},
};

static const char *const words[] = {"or", "and", "not", "true", "false", "null"};

enum token_type { TOKEN_END, TOKEN_NUMBER, TOKEN_TEXT, TOKEN_WORD, TOKEN_SYMBOL };

struct token {
    enum token_type type;
    const char *at; // in the text
    size_t n;
};

struct compiler {
    const char *text;
    struct token token;
    const char *const *names;
    unsigned n_names;
    struct error *err;
    unsigned depth;  // of nesting
    unsigned height; // of the stack behind the code so far
    // As long as the text at most: every one comes from a piece of it.
    struct code *code;
    double *numbers;
    struct text *texts;
    char *pool;
    unsigned n_code, n_numbers, n_texts, n_pool;
};

// "line:column: " of a place, and the error.
static int fail(struct compiler *c, const char *at, enum error_code code, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int fail(struct compiler *c, const char *at, enum error_code code, const char *fmt, ...)
{
    unsigned line = 1, column = 1;
    for (const char *p = c->text; p < at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            column++; // characters, not bytes
        }
    }
    char text[sizeof(c->err->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return error_set(c->err, code, "%u:%u: %s", line, column, text);
}

static bool is_letter(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

static bool is_word(const struct token *t, const char *word)
{
    return t->type == TOKEN_WORD && strlen(word) == t->n && memcmp(t->at, word, t->n) == 0;
}

static bool is_symbol(const struct token *t, const char *symbol)
{
    return t->type == TOKEN_SYMBOL && strlen(symbol) == t->n && memcmp(t->at, symbol, t->n) == 0;
}

static size_t number_length(const char *s)
{
    size_t n = strspn(s, "0123456789");
    if (s[n] == '.')
        n += 1 + strspn(s + n + 1, "0123456789");
    if (s[n] == 'e' || s[n] == 'E') {
        size_t sign = s[n + 1] == '+' || s[n + 1] == '-';
        size_t digits = strspn(s + n + 1 + sign, "0123456789");
        if (digits)
            n += 1 + sign + digits;
    }
    return n;
}

// What people write who think of another language.
static int foreign_symbol(struct compiler *c, const char *at)
{
    static const struct {
        const char *wrong, *right;
    } table[] = {{"===", "=="}, {"!==", "!="}, {"<>", "!="}, {"~=", "!="}, {"=", "=="},
                 {"**", "^"},   {"//", "/"},   {"&", "and"}, {"|", "or"}};
    for (size_t i = 0; i < LENGTH(table); i++)
        if (strncmp(at, table[i].wrong, strlen(table[i].wrong)) == 0)
            return fail(c, at, ERR_INVALID, "\"%s\" is not an operator: write \"%s\"", table[i].wrong, table[i].right);
    size_t n = utf8_length(at, strlen(at));
    if (!n || (unsigned char)*at < 0x20)
        return fail(c, at, ERR_INVALID, "unexpected byte 0x%02x", (unsigned char)*at);
    if (*at == '[' || *at == '.')
        return fail(c, at, ERR_INVALID,
                    "unexpected \"%c\": an expression has no fields or lists, only names of attributes", *at);
    return fail(c, at, ERR_INVALID,
                "unexpected \"%.*s\": expected a number, a text, a name, an operator or a parenthesis", (int)n, at);
}

static int scan_text(struct compiler *c, const char *at)
{
    const char *p = at + 1;
    while (*p && *p != *at)
        p += *p == '\\' && p[1] ? 2 : 1;
    if (!*p)
        return fail(c, at, ERR_INVALID, "the text that begins here has no end: a %c is missing", *at);
    c->token = (struct token){TOKEN_TEXT, at, (size_t)(p + 1 - at)};
    return 0;
}

static int scan_symbol(struct compiler *c, const char *at)
{
    static const char *const symbols[] = {"==", "!=", "<=", ">=", "&&", "||", "<", ">", "!",
                                          "+",  "-",  "*",  "/",  "%",  "^",  "(", ")", ","};
    static const char *const foreign[] = {"===", "!==", "<>", "**", "//"};
    for (size_t i = 0; i < LENGTH(foreign); i++)
        if (strncmp(at, foreign[i], strlen(foreign[i])) == 0)
            return foreign_symbol(c, at);
    for (size_t i = 0; i < LENGTH(symbols); i++) {
        size_t n = strlen(symbols[i]);
        if (strncmp(at, symbols[i], n) == 0) {
            c->token = (struct token){TOKEN_SYMBOL, at, n};
            return 0;
        }
    }
    return foreign_symbol(c, at);
}

// The next token into c->token.
static int advance(struct compiler *c)
{
    const char *at = c->token.at + c->token.n;
    at += strspn(at, " \t\r\n");
    if (!*at) {
        c->token = (struct token){TOKEN_END, at, 0};
        return 0;
    }
    if (is_letter(*at)) {
        size_t n = 1;
        while (is_letter(at[n]) || is_digit(at[n]))
            n++;
        c->token = (struct token){TOKEN_WORD, at, n};
        return 0;
    }
    if (is_digit(*at) || (*at == '.' && is_digit(at[1]))) {
        size_t n = number_length(at);
        if (is_letter(at[n]) || at[n] == '.')
            return fail(c, at + n, ERR_INVALID, "\"%.*s\" is not a number: expected one such as 12, 0.5 or 1e3",
                        (int)(n + 1 < 40 ? n + 1 : 40), at);
        c->token = (struct token){TOKEN_NUMBER, at, n};
        return 0;
    }
    if (*at == '"' || *at == '\'')
        return scan_text(c, at);
    return scan_symbol(c, at);
}

// pops: what the operation takes from the stack; it pushes one.
static int emit(struct compiler *c, enum op op, unsigned arg, unsigned pops, const char *at)
{
    c->height = c->height - pops + 1;
    if (c->height > EXPR_MAX_DEPTH)
        return fail(c, at, ERR_LIMIT, "too complex: more than %u values wait for their operators here", EXPR_MAX_DEPTH);
    c->code[c->n_code++] = (struct code){(uint16_t)op, (uint16_t)arg};
    return 0;
}

static int number(struct compiler *c)
{
    char digits[64];
    struct token t = c->token;
    if (t.n >= sizeof(digits))
        return fail(c, t.at, ERR_LIMIT, "a number of more than %zu characters", sizeof(digits) - 1);
    memcpy(digits, t.at, t.n);
    digits[t.n] = '\0';
    double v = strtod(digits, NULL);
    if (!isfinite(v))
        return fail(c, t.at, ERR_INVALID, "%s is too large", digits);
    c->numbers[c->n_numbers] = v;
    return emit(c, OP_NUMBER, c->n_numbers++, 0, t.at) ? -1 : advance(c);
}

static int text(struct compiler *c)
{
    struct token t = c->token;
    unsigned start = c->n_pool;
    for (const char *p = t.at + 1; p < t.at + t.n - 1; p++) {
        char ch = *p;
        if (ch == '\\') {
            const char *escape = memchr("\\\"'nt", *++p, 5);
            if (!escape)
                return fail(c, p - 1, ERR_INVALID, "\"\\%c\" is not an escape: valid are \\\\ \\\" \\' \\n \\t", *p);
            ch = *p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
        }
        c->pool[c->n_pool++] = ch;
    }
    c->texts[c->n_texts] = (struct text){(uint16_t)start, (uint16_t)(c->n_pool - start)};
    return emit(c, OP_TEXT, c->n_texts++, 0, t.at) ? -1 : advance(c);
}

// "did you mean" for a word that is none, and what is valid: not both lists in full, an error is one line.
static int unknown_word(struct compiler *c, const struct token *t, bool called)
{
    char word[65], known[MAX_NAMES_SHOWN];
    struct buf list;
    snprintf(word, sizeof(word), "%.*s", (int)t->n, t->at);
    const char **candidates = calloc(c->n_names + LENGTH(functions) + LENGTH(words) + 1, sizeof(*candidates));
    if (!candidates)
        return fail(c, t->at, ERR_NO_MEMORY, "no memory");
    size_t n = 0;
    for (unsigned i = 0; i < c->n_names && !called; i++)
        candidates[n++] = c->names[i];
    for (size_t i = 0; i < LENGTH(functions); i++)
        candidates[n++] = functions[i].name;
    for (size_t i = 0; i < LENGTH(words) && !called; i++)
        candidates[n++] = words[i];
    const char *nearest = suggest(word, candidates);
    buf_create(&list, MAX_NAMES_SHOWN);
    size_t shown = called ? LENGTH(functions) : c->n_names;
    bool fits = true;
    for (size_t i = 0; i < shown && fits; i++)
        fits = buf_printf(&list, "%s%s", i ? ", " : "", candidates[i]) == 0;
    snprintf(known, sizeof(known), "%s", list.len ? buf_cstr(&list) : "none");
    buf_destroy(&list);
    free(candidates);
    return fail(c, t->at, ERR_INVALID, "unknown %s \"%s\"%s%s%s; valid here: %s%s", called ? "function" : "name", word,
                nearest ? ", did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "", known,
                fits ? "" : " ...");
}

static int or_level(struct compiler *c);

static int expect(struct compiler *c, const char *symbol, const char *why)
{
    if (is_symbol(&c->token, symbol))
        return advance(c);
    if (c->token.type == TOKEN_END)
        return fail(c, c->token.at, ERR_INVALID, "the expression ends here: expected \"%s\" %s", symbol, why);
    return fail(c, c->token.at, ERR_INVALID, "unexpected \"%.*s\": expected \"%s\" %s",
                (int)(c->token.n < 40 ? c->token.n : 40), c->token.at, symbol, why);
}

// Behind the name and "(".
static int call(struct compiler *c, const struct function *f, const char *at)
{
    unsigned n = 0;
    while (!is_symbol(&c->token, ")")) {
        if (n && expect(c, ",", "or \")\" behind an argument"))
            return -1;
        if (or_level(c))
            return -1;
        n++;
        if (f->max == 0 && n > 1 && emit(c, f->op, 0, 2, at))
            return -1;
        if (f->max && n > f->max)
            break;
    }
    if (n < f->min || (f->max && n > f->max))
        return fail(c, at, ERR_INVALID, "%s takes %s%u argument%s%s", f->name, f->max ? "" : "at least ", f->min,
                    f->min == 1 ? "" : "s", f->op == OP_CLAMP ? ": clamp(x, low, high)" : "");
    if (f->max && emit(c, f->op, 0, f->max, at))
        return -1;
    return advance(c);
}

static int word(struct compiler *c)
{
    struct token t = c->token;
    if (is_word(&t, "true") || is_word(&t, "false") || is_word(&t, "null")) {
        enum op op = *t.at == 't' ? OP_TRUE : *t.at == 'f' ? OP_FALSE : OP_NULL;
        return emit(c, op, 0, 0, t.at) ? -1 : advance(c);
    }
    if (is_word(&t, "and") || is_word(&t, "or"))
        return fail(c, t.at, ERR_INVALID, "unexpected \"%.*s\": expected a value before it", (int)t.n, t.at);
    if (advance(c))
        return -1;
    if (is_symbol(&c->token, "(")) {
        for (size_t i = 0; i < LENGTH(functions); i++)
            if (is_word(&t, functions[i].name))
                return advance(c) ? -1 : call(c, &functions[i], t.at);
        return unknown_word(c, &t, true);
    }
    for (unsigned i = 0; i < c->n_names; i++)
        if (is_word(&t, c->names[i]))
            return emit(c, OP_NAME, i, 0, t.at);
    for (size_t i = 0; i < LENGTH(functions); i++)
        if (is_word(&t, functions[i].name))
            return fail(c, t.at, ERR_INVALID, "%s is a function: expected \"(\" behind it", functions[i].name);
    return unknown_word(c, &t, false);
}

static int primary(struct compiler *c)
{
    switch (c->token.type) {
    case TOKEN_NUMBER:
        return number(c);
    case TOKEN_TEXT:
        return text(c);
    case TOKEN_WORD:
        return word(c);
    case TOKEN_END:
        return fail(c, c->token.at, ERR_INVALID, "the expression ends here: expected a number, a text or a name");
    case TOKEN_SYMBOL:
        break;
    }
    if (!is_symbol(&c->token, "("))
        return fail(c, c->token.at, ERR_INVALID, "unexpected \"%.*s\": expected a number, a text or a name",
                    (int)c->token.n, c->token.at);
    return advance(c) || or_level(c) || expect(c, ")", "to close the parenthesis") ? -1 : 0;
}

// Every recursion of the parser passes here.
static int deeper(struct compiler *c)
{
    if (++c->depth > EXPR_MAX_DEPTH)
        return fail(c, c->token.at, ERR_LIMIT, "nested more than %u deep", EXPR_MAX_DEPTH);
    return 0;
}

static int unary(struct compiler *c)
{
    const char *at = c->token.at;
    bool minus = is_symbol(&c->token, "-");
    if (minus || is_symbol(&c->token, "+")) {
        if (deeper(c) || advance(c) || unary(c) || (minus && emit(c, OP_NEGATE, 0, 1, at)))
            return -1;
        c->depth--;
        return 0;
    }
    if (primary(c))
        return -1;
    at = c->token.at;
    if (!is_symbol(&c->token, "^"))
        return 0;
    if (deeper(c) || advance(c) || unary(c) || emit(c, OP_POW, 0, 2, at)) // to the right: 2^3^2 is 2^9
        return -1;
    c->depth--;
    return 0;
}

struct level {
    struct {
        const char *symbol;
        enum op op;
    } ops[3];
};

static const struct level product = {{{"*", OP_MUL}, {"/", OP_DIV}, {"%", OP_MOD}}};
static const struct level sum = {{{"+", OP_ADD}, {"-", OP_SUB}, {NULL, 0}}};

static int operator_of(const struct compiler *c, const struct level *level)
{
    for (size_t i = 0; i < LENGTH(level->ops) && level->ops[i].symbol; i++)
        if (is_symbol(&c->token, level->ops[i].symbol))
            return (int)level->ops[i].op;
    return -1;
}

static int product_level(struct compiler *c)
{
    if (unary(c))
        return -1;
    for (int op; (op = operator_of(c, &product)) >= 0;) {
        const char *at = c->token.at;
        if (advance(c) || unary(c) || emit(c, (enum op)op, 0, 2, at))
            return -1;
    }
    return 0;
}

static int sum_level(struct compiler *c)
{
    if (product_level(c))
        return -1;
    for (int op; (op = operator_of(c, &sum)) >= 0;) {
        const char *at = c->token.at;
        if (advance(c) || product_level(c) || emit(c, (enum op)op, 0, 2, at))
            return -1;
    }
    return 0;
}

static int comparison_of(const struct compiler *c)
{
    static const char *const symbols[] = {"==", "!=", "<", "<=", ">", ">="}; // in the order of the enum
    for (size_t i = 0; i < LENGTH(symbols); i++)
        if (is_symbol(&c->token, symbols[i]))
            return OP_EQ + (int)i;
    return -1;
}

static int compare_level(struct compiler *c)
{
    if (sum_level(c))
        return -1;
    int op = comparison_of(c);
    if (op < 0)
        return 0;
    const char *at = c->token.at;
    if (advance(c) || sum_level(c) || emit(c, (enum op)op, 0, 2, at))
        return -1;
    if (comparison_of(c) >= 0)
        return fail(c, c->token.at, ERR_INVALID, "comparisons do not chain: write \"a < b and b < c\"");
    return 0;
}

static int not_level(struct compiler *c)
{
    const char *at = c->token.at;
    if (!is_word(&c->token, "not") && !is_symbol(&c->token, "!"))
        return compare_level(c);
    if (deeper(c) || advance(c) || not_level(c) || emit(c, OP_NOT, 0, 1, at))
        return -1;
    c->depth--;
    return 0;
}

static int and_level(struct compiler *c)
{
    if (not_level(c))
        return -1;
    while (is_word(&c->token, "and") || is_symbol(&c->token, "&&")) {
        const char *at = c->token.at;
        if (advance(c) || not_level(c) || emit(c, OP_AND, 0, 2, at))
            return -1;
    }
    return 0;
}

static int or_level(struct compiler *c)
{
    if (deeper(c) || and_level(c))
        return -1;
    while (is_word(&c->token, "or") || is_symbol(&c->token, "||")) {
        const char *at = c->token.at;
        if (advance(c) || and_level(c) || emit(c, OP_OR, 0, 2, at))
            return -1;
    }
    c->depth--;
    return 0;
}

static int compile(struct compiler *c)
{
    c->token = (struct token){TOKEN_END, c->text, 0};
    if (advance(c))
        return -1;
    if (c->token.type == TOKEN_END)
        return fail(c, c->text, ERR_INVALID, "empty: expected an expression such as \"temperature > 30\"");
    if (or_level(c))
        return -1;
    if (is_symbol(&c->token, ")"))
        return fail(c, c->token.at, ERR_INVALID, "this \")\" closes nothing");
    if (c->token.type == TOKEN_WORD) { // "x AND y"
        char found[65];
        snprintf(found, sizeof(found), "%.*s", (int)c->token.n, c->token.at);
        const char *nearest = suggest(found, (const char *const[]){"and", "or", NULL});
        return fail(c, c->token.at, ERR_INVALID, "unexpected \"%s\": expected an operator%s%s%s", found,
                    nearest ? ", did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    }
    if (c->token.type != TOKEN_END)
        return fail(c, c->token.at, ERR_INVALID, "unexpected \"%.*s\": expected an operator or the end",
                    (int)(c->token.n < 40 ? c->token.n : 40), c->token.at);
    return 0;
}

// Copies behind *at, which grows, and tells where the copy lies.
static void *pack(char **at, const void *from, size_t bytes)
{
    void *to = *at;
    if (bytes)
        memcpy(to, from, bytes);
    *at += bytes;
    return to;
}

static struct expr *finish(const struct compiler *c)
{
    size_t numbers = c->n_numbers * sizeof(double), texts = c->n_texts * sizeof(struct text),
           code = c->n_code * sizeof(struct code);
    struct expr *e = malloc(sizeof(*e) + numbers + texts + code + c->n_pool);
    if (!e) {
        error_set(c->err, ERR_NO_MEMORY, "no memory for an expression");
        return NULL;
    }
    char *at = (char *)(e + 1);
    e->numbers = pack(&at, c->numbers, numbers);
    e->texts = pack(&at, c->texts, texts);
    e->code = pack(&at, c->code, code);
    e->pool = pack(&at, c->pool, c->n_pool);
    e->n_code = c->n_code;
    return e;
}

struct expr *expr_compile(const char *source, const char *const *names, unsigned n_names, struct error *err)
{
    size_t n = strlen(source);
    struct compiler c = {.text = source, .names = names, .n_names = n_names, .err = err};
    if (n > EXPR_MAX_TEXT || n_names > UINT16_MAX) {
        error_set(err, ERR_LIMIT,
                  n > EXPR_MAX_TEXT ? "an expression may have at most %u characters"
                                    : "an expression may choose from at most %u names",
                  n > EXPR_MAX_TEXT ? EXPR_MAX_TEXT : (unsigned)UINT16_MAX);
        return NULL;
    }
    c.numbers = malloc((n + 1) * (sizeof(*c.numbers) + sizeof(*c.code) + sizeof(*c.texts) + 1));
    if (!c.numbers) {
        error_set(err, ERR_NO_MEMORY, "no memory for an expression");
        return NULL;
    }
    c.code = (struct code *)(c.numbers + n + 1);
    c.texts = (struct text *)(c.code + n + 1);
    c.pool = (char *)(c.texts + n + 1);
    struct expr *e = compile(&c) ? NULL : finish(&c);
    free(c.numbers);
    return e;
}
