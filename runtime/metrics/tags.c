#include "metrics/tags.h"

#include <string.h>

#include "core/buf.h"

struct part {
    const char *at;
    size_t n;
};

struct tag {
    struct part key, value;
};

int metric_name_check(const char *name, size_t n, struct error *err)
{
    bool ok = n > 0 && n <= METRIC_NAME_MAX && name[0] >= 'a' && name[0] <= 'z';
    for (size_t i = 0; ok && i < n; i++)
        ok = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_';
    if (ok)
        return 0;
    return error_set(err, ERR_INVALID,
                     "\"%.*s\" is not a metric name: expected a-z, then a-z, 0-9 and _, at most %d characters",
                     (int)(n > 80 ? 80 : n), name, METRIC_NAME_MAX);
}

static struct part trimmed(const char *at, const char *end)
{
    while (at < end && *at == ' ')
        at++;
    while (end > at && end[-1] == ' ')
        end--;
    return (struct part){at, (size_t)(end - at)};
}

static bool part_ok(struct part p)
{
    for (size_t i = 0; i < p.n;) {
        size_t len = utf8_length(p.at + i, p.n - i);
        unsigned char c = (unsigned char)p.at[i];
        if (len == 0 || c < 0x20 || c == 0x7f || strchr(",:{}=", c))
            return false;
        i += len;
    }
    return p.n > 0;
}

static int compare(struct part a, struct part b)
{
    int d = memcmp(a.at, b.at, a.n < b.n ? a.n : b.n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int parse_tag(const char *at, const char *end, struct tag *out, struct error *err)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));
    if (colon) {
        out->key = trimmed(at, colon);
        out->value = trimmed(colon + 1, end);
        if (part_ok(out->key) && part_ok(out->value))
            return 0;
    }
    return error_set(err, ERR_INVALID,
                     "\"%.*s\" is not a tag: expected key:value without , : { } = or control characters",
                     (int)(end - at > 80 ? 80 : end - at), at);
}

// Inserts in order of keys.
static int insert(struct tag *tags, unsigned *count, struct tag tag, struct error *err)
{
    unsigned i = *count;
    for (; i > 0; i--) {
        int d = compare(tags[i - 1].key, tag.key);
        if (d == 0)
            return error_set(err, ERR_INVALID, "the tag \"%.*s\" is given twice",
                             (int)(tag.key.n > 80 ? 80 : tag.key.n), tag.key.at);
        if (d < 0)
            break;
        tags[i] = tags[i - 1];
    }
    tags[i] = tag;
    ++*count;
    return 0;
}

int tags_canonical(const char *text, size_t n, char *dst, size_t size, struct error *err)
{
    struct tag tags[METRIC_TAG_COUNT_MAX];
    unsigned count = 0;
    struct part all = trimmed(text, text + n);
    const char *at = all.at, *end = all.at + all.n;
    while (all.n && at <= end) {
        const char *comma = at < end ? memchr(at, ',', (size_t)(end - at)) : NULL;
        const char *stop = comma ? comma : end;
        struct tag tag;
        if (parse_tag(at, stop, &tag, err))
            return -1;
        if (count == METRIC_TAG_COUNT_MAX)
            return error_set(err, ERR_LIMIT, "more than %d tags", METRIC_TAG_COUNT_MAX);
        if (insert(tags, &count, tag, err))
            return -1;
        at = stop + 1;
    }
    struct buf out = {.data = (unsigned char *)dst, .size = (uint32_t)size, .cap = (uint32_t)size};
    int rc = 0;
    for (unsigned i = 0; i < count && !rc; i++)
        rc = (i && buf_append_char(&out, ',')) || buf_append(&out, tags[i].key.at, tags[i].key.n) ||
             buf_append_char(&out, ':') || buf_append(&out, tags[i].value.at, tags[i].value.n);
    if (rc || buf_append_char(&out, '\0'))
        return error_set(err, ERR_LIMIT, "more than %zu bytes of tags", size - 1);
    return 0;
}

const char *tags_next(const char *tags, const char **key, size_t *key_len, const char **value, size_t *value_len)
{
    const char *colon = strchr(tags, ':');
    if (!colon)
        return NULL;
    const char *end = strchrnul(colon, ',');
    *key = tags;
    *key_len = (size_t)(colon - tags);
    *value = colon + 1;
    *value_len = (size_t)(end - colon - 1);
    return *end ? end + 1 : end;
}

bool tags_include(const char *tags, const char *wanted)
{
    const char *key, *value;
    size_t key_len, value_len;
    // Both are sorted, so one walk over `tags` serves all of `wanted`.
    while ((wanted = tags_next(wanted, &key, &key_len, &value, &value_len))) {
        size_t pair = key_len + 1 + value_len; // "key:value" lies in one piece
        for (;; tags++) {
            if (strncmp(tags, key, pair) == 0 && (tags[pair] == ',' || tags[pair] == '\0'))
                break;
            tags = strchrnul(tags, ',');
            if (!*tags)
                return false;
        }
    }
    return true;
}
