#include "sink/output.h"

#include <stdio.h>
#include <string.h>

#include "core/units.h"

int output_parse(const char *text, struct output *out, struct error *err)
{
    static const char *const names[] = {"ndjson", "csv", "influx", NULL};
    const char *equals = strchr(text, '=');
    char name[32];
    if (!equals || !equals[1])
        return error_set(err, ERR_INVALID,
                         "\"%.200s\" is not FORMAT=FILE; expected ndjson=FILE, csv=FILE or influx=FILE", text);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - text > 31 ? 31 : equals - text), text);
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (struct output){.format = (enum record_format)i, .path = equals + 1};
            return 0;
        }
    const char *near = suggest(name, names);
    return error_set(err, ERR_INVALID, "unknown format \"%s\"%s%s%s; valid: ndjson, csv, influx", name,
                     near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}
