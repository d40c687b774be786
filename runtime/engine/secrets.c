#include "engine/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"

struct secret {
    char *name, *value;
};

struct secrets {
    char *path; // NULL: there is no file
    unsigned n, room;
    struct secret *of;
};

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void secrets_delete(struct secrets *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->n; i++) {
        free(s->of[i].name);
        wipe(s->of[i].value);
    }
    free(s->of);
    free(s->path);
    free(s);
}

static const char *lookup(const struct secrets *s, const char *name)
{
    for (unsigned i = 0; s && i < s->n; i++)
        if (strcmp(s->of[i].name, name) == 0)
            return s->of[i].value;
    return NULL;
}

// line 0: of a JSON file.
static int add(struct secrets *s, const char *name, size_t n, const char *value, size_t value_n, unsigned line,
               struct error *err)
{
    char place[32] = "";
    if (line)
        snprintf(place, sizeof(place), ":%u", line);
    if (n == 0 || n > 255)
        return error_set(err, ERR_INVALID, "%s%s: a secret needs a name of 1 to 255 bytes", s->path, place);
    if (value_n > SECRET_MAX_BYTES)
        return error_set(err, ERR_LIMIT, "%s%s: secret \"%.*s\" has %zu bytes, at most %u are possible", s->path, place,
                         (int)n, name, value_n, SECRET_MAX_BYTES);
    if (memchr(value, 0, value_n))
        return error_set(err, ERR_INVALID, "%s%s: secret \"%.*s\" holds a NUL", s->path, place, (int)n, name);
    if (s->n == SECRETS_MAX)
        return error_set(err, ERR_LIMIT, "%s%s: at most %u secrets are possible", s->path, place, SECRETS_MAX);
    if (s->n == s->room) {
        unsigned room = s->room ? 2 * s->room : 16;
        struct secret *more = realloc(s->of, room * sizeof(*more));
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "%s: no memory for secrets", s->path);
        s->of = more;
        s->room = room;
    }
    struct secret one = {strndup(name, n), strndup(value, value_n)};
    if (!one.name || !one.value || lookup(s, one.name)) {
        bool twice = one.name && one.value;
        free(one.name);
        wipe(one.value);
        return twice ? error_set(err, ERR_INVALID, "%s%s: there are two secrets named \"%.*s\"", s->path, place, (int)n,
                                 name)
                     : error_set(err, ERR_NO_MEMORY, "%s: no memory for secrets", s->path);
    }
    s->of[s->n++] = one;
    return 0;
}

static int parse_lines(struct secrets *s, const char *at, const char *end, struct error *err)
{
    for (unsigned line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > at && stop[-1] == '\r')
            stop--;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        if (at < stop && *at != '#') {
            const char *equals = memchr(at, '=', (size_t)(stop - at));
            if (!equals) // the line is not shown: it may be the secret itself
                return error_set(err, ERR_INVALID, "%s:%u: expected NAME=VALUE", s->path, line);
            const char *name_end = equals;
            while (name_end > at && (name_end[-1] == ' ' || name_end[-1] == '\t'))
                name_end--;
            if (add(s, at, (size_t)(name_end - at), equals + 1, (size_t)(stop - equals - 1), line, err))
                return -1;
        }
        at = next;
    }
    return 0;
}

static int parse_json(struct secrets *s, const char *text, size_t n, struct error *err)
{
    json_error_t why;
    json_t *object = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why), *value;
    const char *name;
    int rc = 0;
    if (!object) // jansson's own text quotes what it found
        return error_set(err, ERR_INVALID, "%s:%d:%d: this is no valid JSON object", s->path, why.line, why.column);
    json_object_foreach(object, name, value)
    {
        if (json_is_string(value))
            rc = add(s, name, strlen(name), json_string_value(value), json_string_length(value), 0, err);
        else
            rc = error_set(err, ERR_INVALID, "%s: secret \"%.100s\": expected a string", s->path, name);
        if (rc)
            break;
    }
    json_decref(object);
    return rc;
}

static int check_mode(const char *path, int fd, bool insecure, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return error_set_errno(err, "secrets: %s", path);
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERR_INVALID, "secrets: %s is a directory", path);
    if (S_ISREG(st.st_mode) && !insecure && st.st_mode & 077)
        return error_set(err, ERR_INVALID,
                         "secrets: others can read or change %s (mode %03o): chmod 600 it, or say --insecure-secrets",
                         path, (unsigned)st.st_mode & 0777u);
    return 0;
}

static int read_all(const char *path, int fd, struct buf *out, struct error *err)
{
    for (;;) {
        uint8_t *to = buf_reserve(out, 4096);
        if (!to || out->len > SECRETS_MAX_BYTES)
            return error_set(err, ERR_LIMIT, "secrets: %s has more than %u bytes", path, SECRETS_MAX_BYTES);
        ssize_t n = read(fd, to, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, "secrets: %s", path);
        if (n == 0)
            return 0;
        out->len += (uint32_t)n;
    }
}

static int parse(struct secrets *s, const struct buf *text, struct error *err)
{
    const char *at = (const char *)text->data, *end = at + text->len, *first = at;
    if (text->len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        first = at += 3;
    while (first < end && isspace((unsigned char)*first))
        first++;
    return first < end && *first == '{' ? parse_json(s, at, (size_t)(end - at), err) : parse_lines(s, at, end, err);
}

static int load(struct secrets *s, bool insecure, struct error *err)
{
    int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set_errno(err, "secrets: %s", s->path);
    struct buf text;
    buf_create(&text, SECRETS_MAX_BYTES + 8192);
    int rc = check_mode(s->path, fd, insecure, err);
    if (rc == 0)
        rc = read_all(s->path, fd, &text, err);
    if (rc == 0 && text.len)
        rc = parse(s, &text, err);
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_destroy(&text);
    close(fd);
    return rc;
}

struct secrets *secrets_load(const char *path, bool insecure, struct error *err)
{
    struct secrets *s = calloc(1, sizeof(*s));
    if (s && path)
        s->path = strdup(path);
    if (!s || (path && !s->path)) {
        free(s);
        error_set(err, ERR_NO_MEMORY, "no memory for secrets");
        return NULL;
    }
    if (!path || load(s, insecure, err) == 0)
        return s;
    secrets_delete(s);
    return NULL;
}

const char *secrets_find(const struct secrets *s, const char *name, struct error *err)
{
    char variable[300] = "IOTIX_SECRET_";
    const char *value = lookup(s, name);
    if (value)
        return value;
    size_t n = strlen(variable);
    for (const char *c = name; *c && n + 1 < sizeof(variable); c++)
        variable[n++] = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
    variable[n] = '\0';
    value = strlen(name) < 256 ? getenv(variable) : NULL;
    if (value && *value)
        return value;
    error_set(err, ERR_NOT_FOUND, "there is no secret \"%.100s\": it is not in %s, and the environment has no %s", name,
              s && s->path ? s->path : "any file (--secrets FILE names one)", variable);
    return NULL;
}
