// Device models apart from any run: checking one, putting it together with what it extends, listing those there are.
// For the command line and for the REST API; the script room implements it, because finding and validating models is
// product Lua (lua/iotix/_core/model.lua), run with the same bounds on CPU and memory as a scenario's loading.
#pragma once
#include <jansson.h>
#include "core/error.h"

struct model_tool; // the script room's own; keeps nothing between two calls but the compiled schema

struct model_tool_config {
    const char *const *dirs; // searched after the model's own directory, before the installed models; copied
    unsigned n_dirs;
};

struct model_tool_ops {
    struct model_tool *(*open)(const struct model_tool_config *config, struct error *err);
    // Everything that is wrong with a model: an array of
    //   {"file", "line", "column" (0: unknown), "pointer" (JSON pointer into the model with all that it extends),
    //    "rule" ("json", "extends", "handler", "model", or the schema's keyword), "message", "valid"? [..], "hint"?}
    // in the order of the text; empty when it is good. Then *document (may be NULL) is the model with all that it
    // extends merged in; otherwise NULL. name: a file (it ends in .json or holds a /), else a reference such as
    // valve@1.2; with a text, what stands for the file. text: NULL to read it. NULL: it could not be found or read
    // (ERR_NOT_FOUND, ERR_IO), or checking took more than its CPU or memory (ERR_LIMIT).
    json_t *(*check)(struct model_tool *tool, const char *name, const char *text, size_t n, json_t **document,
                     struct error *err);
    // [{"id", "version", "name", "type", "path", "extends"?, "description"?, "problem"?}] by id and version. A file
    // that is no JSON object has a path and a problem alone; models are not validated.
    json_t *(*list)(struct model_tool *tool, struct error *err);
    void (*close)(struct model_tool *tool); // NULL is fine
};
