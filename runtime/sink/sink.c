#include "sink/sink.h"

#include <stdio.h>
#include <string.h>

#include "core/jsonx.h"
#include "core/units.h"
#include "sink/output.h"
#include "sink/types.h"

static const struct sink_ops *const all[] = {&kafka_sink, &influx_sink,        &ndjson_sink,
                                             &csv_sink,   &line_protocol_sink, NULL};

const char *const *sink_types(void)
{
    static const char *const names[] = {"kafka", "influx", "ndjson", "csv", "line-protocol", NULL};
    return names;
}

const struct sink_ops *sink_find(const char *type)
{
    for (size_t i = 0; all[i]; i++)
        if (strcmp(all[i]->name, type) == 0)
            return all[i];
    return NULL;
}

static const struct sink_ops *find(const char *type, struct error *err)
{
    const struct sink_ops *ops = sink_find(type);
    if (!ops)
        error_unknown(err, "unknown type of sink", type, sink_types());
    return ops;
}

json_t *sink_entry(const char *text, struct error *err)
{
    char type[32];
    const char *equals = strchr(text, '='), *target = equals ? equals + 1 : NULL;
    if (!target || !*target || equals == text) {
        error_set(err, ERR_INVALID,
                  "\"%.100s\" is not TYPE=TARGET; such as influx=http://127.0.0.1:8086/iotix or "
                  "ndjson=FILE",
                  text);
        return NULL;
    }
    snprintf(type, sizeof(type), "%.*s", (int)(equals - text), text);
    if (strcmp(type, "influx") == 0 && !strstr(target, "://"))
        snprintf(type, sizeof(type), "line-protocol");
    if (!find(type, err))
        return NULL;
    json_t *entry = json_pack("{s:s, s:s}", "type", type, "target", target);
    if (!entry)
        error_set(err, ERR_INVALID, "%s: the target is no UTF-8", type);
    return entry;
}

static int check_name(const char *name, struct error *err)
{
    size_t n = strlen(name);
    if (n && n <= 40 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n)
        return 0;
    return error_set(err, ERR_INVALID, "\"%.60s\" is no name of a sink: expected 1 to 40 letters, digits, - and _",
                     name);
}

json_t *sink_parse(const json_t *entry, struct error *err)
{
    const char *type, *name, *target;
    if (json_get_str(entry, "type", NULL, &type, err) || json_get_str(entry, "name", type, &name, err) ||
        json_get_str(entry, "target", NULL, &target, err))
        return NULL;
    const struct sink_ops *ops = type ? find(type, err) : NULL;
    if (!type)
        error_set(err, ERR_INVALID, "a sink without a type");
    if (!ops || check_name(name, err))
        return NULL;
    json_t *options = ops->parse(target, json_object_get(entry, "options"), err);
    json_t *parsed = options ? json_pack("{s:s, s:s, s:o}", "type", type, "name", name, "options", options) : NULL;
    if (options && !parsed)
        error_set(err, ERR_NO_MEMORY, "no memory for a sink");
    return parsed;
}

const char *sink_file_path(const json_t *parsed, enum record_format *format)
{
    return output_of_type(json_string_value(json_object_get(parsed, "type")), format)
               ? json_string_value(json_object_get(json_object_get(parsed, "options"), "path"))
               : NULL;
}
