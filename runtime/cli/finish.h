// What is made of a result at the end: summary.json, annotations of GitHub, the summary, the exit code. Not for other
// rooms.
#pragma once
#include "cli/command.h"

// 0, or EXIT_OUTPUT after saying what could not be written. path: "-" is stdout.
int finish_write_json(const struct session *s, const struct run_result *r, const char *path) WARN_UNUSED_RESULT;
// All that the options ask for. log_file: there is one. stdout_taken: by something else; the summary goes to stderr.
// The exit code of the process.
int finish_result(const struct session *s, const struct run_result *r, bool log_file,
                  bool stdout_taken) WARN_UNUSED_RESULT;
