#include "chaos/profile.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"

#define NAME_MAX_BYTES 64
#define TRIES 100 // of versions that others took at the same moment

// --- one ----------------------------------------------------------------------------------------------------------

int profile_check_name(const char *name, struct error *err)
{
    static const char valid[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = strlen(name);
    if (n >= 1 && n <= NAME_MAX_BYTES && strspn(name, valid) == n && !strchr("-_.", name[0]))
        return 0;
    return error_set(
        err, ERR_INVALID,
        "\"%.80s\" is no name of a profile: 1 to %d lower case letters, digits, - _ and ., the first one a "
        "letter or a digit",
        name, NAME_MAX_BYTES);
}

static int read_members(struct profile *p, struct error *err)
{
    static const char *const keys[] = {"name", "version", "description", "source", "fault", NULL};
    const char *key;
    json_t *value;
    if (!json_is_object(p->json))
        return error_set(err, ERR_INVALID, "expected an object with name and fault");
    json_object_foreach(p->json, key, value)
    {
        if (name_choose("key", key, keys, err) < 0)
            return -1;
    }
    if (json_get_str(p->json, "name", "", &p->name, err) || profile_check_name(p->name, err) ||
        json_get_str(p->json, "description", "", &p->description, err) ||
        json_get_str(p->json, "source", "", &p->source, err) || json_get_int(p->json, "version", 0, &p->version, err))
        return -1;
    if (p->version < 0 || p->version > PROFILE_VERSION_MAX)
        return error_set(err, ERR_INVALID, "version: expected a whole number from 1 to %d", PROFILE_VERSION_MAX);
    if (!json_object_get(p->json, "fault"))
        return error_set(err, ERR_INVALID, "fault: expected an object such as {\"latency\": \"200ms\"}");
    p->fault = fault_spec_parse(json_object_get(p->json, "fault"), err);
    return p->fault ? 0 : -1;
}

int profile_parse(struct profile *p, json_t *json, struct error *err)
{
    *p = (struct profile){.json = json_incref(json)};
    if (read_members(p, err) == 0)
        return 0;
    profile_destroy(p);
    return -1;
}

void profile_destroy(struct profile *p)
{
    fault_spec_release(p->fault);
    json_decref(p->json);
    *p = (struct profile){0};
}

// --- a directory --------------------------------------------------------------------------------------------------

struct stored {
    char name[NAME_MAX_BYTES + 1];
    int64_t version;
};
struct listing {
    struct stored *list; // by name, then version
    size_t n;
};

static bool read_file_name(const char *file, struct stored *out)
{
    const char *at = strrchr(file, '@'), *dot = strrchr(file, '.');
    char version[16];
    if (!at || !dot || dot < at || strcmp(dot, ".json") != 0 || (size_t)(at - file) > NAME_MAX_BYTES ||
        dot - at - 1 >= (ptrdiff_t)sizeof(version) || at[1] == '0')
        return false;
    snprintf(out->name, sizeof(out->name), "%.*s", (int)(at - file), file);
    snprintf(version, sizeof(version), "%.*s", (int)(dot - at - 1), at + 1);
    return profile_check_name(out->name, NULL) == 0 &&
           int_parse(version, 1, PROFILE_VERSION_MAX, &out->version, NULL) == 0;
}

static int by_name(const void *a, const void *b)
{
    const struct stored *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->version > y->version) - (x->version < y->version);
}

static int add_stored(struct listing *l, const struct stored *s, const char *dir, struct error *err)
{
    if (l->n >= PROFILES_MAX)
        return error_set(err, ERR_LIMIT, "%s holds more than %d profiles", dir, PROFILES_MAX);
    if ((l->n & (l->n - 1)) == 0) { // at 0, 1, 2, 4, 8 … the room is used up
        struct stored *more = realloc(l->list, (l->n ? 2 * l->n : 1) * sizeof(*more));
        if (!more)
            return error_set(err, ERR_NO_MEMORY, "no memory for the profiles of %s", dir);
        l->list = more;
    }
    l->list[l->n++] = *s;
    return 0;
}

