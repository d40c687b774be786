// What the files that parse a model share. Private to the room.
//
// Errors read "PATH: /json/pointer: what is wrong".
#pragma once
#include "device/model.h"

struct model_parse {
    struct model *model;
    const struct model_env *env;
    const char *payload;     // template of the joint message, NULL: what the encoding makes
    const char *child_topic; // of a gateway's child: takes the place of its topic pattern; else NULL
    char pointer[256];       // where we are
    char dir[1024];          // of the model's file
    struct error *err;
};

// Puts "path: pointer" in front of the error that was set below. The pointer may end in a key.
int model_at(struct model_parse *p, const char *pointer);
int model_bad(struct model_parse *p, enum error_code code, const char *pointer, const char *fmt, ...) PRINTF_LIKE(4, 5);
int model_no_memory(struct model_parse *p);
// A pointer in p->pointer.
const char *model_pointer(struct model_parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
// One of `names` (NULL-terminated); its place, or -1 with an error that lists them.
int model_choose(struct model_parse *p, const char *pointer, const char *value, const char *const *names);
int model_required(struct model_parse *p, const json_t *object, const char *where, const char *key, const char **out);
// A member of the document that must be an array when it is there; *out NULL when it is not.
int model_array(struct model_parse *p, const char *key, size_t max, json_t **out);
// A topic to publish to: its pattern must not contain wildcards. Names: those of values that it may hold.
struct payload *model_topic(struct model_parse *p, const char *pointer, const char *pattern, const char *const *names,
                            const int *precision, unsigned n);
// The number of a handler in model->hooks, added when it is new. arg is the parse; fits gen_env.find_hook.
int model_hook(void *arg, const char *handler, struct error *err);

int model_parse_telemetry(struct model_parse *p); // model_telemetry.c
int model_parse_commands(struct model_parse *p);  // model_commands.c
void model_delete_commands(struct model *m);
int model_parse_behaviors(struct model_parse *p); // model_behaviors.c
void model_delete_behaviors(struct model *m);
int model_parse_children(struct model_parse *p); // model_children.c: children and aggregation of a gateway, proxy
void model_delete_children(struct model *m);
// The model of a gateway's child. where: pointer in the gateway's document; topic: pattern of its messages, copied.
struct model *model_parse_child(struct model_parse *gateway, const char *where, json_t *document, const char *topic);
