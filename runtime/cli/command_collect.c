// collect: figures of several runners from Kafka, one verdict. All the work is the engine's.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/finish.h"
#include "cli/launch.h"
#include "engine/collect.h"
#include "engine/secrets.h"

#define TIMEOUT_US ((int64_t)3600 * 1000000)
#define SINCE_US (24 * TIMEOUT_US)

struct collecting {
    const struct session *session;
    struct collect_progress said;
    char trouble[300];
};

// A line whenever something has changed.
static void on_progress(void *arg, const struct collect_progress *p)
{
    struct collecting *c = arg;
    char expected[24] = "";
    bool same = p->heard == c->said.heard && p->finished == c->said.finished && p->expected == c->said.expected;
    if (option_yes(&c->session->options, OPT_QUIET))
        return;
    if (*p->trouble && strcmp(p->trouble, c->trouble) != 0)
        complain(c->session, "collect: %s", p->trouble);
    snprintf(c->trouble, sizeof(c->trouble), "%s", p->trouble);
    if (p->expected)
        snprintf(expected, sizeof(expected), " of %u", p->expected);
    if (!same)
        complain(c->session, "collect: %u%s runners heard, %u through, after %.0f s", p->heard, expected, p->finished,
                 p->waited_s);
    c->said = *p;
}

static int check(const struct session *s, const struct option_value *v)
{
    struct error err;
    if (!option_given(&s->options, OPT_KAFKA) || !option_given(&s->options, OPT_RUN_ID))
        complain(s, "%s is missing. Usage: iotix-run %s", option_given(&s->options, OPT_KAFKA) ? "--run-id" : "--kafka",
                 command_specs[CMD_COLLECT].synopsis);
    else if (run_id_check(option_text(&s->options, OPT_RUN_ID), &err))
        complain(s, "--run-id: %s", err.text);
    else if (option_given(&s->options, OPT_EXPECT) && (v[OPT_EXPECT].count < 1 || v[OPT_EXPECT].count > 10000))
        complain(s, "--expect: expected 1 to 10000 runners");
    else
        return 0;
    return EXIT_USAGE;
}

static int64_t duration(const struct session *s, enum option_id id, int64_t dflt)
{
    return option_given(&s->options, id) ? s->options.of[id].us : dflt;
}

static int collect(struct session *s, const struct secrets *secrets, struct log *log, bool log_file)
{
    const struct option_value *v = s->options.of;
    struct collecting progress = {.session = s};
    struct run_result result;
    struct error err;
    const struct collect_config config = {.kafka = option_text(&s->options, OPT_KAFKA),
                                          .run_id = option_text(&s->options, OPT_RUN_ID),
                                          .expect = (unsigned)v[OPT_EXPECT].count,
                                          .timeout_us = duration(s, OPT_TIMEOUT, TIMEOUT_US),
                                          .since_us = duration(s, OPT_SINCE, SINCE_US),
                                          .extra_thresholds = (const char *const *)v[OPT_THRESHOLD].items,
                                          .n_extra_thresholds = v[OPT_THRESHOLD].n,
                                          .no_thresholds = option_yes(&s->options, OPT_NO_THRESHOLDS),
                                          .secrets = secrets,
                                          .log = log,
                                          .on_progress = on_progress,
                                          .arg = &progress};
    if (collect_execute(&config, &result, &err)) {
        complain(s, "%s%s", err.code == ERR_INVALID || err.code == ERR_NOT_FOUND ? "--kafka: " : "", err.text);
        return err.code == ERR_CANCELLED   ? EXIT_INTERRUPTED
               : err.code == ERR_REFUSED   ? EXIT_UNREACHABLE
               : err.code == ERR_TIMEOUT   ? EXIT_SHARD_LOST
               : err.code == ERR_NO_MEMORY ? EXIT_MACHINE
                                           : EXIT_USAGE;
    }
    int rc = finish_result(s, &result, log_file, false);
    run_result_destroy(&result);
    return rc;
}

int command_collect(struct session *s)
{
    const struct options *o = &s->options;
    const char *path = option_text(o, OPT_LOG_FILE);
    struct error err;
    int rc = check(s, o->of), fd = STDERR_FILENO;
    if (rc)
        return rc;
    struct secrets *secrets = secrets_load(option_text(o, OPT_SECRETS), option_yes(o, OPT_INSECURE_SECRETS), &err);
    if (secrets && path && (fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0) {
        error_set_errno(&err, "--log-file: cannot open %s", path);
        rc = EXIT_USAGE;
    }
    if (!secrets || rc) {
        complain(s, "%s", err.text);
        secrets_delete(secrets);
        return EXIT_USAGE;
    }
    const struct log_config log_config = {
        .fd = fd,
        .level = launch_log_level(o),
        .format = option_given(o, OPT_LOG_FORMAT) ? (enum log_format)o->of[OPT_LOG_FORMAT].count : LOG_TEXT,
        .color = s->terminal.err.color && fd == STDERR_FILENO};
    struct log *log = log_new(&log_config);
    rc = collect(s, secrets, log, fd != STDERR_FILENO);
    log_delete(log);
    secrets_delete(secrets);
    if (fd != STDERR_FILENO)
        close(fd);
    return rc;
}