static int read_directory(const char *dir, struct listing *out, struct error *err)
{
    struct stored s;
    int rc = 0;
    *out = (struct listing){0};
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : error_set_errno(err, "cannot read %s", dir);
    for (const struct dirent *e; rc == 0 && (e = readdir(d));)
        if (read_file_name(e->d_name, &s))
            rc = add_stored(out, &s, dir, err);
    closedir(d);
    if (out->n)
        qsort(out->list, out->n, sizeof(*out->list), by_name);
    if (rc)
        free(out->list);
    return rc;
}

static int path_of(const char *dir, const char *name, int64_t version, char *dst, size_t size, struct error *err)
{
    int n = snprintf(dst, size, "%s/%s@%lld.json", dir, name, (long long)version);
    return n > 0 && (size_t)n < size ? 0 : error_set(err, ERR_LIMIT, "the path %.100s… is too long", dir);
}

static int load_file(const char *dir, const struct stored *s, struct profile *out, struct error *err)
{
    char path[4096];
    struct buf text;
    if (path_of(dir, s->name, s->version, path, sizeof(path), err))
        return -1;
    buf_create(&text, PROFILE_BYTES_MAX);
    int rc = file_read(path, PROFILE_BYTES_MAX, &text, err);
    json_t *json = rc ? NULL : json_parse((const char *)text.data, text.len, path, err);
    buf_destroy(&text);
    if (!json)
        return -1;
    rc = profile_parse(out, json, err);
    json_decref(json);
    if (rc)
        return error_prefix(err, "%s", path);
    if (strcmp(out->name, s->name) == 0 && out->version == s->version)
        return 0;
    error_set(err, ERR_INVALID, "%s: it says that it is %s version %lld", path, out->name, (long long)out->version);
    profile_destroy(out);
    return -1;
}

// Its latest version, from the last of that name on backwards; NULL: none of that name.
static const struct stored *latest(const struct listing *l, const char *name)
{
    const struct stored *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->list[i].name, name) == 0)
            found = &l->list[i];
    return found;
}

static json_t *list_one(const char *dir, const struct stored *s, size_t versions)
{
    struct profile p;
    struct error err;
    json_t *o = json_pack("{s:s, s:I, s:I}", "name", s->name, "version", (json_int_t)s->version, "versions",
                          (json_int_t)versions);
    if (load_file(dir, s, &p, &err)) {
        json_object_set_new(o, "error", json_text_of(err.text));
        return o;
    }
    json_object_set_new(o, "description", json_text_of(p.description));
    json_object_set_new(o, "source", json_text_of(p.source));
    profile_destroy(&p);
    return o;
}

json_t *profile_list(const char *dir, struct error *err)
{
    struct listing l;
    if (read_directory(dir, &l, err))
        return NULL;
    json_t *list = json_array();
    size_t versions = 0;
    for (size_t i = 0; i < l.n; i++) {
        versions++;
        if (i + 1 < l.n && strcmp(l.list[i].name, l.list[i + 1].name) == 0)
            continue;
        json_array_append_new(list, list_one(dir, &l.list[i], versions));
        versions = 0;
    }
    free(l.list);
    if (!list)
        error_set(err, ERR_NO_MEMORY, "no memory for the profiles of %s", dir);
    return list;
}

