// Texts of a model with placeholders, written as a text or as JSON. Private to the room.
#pragma once
#include "device/model_parse.h"

struct template_names { // what placeholders may name, beside the built-in ones
    const char *const *names;
    const int *precision; // digits after the point of each
    unsigned n;
};

// A text, or any JSON, in which a text that is one placeholder and nothing else stands for the value itself:
// {"position": "${position}"} becomes {"position": 42}. NULL: the error is complete (path, pointer).
struct payload *model_template(struct model_parse *p, const char *pointer, const json_t *template,
                               const struct template_names *names);
// The name in a text that is one placeholder and nothing else, ${name} or {name} of `names`; its place, or -1.
int template_placeholder(const char *text, const struct template_names *names);
