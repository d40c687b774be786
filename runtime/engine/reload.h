// --watch: looks at the directories of models and behaviour files. Editors write in many ways (in place, a new file
// that is renamed over the old one, a directory that is swapped by a symbolic link), so what counts is that something
// happened where a file lies; whether a file is another one, whoever reads it finds out.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "core/loop.h"

struct log;
struct reload;
typedef void reload_fn(void *arg);
// plan: its JSON. fn is called when 200 ms have passed since something last happened (at the latest 2 s after it first
// did). NULL: err.
struct reload *reload_watch(struct loop *loop, const json_t *plan, struct log *log, reload_fn *fn, void *arg,
                            struct error *err);
void reload_delete(struct reload *r);
