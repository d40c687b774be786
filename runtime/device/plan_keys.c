#include "device/plan_keys.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"

static bool among(const char *word, const char *const *names)
{
    for (; *names; names++) {
        if (!strcmp(word, *names))
            return true;
    }
    return false;
}

static void append(char *dst, size_t size, const char *text)
{
    size_t used = strlen(dst);
    snprintf(dst + used, size - used, "%s", text);
}

int plan_keys(const char *what, const json_t *spec, const char *const *keys, unsigned n_own, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec, key, value)
    {
        if (among(key, keys))
            continue;
        char list[320] = "";
        for (unsigned i = 0; keys[i]; i++) {
            append(list, sizeof(list), i == 0 ? "" : i == n_own ? " (or " : ", ");
            append(list, sizeof(list), keys[i]);
        }
        const char *near = suggest(key, keys);
        return error_set(err, ERR_INVALID, "%s: unknown key \"%s\"%s%s%s; valid: %s%s", what, key,
                         near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", list,
                         keys[n_own] ? ")" : "");
    }
    return 0;
}

// Which of the two names is used; NULL: both.
static const char *used_key(const char *what, const json_t *spec, const char *key, const char *published,
                            struct error *err)
{
    if (strcmp(key, published) != 0 && json_object_get(spec, key) && json_object_get(spec, published)) {
        error_set(err, ERR_INVALID, "%s: \"%s\" and \"%s\" say the same: give one of them", what, key, published);
        return NULL;
    }
    return json_object_get(spec, published) ? published : key;
}

int plan_number(const char *what, const json_t *spec, const char *key, const char *published, double dflt, double *out,
                struct error *err)
{
    const char *used = used_key(what, spec, key, published, err);
    if (!used)
        return -1;
    return json_get_num(spec, used, dflt, out, err) ? error_prefix(err, "%s", what) : 0;
}

int plan_duration(const char *what, const json_t *spec, const char *key, const char *published, int64_t dflt_us,
                  int64_t *out_us, struct error *err)
{
    double v;
    if (!json_object_get(spec, key) && !json_object_get(spec, published)) {
        *out_us = dflt_us;
        return 0;
    }
    if (plan_number(what, spec, key, published, 0, &v, err))
        return -1;
    bool ms = json_object_get(spec, published) != NULL;
    if (ms)
        v *= 1000;
    if (!(v >= 0 && v <= (double)PLAN_MAX_US))
        return error_set(err, ERR_INVALID, "%s: %s must be a duration of 0 or more", what, ms ? published : key);
    *out_us = (int64_t)llround(v);
    return 0;
}

int plan_choice(const char *what, const json_t *spec, const char *key, const char *dflt, const char *const *names,
                struct error *err)
{
    const char *name;
    char list[160] = "";
    if (json_get_str(spec, key, dflt, &name, err))
        return error_prefix(err, "%s", what);
    for (int i = 0; names[i]; i++) {
        if (!strcmp(name, names[i]))
            return i;
        append(list, sizeof(list), i ? ", " : "");
        append(list, sizeof(list), names[i]);
    }
    const char *near = suggest(name, names);
    return error_set(err, ERR_INVALID, "%s: unknown %s \"%s\"%s%s%s; valid: %s", what, key, name,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", list);
}