static int not_found(const char *dir, const struct listing *l, const char *name, struct error *err)
{
    const char **names = calloc(l->n + 1, sizeof(*names));
    size_t n = 0;
    for (size_t i = 0; names && i < l->n; i++)
        if (!n || strcmp(names[n - 1], l->list[i].name) != 0)
            names[n++] = l->list[i].name;
    const char *near = names ? suggest(name, names) : NULL;
    error_set(err, ERR_NOT_FOUND, "there is no profile \"%.64s\" in %s%s%s%s", name, dir,
              near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    free(names);
    return -1;
}

int profile_load(const char *dir, const char *name, int64_t version, struct profile *out, struct error *err)
{
    struct listing l;
    if (profile_check_name(name, err) || read_directory(dir, &l, err))
        return -1;
    const struct stored *s = latest(&l, name);
    int rc;
    if (!s) {
        rc = not_found(dir, &l, name, err);
    } else {
        struct stored wanted = *s;
        wanted.version = version ? version : s->version;
        if (bsearch(&wanted, l.list, l.n, sizeof(wanted), by_name))
            rc = load_file(dir, &wanted, out, err);
        else
            rc = error_set(err, ERR_NOT_FOUND, "profile \"%s\" has no version %lld; the latest is %lld", name,
                           (long long)version, (long long)s->version);
    }
    free(l.list);
    return rc;
}

// --- saving -------------------------------------------------------------------------------------------------------

// The text of a version, checked. *text: to be destroyed by the caller, also on failure.
static int write_text(const json_t *json, int64_t version, struct buf *text, struct profile *p, struct error *err)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)json);
    int rc = copy && json_is_object(copy) ? json_object_set_new(copy, "version", json_integer(version)) : 0;
    if (!copy || rc)
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a profile");
    else
        rc = profile_parse(p, copy, err);
    if (!rc && (json_write(copy, text, err) || buf_append_str(text, "\n")))
        rc = error_set(err, ERR_LIMIT, "the profile takes more than %u bytes", PROFILE_BYTES_MAX);
    json_decref(copy);
    return rc;
}

// link(2) fails where the version exists: 0: it was taken by somebody else meanwhile, 1: written.
static int publish(const char *dir, const char *name, int64_t version, const struct buf *text, struct error *err)
{
    char path[4096], temporary[4200];
    if (path_of(dir, name, version, path, sizeof(path), err))
        return -1;
    snprintf(temporary, sizeof(temporary), "%s.%ld.new", path, (long)getpid());
    if (file_write_atomic(temporary, text->data, text->len, err))
        return -1;
    int rc = link(temporary, path) == 0 ? 1 : errno == EEXIST ? 0 : error_set_errno(err, "cannot write %s", path);
    unlink(temporary);
    return rc;
}

static int save_next(const char *dir, const json_t *json, const char *name, int64_t *version, struct error *err)
{
    struct listing l;
    if (read_directory(dir, &l, err))
        return -1;
    const struct stored *s = latest(&l, name);
    *version = s ? s->version + 1 : 1;
    free(l.list);
    if (*version > PROFILE_VERSION_MAX)
        return error_set(err, ERR_LIMIT, "profile \"%s\" has %d versions: no more are possible", name,
                         PROFILE_VERSION_MAX);
    struct buf text;
    struct profile p = {0};
    buf_create(&text, PROFILE_BYTES_MAX);
    int rc = write_text(json, *version, &text, &p, err) ? -1 : publish(dir, name, *version, &text, err);
    profile_destroy(&p);
    buf_destroy(&text);
    return rc;
}

int profile_save(const char *dir, const json_t *json, int64_t *version, struct error *err)
{
    const char *name;
    if (!json_is_object(json))
        return error_set(err, ERR_INVALID, "expected an object with name and fault");
    if (json_get_str(json, "name", "", &name, err) || profile_check_name(name, err))
        return -1;
    if (mkdir(dir, 0777) && errno != EEXIST)
        return error_set_errno(err, "cannot make %s", dir);
    for (int i = 0; i < TRIES; i++) {
        int rc = save_next(dir, json, name, version, err);
        if (rc)
            return rc > 0 ? 0 : -1;
    }
    return error_set(err, ERR_STATE, "others keep saving \"%s\" in %s at this moment", name, dir);
}
