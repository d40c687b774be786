// A device model, parsed from JSON that the schema has already accepted (see models/schema/device-model.schema.json).
//
// Attributes that share topic and interval go out as one message: a *stream*. A stream is what a device has a timer
// for.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "telemetry/gen.h"
#include "telemetry/payload.h"

enum model_type { MODEL_SENSOR, MODEL_ACTUATOR, MODEL_GATEWAY, MODEL_CUSTOM, MODEL_PROXY };

struct model_attribute {
    const char *name;
    enum value_type type;
    int precision; // digits after the point, -1: 6 at most
    struct gen_spec *gen;
};

struct model_stream {
    int64_t interval_us;
    const char *topic;              // override pattern, or NULL for the model's
    struct payload *topic_template; // compiled topic pattern
    struct payload *payload;
    unsigned n_attributes;
    const struct model_attribute *attributes;
};

struct model_command {
    const char *name;
    const char *topic;              // pattern or NULL
    struct payload *topic_template; // NULL without topic
};

struct model {
    const char *id, *name, *version, *path;
    enum model_type type;
    const char *protocol; // "mqtt"
    // connection: NULL or the defaults of the format
    const char *broker; // host or URL, NULL: the run's
    int port;           // 0: not given
    bool tls;
    const char *client_id_pattern; // default "iotix-${deviceId}"
    const char *topic_pattern;     // default "${groupId}/${deviceId}/telemetry"
    int qos;                       // default 1
    int keep_alive_s;              // default 60
    bool clean_session;            // default true
    const char *username;
    unsigned n_attributes;
    struct model_attribute *attributes; // grouped by stream
    unsigned n_streams;
    struct model_stream *streams;
    unsigned n_commands;
    struct model_command *commands;
    json_t *source; // the whole document, owned
};

// text: the JSON, path: for messages. What the format knows but this build cannot do yet (generator custom with a Lua
// hook, replay, binary attributes, behaviors, passwordRef) is an ERR_UNSUPPORTED that names the JSON pointer: never
// silently left out.
struct model *model_parse(const char *text, size_t n, const char *path, struct error *err);
void model_delete(struct model *model);
