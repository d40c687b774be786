// iotix-run, the command line: options in, wiring, exit code out. No logic of a run lives here.
#pragma once
#include "engine/model_tool.h"
#include "engine/run.h"

// What the executable gives the command line; tests give something else.
struct cli_env {
    const struct scenario_ops *ops;
    const struct model_tool_ops *models;    // of `model`; NULL: there is no such command
    json_t *(*profiles)(struct error *err); // of bad networks, for `chaos profiles`; NULL: there are none
    const char *lua_version;                // "2.1.0-beta3", for `version`; NULL: unknown
    // The run itself; NULL: run_execute.
    int (*execute)(const struct run_config *config, struct run **running, struct run_result *out, struct error *err);
    // Configuration files, lowest precedence first; NULL: /etc/iotix/run.toml, $XDG_CONFIG_HOME/iotix/run.toml,
    // ./iotix.toml.
    const char *const *config_files;
    unsigned n_config_files;
};

// Exit codes that are the command line's own; the others are enum run_exit.
enum cli_exit {
    EXIT_MACHINE = 1, // the machine could not do it: no memory, fork failed
};

// The whole program but for main(): parses, does what the command says, returns the exit code. Results go to stdout,
// everything else to stderr.
int cli_main(const struct cli_env *env, int argc, char **argv);
