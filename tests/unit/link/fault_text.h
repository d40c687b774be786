// Faults from JSON written with ' in place of ".
#pragma once
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "link/fault_spec.h"

static inline json_t *fault_json(const char *text)
{
    struct error err = {0};
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *v = json_parse(copy, strlen(copy), "test", &err);
    if (!v)
        fail_msg("%s: %s", text, err.text);
    free(copy);
    return v;
}

static inline struct fault_spec *fault_try(const char *text, struct error *err)
{
    json_t *v = fault_json(text);
    struct fault_spec *s = fault_spec_parse(v, err);
    json_decref(v);
    return s;
}

static inline struct fault_spec *fault_of(const char *text)
{
    struct error err = {0};
    struct fault_spec *s = fault_try(text, &err);
    if (!s)
        fail_msg("%s: %s", text, err.text);
    return s;
}
