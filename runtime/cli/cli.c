#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/config.h"
#include "cli/launch.h"

extern char **environ;

void complain(const struct session *s, const char *fmt, ...)
{
    char text[2048];
    struct buf b;
    struct line l;
    struct style style = s->terminal.err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    style.width = 0; // a message is never cut
    buf_create(&b, 32768);
    line_begin(&l, &b, &style);
    line_put(&l, PLAIN, "iotix-run: ");
    line_put(&l, PLAIN, text);
    line_end(&l);
    (void)!write(STDERR_FILENO, b.data, b.len);
    buf_destroy(&b);
}

int print_result(const struct session *s, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, at, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EPIPE)
            return 0; // `| head` has seen enough
        if (k < 0) {
            complain(s, "cannot write to stdout: %s", strerror(errno));
            return EXIT_OUTPUT;
        }
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

static void warn_environment(void *arg, const char *text)
{
    complain(arg, "warning: %s", text);
}

static bool loads(enum command c)
{
    return c == CMD_RUN || c == CMD_CHECK || c == CMD_INSPECT;
}

// All layers, lowest first, so that lists which merge end with the flags.
static int read_options(struct session *s, int argc, char **argv, struct error *err)
{
    struct options scratch;
    options_create(&scratch);
    int rc = args_parse(argc, argv, &scratch, &s->args, err);
    // Help must not depend on a broken configuration file.
    bool all =
        ((loads(s->args.command) || s->args.command == CMD_MODEL || s->args.command == CMD_CHAOS) && s->args.word) ||
        s->args.command == CMD_COLLECT;
    options_destroy(&scratch);
    if (rc)
        return -1;
    if (all && config_read_all(&s->options, s->env->config_files, s->env->n_config_files, err))
        return -1;
    if (all && options_from_environment(&s->options, (const char *const *)environ, warn_environment, s, err))
        return -1;
    if (args_parse(argc, argv, &s->options, &s->args, err))
        return -1;
    return options_settle(&s->options, err);
}

static int dispatch(struct session *s)
{
    static int (*const commands[CMD_MAX])(struct session *) = {
        [CMD_RUN] = command_run,         [CMD_CHECK] = command_check,           [CMD_INSPECT] = command_inspect,
        [CMD_MODEL] = command_model,     [CMD_CHAOS] = command_chaos,           [CMD_NEW] = command_new,
        [CMD_COLLECT] = command_collect, [CMD_DOCTOR] = command_doctor,         [CMD_VERSION] = command_version,
        [CMD_HELP] = command_help,       [CMD_COMPLETION] = command_completion,
    };
    if (option_yes(&s->options, OPT_HELP))
        return command_help(s);
    if (option_yes(&s->options, OPT_VERSION))
        return command_version(s);
    return commands[s->args.command](s);
}

// Only what came by the command line is visible to every user of the machine.
static void warn_password(struct session *s)
{
    const struct option_value *v = &s->options.of[OPT_BROKER];
    const char *url = option_text(&s->options, OPT_BROKER), *scheme = url ? strstr(url, "://") : NULL;
    const char *at = scheme ? strchr(scheme + 3, '@') : NULL,
               *colon = at ? memchr(scheme + 3, ':', (size_t)(at - scheme - 3)) : NULL;
    if (v->layer == LAYER_FLAG && colon)
        complain(
            s,
            "warning: the password in --broker can be read by others in the list of processes; IOTIX_BROKER hides it");
}

int cli_main(const struct cli_env *env, int argc, char **argv)
{
    struct session s = {.env = env};
    struct error err;
    signal(SIGPIPE, SIG_IGN);
    terminal_detect(&s.terminal, false);
    options_create(&s.options);
    int rc = EXIT_USAGE;
    if (argc < 2) {
        struct buf b;
        buf_create(&b, 65536);
        if (!help_overview(&b))
            (void)!write(STDERR_FILENO, b.data, b.len);
        buf_destroy(&b);
    } else if (read_options(&s, argc, argv, &err)) {
        complain(&s, "%s", err.text);
    } else {
        if (option_yes(&s.options, OPT_NO_COLOR))
            terminal_detect(&s.terminal, true);
        warn_password(&s);
        rc = dispatch(&s);
    }
    options_destroy(&s.options);
    return rc;
}
