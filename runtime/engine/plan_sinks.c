#include "engine/plan_sinks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "engine/plan.h"
#include "sink/sink.h"

static const struct plan_sink *find(const struct plan *p, const char *name)
{
    for (unsigned i = 0; i < p->n_sinks; i++)
        if (strcmp(p->sinks[i].name, name) == 0)
            return &p->sinks[i];
    return NULL;
}

// Of one that has no name of its own: "ndjson", "ndjson-2", …
static int name_it(const struct plan *p, json_t *entry)
{
    char name[64];
    const char *type = json_string_value(json_object_get(entry, "type"));
    if (!type || json_is_string(json_object_get(entry, "name")))
        return 0;
    snprintf(name, sizeof(name), "%.40s", type);
    for (unsigned i = 2; find(p, name); i++)
        snprintf(name, sizeof(name), "%.30s-%u", type, i);
    return json_object_set_new(entry, "name", json_string(name));
}

// Two that write the same file would each overwrite the other's lines.
static int check_path(const struct plan *p, const struct plan_sink *s, struct error *err)
{
    enum record_format format;
    const char *path = sink_file_path(s->parsed, &format);
    for (unsigned i = 0; path && i < p->n_sinks; i++) {
        const char *other = sink_file_path(p->sinks[i].parsed, &format);
        if (other && strcmp(other, path) == 0)
            return error_set(err, ERR_INVALID, "two sinks write %.200s", strcmp(path, "-") == 0 ? "stdout" : path);
    }
    return 0;
}

static int add(struct plan *p, json_t *entry, struct error *err)
{
    struct plan_sink *s = &p->sinks[p->n_sinks];
    if (!json_is_object(entry))
        return error_set(err, ERR_INVALID, "expected an object");
    if (name_it(p, entry))
        return error_set(err, ERR_NO_MEMORY, "no memory for a sink");
    s->parsed = sink_parse(entry, err);
    if (!s->parsed)
        return -1;
    s->name = json_string_value(json_object_get(s->parsed, "name"));
    s->type = json_string_value(json_object_get(s->parsed, "type"));
    s->ops = sink_find(s->type);
    if (!find(p, s->name) && check_path(p, s, err) == 0)
        return 0;
    if (find(p, s->name))
        error_set(err, ERR_INVALID, "two sinks are named \"%s\"", s->name);
    json_decref(s->parsed);
    return -1;
}

int plan_parse_sinks(struct plan *p, struct error *err)
{
    json_t *list = json_object_get(p->json, "sinks"), *entry;
    size_t i, n = json_array_size(list);
    if (n > SINKS_MAX)
        return error_set(err, ERR_LIMIT, "%s: %zu sinks, at most %d are possible", p->file, n, SINKS_MAX);
    p->sinks = calloc(n ? n : 1, sizeof(*p->sinks));
    if (!p->sinks)
        return error_set(err, ERR_NO_MEMORY, "no memory for %zu sinks", n);
    json_array_foreach(list, i, entry)
    {
        json_int_t line = json_integer_value(json_object_get(entry, "line"));
        bool flag = json_is_string(json_object_get(entry, "target"));
        if (add(p, entry, err) == 0) {
            p->n_sinks++;
            continue;
        }
        return flag       ? error_prefix(err, "--sink")
               : line > 0 ? error_prefix(err, "%s:%lld", p->file, (long long)line)
                          : error_prefix(err, "%s", p->file);
    }
    return 0;
}

void plan_release_sinks(struct plan *p)
{
    for (unsigned i = 0; i < p->n_sinks; i++)
        json_decref(p->sinks[i].parsed);
    free(p->sinks);
}

int plan_add_sinks(json_t *plan, const char *const *texts, unsigned n, struct error *err)
{
    json_t *list = json_object_get(plan, "sinks");
    if (!n)
        return 0;
    if (!json_is_array(list)) {
        list = json_array();
        if (json_object_set_new(plan, "sinks", list))
            return error_set(err, ERR_NO_MEMORY, "no memory for a sink");
    }
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < i; k++)
            if (strcmp(strchr(texts[k], '=') + 1,
                       texts[i] + strcspn(texts[i], "=") + (strchr(texts[i], '=') != NULL)) == 0)
                return error_set(err, ERR_INVALID, "--sink: two sinks write %.200s", strchr(texts[k], '=') + 1);
        json_t *entry = sink_entry(texts[i], err);
        if (!entry)
            return error_prefix(err, "--sink");
        json_t *parsed = sink_parse(entry, err); // what is wrong with it is the command line's fault
        json_decref(parsed);
        if (!parsed) {
            json_decref(entry);
            return error_prefix(err, "--sink");
        }
        if (json_array_append_new(list, entry))
            return error_set(err, ERR_NO_MEMORY, "no memory for a sink");
    }
    return 0;
}
