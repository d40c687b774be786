// The commands. Each returns the exit code of the process.
#pragma once
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/terminal.h"

struct session { // what every command gets
    const struct cli_env *env;
    struct args args;
    struct options options; // all layers
    struct terminal terminal;
};

// run, check, inspect; and --help behind a scenario
int command_run(struct session *s);
int command_check(struct session *s);
int command_inspect(struct session *s);
int command_model(struct session *s);
int command_chaos(struct session *s);
int command_collect(struct session *s);
int command_new(struct session *s);
int command_doctor(struct session *s);
int command_version(struct session *s);
int command_completion(struct session *s);
int command_help(struct session *s);

// "iotix-run: text" on stderr, made safe.
void complain(const struct session *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
// All of it on stdout. 0, EXIT_OUTPUT when the disk is full; a reader that has gone is no error.
int print_result(const struct session *s, const void *bytes, size_t n) WARN_UNUSED_RESULT;

// Help texts. plan: its parameters are listed, may be NULL.
int help_render(struct buf *out, enum command command, const json_t *params) WARN_UNUSED_RESULT;
int help_overview(struct buf *out) WARN_UNUSED_RESULT;
int help_markdown(struct buf *out) WARN_UNUSED_RESULT; // docs/reference/cli.md
int completion_render(struct buf *out, const char *shell, struct error *err) WARN_UNUSED_RESULT;

// doctor: one line of the report.
struct finding {
    char name[32];
    char value[160];
    enum { FINDING_OK, FINDING_NOTE, FINDING_WARN } grade;
    char remedy[256]; // a line to paste or a sentence; "" when there is none
};
#define FINDINGS_MAX 24
// root: "" or a directory that stands for / (tests). Returns how many.
unsigned doctor_examine(const char *root, struct finding out[FINDINGS_MAX]);
int doctor_render(struct buf *out, const struct style *style, const struct finding *f, unsigned n) WARN_UNUSED_RESULT;
