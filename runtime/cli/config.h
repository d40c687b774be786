// Configuration files: a subset of TOML 1.0 that holds options and nothing else.
//
//     # comment
//     [run]                      # optional; the only table
//     duration = "5m"            # the long name of an option, '_' or '-'
//     devices = 10_000
//     no-color = true
//     only = ["sensors", "gateways"]
//
// What is not of this form is an error with file:line.
#pragma once
#include "cli/option.h"

#define CONFIG_MAX_BYTES 65536

// Sets the options of one file's text in `layer`. path: for messages and origins.
int config_parse(struct options *o, const char *path, const char *text, size_t n, int layer,
                 struct error *err) WARN_UNUSED_RESULT;
// Reads and parses a file; one that does not exist is skipped.
int config_read(struct options *o, const char *path, int layer, struct error *err) WARN_UNUSED_RESULT;
// The standard files, lowest precedence first; files NULL: /etc/iotix/run.toml, $XDG_CONFIG_HOME/iotix/run.toml (or
// ~/.config/iotix/run.toml), ./iotix.toml.
int config_read_all(struct options *o, const char *const *files, unsigned n_files,
                    struct error *err) WARN_UNUSED_RESULT;
