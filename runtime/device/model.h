// A device model, parsed from JSON that the schema has already accepted (see models/schema/device-model.schema.json).
//
// Attributes that share topic and interval go out as one message: a *stream*. A stream is what a device has a timer
// for.
#pragma once
#include <jansson.h>
#include "core/error.h"
#include "telemetry/encoder.h"
#include "telemetry/gen.h"
#include "telemetry/payload.h"

struct model_behavior; // rule.h
struct model_children; // gateway.h
struct datasets;

enum { MODEL_MAX_ATTRIBUTES = 256, MODEL_MAX_COMMANDS = 256, MODEL_MAX_BEHAVIORS = 256, MODEL_MAX_HOOKS = 256 };

enum model_type { MODEL_SENSOR, MODEL_ACTUATOR, MODEL_GATEWAY, MODEL_CUSTOM, MODEL_PROXY };

struct model_attribute {
    const char *name;
    enum value_type type;
    int precision;        // digits after the point, -1: 6 at most
    unsigned slot;        // place in the document, of model->names and of a device's latest values
    unsigned first_state; // of its generator in the stream's states
    const char *format;   // binary encoding, NULL: by type
    struct gen_spec *gen;
};

struct model_stream {
    int64_t interval_us;
    const char *topic;              // override pattern, or NULL for the model's
    struct payload *topic_template; // compiled topic pattern
    // How the message is made: one of these.
    struct payload *payload; // a template
    struct encoder *encoder;
    int encode_hook; // number of a Lua hook, -1: none
    unsigned n_attributes;
    const struct model_attribute *attributes;
    unsigned n_states; // of all its generators
};

enum {
    COMMAND_MAX_PARAMETERS = 64,
    COMMAND_MAX_VALUES = COMMAND_MAX_PARAMETERS + MODEL_MAX_ATTRIBUTES + 3, // what an answer may name
};

struct model_parameter {
    const char *name;
    enum value_type type; // NUMBER INTEGER BOOLEAN STRING JSON (an object); NULL: any
    bool required;
    bool has_min, has_max;
    double min, max;
    const json_t *values; // array of what is allowed, or NULL
};

struct model_command {
    const char *name;
    const char *topic;              // pattern or NULL
    struct payload *topic_template; // NULL without topic
    unsigned n_parameters;
    struct model_parameter *parameters;
    int hook;                          // handler, -1: none
    struct payload *response_topic;    // NULL: BASE/response
    struct payload *response;          // template; NULL: the default answer
    const char *const *response_names; // what the two may name: parameters, attributes, "command", "id", "result"
    unsigned n_response_names;
    int64_t timeout_us; // of its handler
};

// Whether a JSON value is of the parameter's type (an integer may be written 3.0), and that type's name.
bool model_parameter_fits(const struct model_parameter *parameter, const json_t *value);
const char *model_parameter_type(const struct model_parameter *parameter);

// Sparkplug B: what takes the place of the model's topics.
struct model_sparkplug {
    struct payload *birth_topic, *death_topic, *command_topic;
    struct encoder_field *fields; // all attributes, by slot
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
    char *child_topic;             // of a gateway's child: what topic_pattern points to, owned
    int qos;                       // default 1
    int keep_alive_s;              // default 60
    bool clean_session;            // default true
    const char *username;
    const char *password_ref;          // name of a secret, resolved by whoever makes the group
    const json_t *encoding;            // as written, NULL: json
    struct model_sparkplug *sparkplug; // NULL: not Sparkplug
    unsigned n_attributes;
    const char **names;                 // of the attributes, by slot
    int *precisions;                    // by slot
    struct model_attribute *attributes; // grouped by stream
    bool keeps_values;                  // devices keep the latest value of every attribute
    bool uses_scratch;                  // some generator makes texts anew
    unsigned n_streams;
    struct model_stream *streams;
    unsigned n_commands;
    struct model_command *commands;
    unsigned n_hooks;
    const char **hooks; // handlers that Lua must provide; their number is what the hook_* functions get
    unsigned n_behaviors;
    struct model_behavior *behaviors;
    bool has_conditions;             // among its behaviors
    struct model_children *children; // gateway; NULL: none
    const json_t *proxy;             // proxy: the object as written
    json_t *source;                  // the whole document, owned
};

// Where what a model refers to is found. All may be NULL or 0.
struct model_env {
    struct datasets *datasets; // of replay; NULL: models with replay are ERR_UNSUPPORTED
    const char *const *dirs;   // for data files, after the model's own directory
    unsigned n_dirs;
};

// text: the JSON, path: for messages, and where relative data files are looked for. What the format knows but this
// build cannot do is an ERR_UNSUPPORTED that names the JSON pointer: never silently left out. env may be NULL.
struct model *model_parse(const char *text, size_t n, const char *path, const struct model_env *env, struct error *err);
// The same for a document that is parsed already (a child of a gateway). The document is borrowed from the caller.
struct model *model_parse_json(json_t *document, const char *path, const struct model_env *env, struct error *err);
void model_delete(struct model *model);
// Place of an attribute by name, -1: there is none.
int model_slot(const struct model *model, const char *name);
