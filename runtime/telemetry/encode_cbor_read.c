// Reading CBOR that came from outside: heads one by one, and a check of the whole before anybody builds on it.
#include <math.h>
#include <string.h>
#include "telemetry/cbor.h"

static double half_value(uint64_t half)
{
    int exponent = (int)(half >> 10 & 0x1f), mantissa = (int)(half & 0x3ff);
    double v = exponent == 0    ? ldexp(mantissa, -24)
               : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                : ldexp(mantissa + 1024, exponent - 25);
    return half & 0x8000 ? -v : v;
}

static double real_value(uint64_t bits, unsigned size)
{
    float f;
    double d;
    uint32_t single = (uint32_t)bits;
    if (size == 2)
        return half_value(bits);
    memcpy(&f, &single, sizeof(f));
    memcpy(&d, &bits, sizeof(d));
    return size == 4 ? (double)f : d;
}

// Additional information 31: of unknown length, or the break.
static size_t read_indefinite(struct cbor_item *out)
{
    bool may = (out->major >= CBOR_BYTES && out->major <= CBOR_MAP) || out->major == CBOR_SIMPLE;
    out->indefinite = true;
    return may ? 1 : 0;
}

size_t cbor_read(const uint8_t *p, size_t n, struct cbor_item *out)
{
    if (!n)
        return 0;
    unsigned info = p[0] & 31, size = info < 24 ? 0 : 1u << ((info - 24) & 3);
    *out = (struct cbor_item){.major = (enum cbor_major)(p[0] >> 5), .value = info};
    if (info == 31)
        return read_indefinite(out);
    if (info > 27 || n - 1 < size)
        return 0;
    if (size) {
        out->value = 0;
        for (unsigned i = 0; i < size; i++)
            out->value = out->value << 8 | p[1 + i];
    }
    if (out->major == CBOR_SIMPLE && size > 1) {
        out->real = true;
        out->number = real_value(out->value, size);
    } else if (out->major == CBOR_SIMPLE && size == 1 && out->value < 32) {
        return 0; // these have a form of their own (section 3.3)
    }
    if (out->major != CBOR_BYTES && out->major != CBOR_TEXT)
        return 1 + size;
    if (out->value > n - 1 - size)
        return 0;
    out->bytes = p + 1 + size;
    return 1 + size + (size_t)out->value;
}

// What is open around the item that comes next.
struct level {
    enum cbor_major major;
    bool indefinite;
    uint64_t left; // items that are to come; indefinite: how many came
};

struct checker {
    const uint8_t *start, *at;
    struct level levels[CBOR_MAX_DEPTH];
    unsigned depth;
    struct error *err;
};

static int bad(const struct checker *c, const char *what)
{
    return error_set(c->err, ERR_INVALID, "CBOR: %s at byte %zu", what, (size_t)(c->at - c->start));
}

static int check_text(const struct checker *c, const struct cbor_item *item)
{
    for (uint64_t i = 0, n; i < item->value; i += n) {
        n = utf8_length(item->bytes + i, (size_t)(item->value - i));
        if (!n)
            return bad(c, "a text that is not UTF-8");
    }
    return 0;
}

static int open_level(struct checker *c, const struct cbor_item *item)
{
    if (c->depth == CBOR_MAX_DEPTH)
        return error_set(c->err, ERR_LIMIT, "CBOR: nested deeper than %u", CBOR_MAX_DEPTH);
    struct level *l = &c->levels[c->depth++];
    *l = (struct level){.major = item->major, .indefinite = item->indefinite};
    if (!item->indefinite)
        l->left = item->major == CBOR_MAP ? item->value * 2 : item->major == CBOR_TAG ? 1 : item->value;
    return 0;
}

// An item is complete: so are those that it was the last one of.
static void close_levels(struct checker *c)
{
    while (c->depth) {
        struct level *l = &c->levels[c->depth - 1];
        if (l->indefinite) {
            l->left++;
            return;
        }
        if (--l->left)
            return;
        c->depth--;
    }
}

static int check_break(struct checker *c)
{
    struct level *l = c->depth ? &c->levels[c->depth - 1] : NULL;
    if (!l || !l->indefinite)
        return bad(c, "a break where nothing is open");
    if (l->major == CBOR_MAP && l->left % 2)
        return bad(c, "a map with a key and no value");
    c->depth--;
    close_levels(c);
    return 0;
}

static int check_item(struct checker *c, const struct cbor_item *item, size_t left)
{
    const struct level *l = c->depth ? &c->levels[c->depth - 1] : NULL;
    bool container = item->major == CBOR_ARRAY || item->major == CBOR_MAP || item->major == CBOR_TAG;
    if (item->major == CBOR_SIMPLE && item->indefinite)
        return check_break(c);
    if (l && (l->major == CBOR_BYTES || l->major == CBOR_TEXT) && (item->major != l->major || item->indefinite))
        return bad(c, "a string in pieces holds something else");
    if (item->major == CBOR_TEXT && !item->indefinite && check_text(c, item))
        return -1;
    if (item->indefinite)
        return open_level(c, item);
    // Every member takes a byte at least: this also keeps the count of a map from overflowing.
    if ((item->major == CBOR_ARRAY || item->major == CBOR_MAP) && item->value > left)
        return bad(c, "it ends too early, or is no CBOR,");
    if (container && (item->major == CBOR_TAG || item->value))
        return open_level(c, item);
    close_levels(c);
    return 0;
}

int cbor_check(const uint8_t *p, size_t n, size_t max_items, struct error *err)
{
    struct checker c = {.start = p, .at = p, .err = err};
    const uint8_t *end = p + n;
    size_t items = 0;
    do {
        struct cbor_item item;
        size_t k = cbor_read(c.at, (size_t)(end - c.at), &item);
        if (!k)
            return bad(&c, "it ends too early, or is no CBOR,");
        if (++items > max_items)
            return error_set(err, ERR_LIMIT, "CBOR: more than %zu items", max_items);
        if (check_item(&c, &item, (size_t)(end - c.at)))
            return -1;
        c.at += k;
    } while (c.depth);
    return c.at == end ? 0 : bad(&c, "more bytes after the end");
}
