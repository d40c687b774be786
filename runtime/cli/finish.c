#include "cli/finish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/launch.h"
#include "cli/view.h"
#include "core/file.h"

#define SUMMARY_MAX (4u << 20)

static int exit_code_of(const struct session *s, int verdict)
{
    static const int forgiven[] = {EXIT_THRESHOLDS, EXIT_ABORTED, EXIT_MARKED_FAILED, EXIT_UNREACHABLE,
                                   EXIT_OVERLOADED};
    for (size_t i = 0; option_yes(&s->options, OPT_EXIT_ZERO) && i < sizeof(forgiven) / sizeof(forgiven[0]); i++)
        if (verdict == forgiven[i])
            return 0;
    return verdict;
}

// Returns 0, or EXIT_OUTPUT after saying what could not be written.
int finish_write_json(const struct session *s, const struct run_result *r, const char *path)
{
    struct error err;
    json_t *v = run_result_json(r, &err);
    if (v && strcmp(path, "-") == 0)
        return launch_print_json(s, v);
    char *text = v ? json_dumps(v, JSON_INDENT(2)) : NULL;
    int rc = text ? file_write_atomic(path, text, strlen(text), &err)
             : v  ? error_set(&err, ERR_NO_MEMORY, "out of memory")
                  : -1;
    if (rc)
        complain(s, "the summary could not be written: %s", err.text);
    free(text);
    json_decref(v);
    return rc ? EXIT_OUTPUT : 0;
}

static void write_github(const struct session *s, const struct run_result *r, int exit_code)
{
    const char *on = getenv("GITHUB_ACTIONS"), *page = getenv("GITHUB_STEP_SUMMARY");
    if (!on || strcmp(on, "true") != 0)
        return;
    struct buf b;
    buf_create(&b, 1u << 20); // GitHub's own limit of a step's page
    if (!github_annotations(&b, r))
        (void)!write(STDERR_FILENO, b.data, b.len);
    buf_clear(&b);
    int fd = page && *page ? open(page, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0 && !github_summary(&b, r, exit_code) && write(fd, b.data, b.len) != (ssize_t)b.len)
        complain(s, "GITHUB_STEP_SUMMARY: cannot write %s: %s", page, strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_destroy(&b);
}

static int show_summary(const struct session *s, const struct run_result *r, const char *const *wrote, bool on_stderr,
                        int exit_code)
{
    const struct options *o = &s->options;
    uint64_t how = option_given(o, OPT_SUMMARY) ? o->of[OPT_SUMMARY].count : 0;
    struct buf b;
    int rc = 0;
    if (how == 2)
        return 0;
    buf_create(&b, SUMMARY_MAX);
    struct summary_info info = {.result = r, .full = how == 1, .exit_code = exit_code, .wrote = wrote};
    const struct terminal *t = &s->terminal;
    if (summary_render(&b, on_stderr ? &t->err : &t->out, &info)) {
        buf_clear(&b); // more names than fit: the verdict at least
        if (verdict_render(&b, on_stderr ? &t->err : &t->out, r, exit_code))
            rc = EXIT_MACHINE;
    }
    if (on_stderr)
        (void)!write(STDERR_FILENO, b.data, b.len);
    else if (!rc)
        rc = print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}

int finish_result(const struct session *s, const struct run_result *r, bool log_file, bool stdout_taken)
{
    const char *json = option_text(&s->options, OPT_SUMMARY_JSON);
    const char *wrote[3] = {0};
    unsigned n = 0;
    int code = exit_code_of(s, r->exit_code), failed = 0;
    bool json_to_stdout = json && strcmp(json, "-") == 0;
    if (json) {
        failed = finish_write_json(s, r, json);
        if (!failed && !json_to_stdout)
            wrote[n++] = json;
    }
    if (log_file)
        wrote[n++] = option_text(&s->options, OPT_LOG_FILE);
    if (failed && code == 0)
        code = failed;
    write_github(s, r, code);
    failed = show_summary(s, r, wrote, stdout_taken || json_to_stdout, code);
    return failed && code == 0 ? failed : code;
}
