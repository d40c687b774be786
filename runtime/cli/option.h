// The one table of options. Parsing, --help, the Markdown page, shell completion, environment variables and
// configuration files are all read from it, so that none of them can disagree.
//
// A value has a layer: built-in < files < the scenario's `options` < IOTIX_* < flags. A higher layer replaces a lower
// one; lists that merge (-p, -e) are added to it.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/error.h"

enum command {
    CMD_RUN,
    CMD_CHECK,
    CMD_INSPECT,
    CMD_MODEL,
    CMD_CHAOS,
    CMD_COLLECT,
    CMD_NEW,
    CMD_DOCTOR,
    CMD_VERSION,
    CMD_COMPLETION,
    CMD_HELP,
    CMD_MAX
};

struct command_spec {
    const char *name;
    const char *synopsis;        // behind "iotix-run "
    const char *help;            // one line
    unsigned max_words;          // positional arguments
    const char *const *examples; // pairs: command line, what it does; NULL ends
};
extern const struct command_spec command_specs[CMD_MAX];
// -1 when there is none.
int command_find(const char *name);

enum option_id {
    OPT_DEVICES,
    OPT_SCALE,
    OPT_ONLY,
    OPT_DURATION,
    OPT_SHARDS,
    OPT_PARTITION,
    OPT_RUN_ID,
    OPT_SEED,
    OPT_STOP_TIMEOUT,
    OPT_STAGE,
    OPT_RAMP,
    OPT_WARMUP,
    OPT_IO,     // load
    OPT_BROKER, // target
    OPT_VIRTUAL,
    OPT_FROM,
    OPT_FOR,
    OPT_SINK, // virtual time, and where messages go
    OPT_PARAM,
    OPT_ENV,
    OPT_MODEL_DIR,
    OPT_PLUGIN,
    OPT_SECRETS,
    OPT_INSECURE_SECRETS,
    OPT_JIT, // script
    OPT_WATCH,
    OPT_THRESHOLD,
    OPT_NO_THRESHOLDS,
    OPT_BASELINE,
    OPT_MAX_REGRESSION,
    OPT_ABORT_ON_FAIL,
    OPT_FAIL_ON_NO_DATA,
    OPT_EXIT_ZERO, // verdict
    OPT_SUMMARY,
    OPT_SUMMARY_JSON,
    OPT_FORMAT,
    OPT_ORIGINS,
    OPT_JSON, // output
    OPT_PROGRESS,
    OPT_PROGRESS_INTERVAL,
    OPT_LOG_FORMAT,
    OPT_LOG_LEVEL,
    OPT_LOG_FILE,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_NO_COLOR, // display
    OPT_CHECK,
    OPT_TEMPLATE,
    OPT_FORCE,
    OPT_NAMESPACE,
    OPT_SELECTOR,
    OPT_TARGET,
    OPT_MODE,
    OPT_VALUE,
    OPT_KAFKA,
    OPT_EXPECT,
    OPT_TIMEOUT,
    OPT_SINCE,
    OPT_HELP,
    OPT_VERSION,
    OPT_MARKDOWN, // command
    OPT_MAX
};

enum option_type {
    TYPE_BOOL,
    TYPE_COUNT,
    TYPE_INT,
    TYPE_SEED,
    TYPE_FACTOR,
    TYPE_PERCENT,
    TYPE_DURATION,
    TYPE_TEXT,
    TYPE_CHOICE,
    TYPE_KEY_VALUE,
    TYPE_PARTITION,
    TYPE_URL,
    TYPE_THRESHOLD
};

enum option_group {
    GROUP_LOAD,
    GROUP_TARGET,
    GROUP_VIRTUAL,
    GROUP_SCRIPT,
    GROUP_VERDICT,
    GROUP_OUTPUT,
    GROUP_DISPLAY,
    GROUP_COMMAND,
    GROUP_MAX
};
extern const char *const option_group_names[GROUP_MAX];

enum {
    OPTION_REPEAT = 1,    // a list
    OPTION_MERGE = 2,     // a list to which every layer adds
    OPTION_ONLY_FLAG = 4, // neither in the environment nor in files
    OPTION_SCENARIO = 8,  // a scenario's `options` table may preset it
    OPTION_HIDDEN = 16
};

struct option_spec {
    const char *name; // long name without dashes
    char letter;      // 0: none
    enum option_type type;
    const char *metavar; // NULL for TYPE_BOOL
    const char *choices; // "a|b|c" for TYPE_CHOICE
    enum option_group group;
    unsigned commands; // bits 1 << enum command
    unsigned flags;
    const char *dflt; // shown in help, NULL: none
    const char *help;
};
extern const struct option_spec option_specs[OPT_MAX];
// By long name; -1 when there is none. '_' counts as '-'.
int option_find(const char *name, size_t n);
// "IOTIX_STOP_TIMEOUT"
char *option_env_name(const struct option_spec *spec, char *dst, size_t size);

enum option_layer { LAYER_DEFAULT = 0, LAYER_FILE = 1, LAYER_SCENARIO = 100, LAYER_ENV = 101, LAYER_FLAG = 102 };

struct option_value {
    int layer;      // LAYER_DEFAULT: not set; LAYER_FILE + i for the i-th configuration file
    char from[128]; // "flag -b", "IOTIX_BROKER", "./iotix.toml:3"
    char **items;   // texts; one unless the option repeats
    unsigned n;
    bool yes;             // TYPE_BOOL
    uint64_t count;       // TYPE_COUNT, TYPE_INT, TYPE_SEED; TYPE_CHOICE: place among the choices
    double factor;        // TYPE_FACTOR; TYPE_PERCENT: of 100
    int64_t us;           // TYPE_DURATION
    uint32_t part, parts; // TYPE_PARTITION
};
struct options {
    struct option_value of[OPT_MAX];
};
#define OPTION_ITEMS_MAX 1000 // values of one list

void options_create(struct options *o);
void options_destroy(struct options *o);
// Checks the text against the type and keeps it unless a higher layer has set the option. Errors begin with `as`, the
// way the user wrote it: "--duration", "IOTIX_DURATION", "./iotix.toml:3: duration".
int options_set(struct options *o, enum option_id id, const char *text, int layer, const char *from, const char *as,
                struct error *err) WARN_UNUSED_RESULT;
void options_unset(struct options *o, enum option_id id);
// Every IOTIX_<FLAG>. Lists are separated by ';'. An empty variable counts as not set. A name that looks like a typing
// error is told to `warn`, others are left alone (IOTIX_* may mean something to others).
int options_from_environment(struct options *o, const char *const *environ_, void (*warn)(void *arg, const char *text),
                             void *arg, struct error *err) WARN_UNUSED_RESULT;
// "METRIC: EXPR" at the first colon outside of a selector's braces; -1 without one.
int threshold_split(const char *text, char *metric, size_t size, const char **expr) WARN_UNUSED_RESULT;
// Pairs that cannot both take effect: from the same layer an error, otherwise the lower one goes.
int options_settle(struct options *o, struct error *err) WARN_UNUSED_RESULT;

static inline bool option_given(const struct options *o, enum option_id id)
{
    return o->of[id].layer != LAYER_DEFAULT;
}
static inline bool option_yes(const struct options *o, enum option_id id)
{
    return option_given(o, id) && o->of[id].yes;
}
static inline const char *option_text(const struct options *o, enum option_id id)
{
    return o->of[id].n ? o->of[id].items[o->of[id].n - 1] : NULL;
}
