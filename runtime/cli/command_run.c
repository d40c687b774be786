#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/display.h"
#include "cli/finish.h"
#include "cli/launch.h"
#include "core/file.h"
#include "core/units.h"

struct running {
    struct session *session;
    struct launch_plan launch;
    struct run_result result;
    struct display *display;
    struct log *log;
    int log_fd;
};

// ── outputs, checked before the first device connects ──

// A result that cannot be written is worth knowing before the run, not after its last minute.
static int check_output(const char *option, const char *path, struct error *err)
{
    char dir[4096], probe[4200];
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        if (S_ISDIR(st.st_mode))
            return error_set(err, ERR_INVALID, "--%s: %s is a directory", option, path);
        return access(path, W_OK) ? error_set_errno(err, "--%s: cannot write %s", option, path) : 0;
    }
    if (path_dirname(path, dir, sizeof(dir)))
        return error_set(err, ERR_INVALID, "--%s: the path is too long", option);
    snprintf(probe, sizeof(probe), "%s/.iotix-probe-%d", dir, (int)getpid());
    int fd = open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, "--%s: cannot write into the directory %s", option, dir);
    close(fd);
    unlink(probe);
    return 0;
}

static int open_log_file(struct running *r, struct error *err)
{
    const char *path = option_text(&r->session->options, OPT_LOG_FILE);
    if (!path)
        return 0;
    r->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return r->log_fd < 0 ? error_set_errno(err, "--log-file: cannot open %s", path) : 0;
}

static int prepare_outputs(struct running *r)
{
    struct error err;
    const char *json = option_text(&r->session->options, OPT_SUMMARY_JSON);
    int bad = json && strcmp(json, "-") != 0 ? check_output("summary-json", json, &err) : 0;
    for (unsigned i = 0; i < r->launch.n_outputs && !bad; i++)
        if (!output_is_stdout(&r->launch.outputs[i]))
            bad = check_output("sink", r->launch.outputs[i].path, &err);
    if (bad || open_log_file(r, &err)) {
        complain(r->session, "%s", err.text);
        return EXIT_USAGE;
    }
    return 0;
}

// ── the view ──

static enum progress_mode progress_mode(const struct session *s)
{
    const struct options *o = &s->options;
    if (option_yes(o, OPT_QUIET))
        return PROGRESS_NONE;
    enum progress_mode mode =
        option_given(o, OPT_PROGRESS) ? (enum progress_mode)o->of[OPT_PROGRESS].count : PROGRESS_AUTO;
    if (mode == PROGRESS_AUTO)
        return s->terminal.animate ? PROGRESS_TTY : PROGRESS_PLAIN;
    return mode;
}

static int open_view(struct running *r)
{
    struct session *s = r->session;
    const struct options *o = &s->options;
    enum progress_mode mode = progress_mode(s);
    if (mode == PROGRESS_TTY && !s->terminal.err_tty) {
        complain(s, "--progress tty [%s] has no effect: stderr is not a terminal", o->of[OPT_PROGRESS].from);
        return EXIT_USAGE;
    }
    struct display_config config = {
        .fd = STDERR_FILENO,
        .log_fd = r->log_fd,
        .style = s->terminal.err,
        .mode = mode,
        .header = !option_yes(o, OPT_QUIET),
        .interval_us = option_given(o, OPT_PROGRESS_INTERVAL) ? o->of[OPT_PROGRESS_INTERVAL].us : 10000000,
        .options = o,
    };
    r->display = display_new(&config);
    bool json = option_given(o, OPT_LOG_FORMAT) ? o->of[OPT_LOG_FORMAT].count == LOG_JSON
                                                : mode == PROGRESS_JSON && r->log_fd < 0;
    struct log_config log = {
        .fd = STDERR_FILENO,
        .level = option_given(o, OPT_LOG_LEVEL) ? (enum log_level)o->of[OPT_LOG_LEVEL].count
                 : option_yes(o, OPT_QUIET)     ? LOG_ERROR
                 : option_yes(o, OPT_VERBOSE)   ? LOG_DEBUG
                                                : LOG_INFO,
        .format = json ? LOG_JSON : LOG_TEXT,
        .color = s->terminal.err.color && r->log_fd < 0,
        .sink = display_log,
        .sink_arg = r->display,
    };
    r->log = r->display ? log_new(&log) : NULL;
    if (!r->log) {
        complain(s, "out of memory");
        return EXIT_MACHINE;
    }
    return 0;
}

// ── results ──

static int finish(struct running *r)
{
    bool taken = false;
    for (unsigned i = 0; i < r->launch.n_outputs; i++)
        taken |= output_is_stdout(&r->launch.outputs[i]);
    return finish_result(r->session, &r->result, r->log_fd >= 0, taken);
}

static int execute(struct running *r)
{
    struct session *s = r->session;
    struct error err;
    launch_configure(s, &r->launch, LAYER_DEFAULT);
    struct run_config *c = &r->launch.config;
    c->log = r->log;
    c->on_header = display_header;
    c->on_status = display_status;
    c->on_check = display_check;
    c->view_arg = r->display;
    int rc = launch_execute(s, c, &r->result, &err);
    display_end(r->display);
    if (rc || r->result.n_diagnostics || !r->result.plan) {
        int code = launch_report(s, &r->launch, &r->result, rc, &err, false);
        if (r->result.exit_code == 0)
            r->result.exit_code = code;
    }
    return finish(r);
}

// Whoever waits for the machine form of the result gets one of a load that failed too: its diagnostics. A scenario that
// could not even be read is a matter of usage. The exit code stays that of the load, whatever becomes of the file.
static void load_failed(struct running *r, int code)
{
    const char *json = option_text(&r->session->options, OPT_SUMMARY_JSON);
    if (!json || (code == EXIT_USAGE && r->result.exit_code == 0))
        return;
    if (r->result.exit_code == 0)
        r->result.exit_code = code;
    (void)!finish_write_json(r->session, &r->result, json);
}

int command_run(struct session *s)
{
    struct running r = {.session = s, .log_fd = -1};
    int rc = launch_resolve(s, &r.launch, &r.result, false);
    if (rc) {
        load_failed(&r, rc);
    } else {
        run_result_destroy(&r.result);
        memset(&r.result, 0, sizeof(r.result));
        rc = prepare_outputs(&r);
    }
    if (rc == 0)
        rc = open_view(&r);
    if (rc == 0)
        rc = execute(&r);
    log_delete(r.log);
    display_delete(r.display);
    if (r.log_fd >= 0)
        close(r.log_fd);
    run_result_destroy(&r.result);
    launch_destroy(&r.launch);
    return rc;
}
