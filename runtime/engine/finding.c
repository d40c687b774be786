// What a run is told: diagnostics of its scenario and plugins, checks of its test.
#include "engine/supervisor.h"

#include <stdio.h>
#include <stdlib.h>

void finding_keep(struct run *run, const struct diagnostic *d)
{
    struct run_result *r = run->result;
    bool known = d->exit_code == EXIT_LUA_ERROR || d->exit_code == EXIT_USAGE || d->exit_code == EXIT_OUTPUT ||
                 d->exit_code == EXIT_UNREACHABLE;
    run_reason(run, known ? d->exit_code : EXIT_SCENARIO, "%.200s", d->message);
    struct diagnostic *more =
        r->n_diagnostics < DIAGNOSTICS_MAX ? realloc(r->diagnostics, (r->n_diagnostics + 1) * sizeof(*d)) : NULL;
    if (!more)
        return;
    r->diagnostics = more;
    more[r->n_diagnostics++] = *d;
}

void finding_say(struct run *run, const char *code, int exit_code, const char *text)
{
    struct diagnostic d = {.exit_code = exit_code};
    snprintf(d.code, sizeof(d.code), "%s", code);
    snprintf(d.file, sizeof(d.file), "%s", run->config->scenario_path);
    snprintf(d.message, sizeof(d.message), "%s", text);
    finding_keep(run, &d);
}

void finding_diagnostic(struct run *run, const struct slot *slot, const json_t *m)
{
    struct diagnostic d = {.line = (int)json_integer_value(json_object_get(m, "line")),
                           .col = (int)json_integer_value(json_object_get(m, "col")),
                           .exit_code = (int)json_integer_value(json_object_get(m, "error_code"))};
    snprintf(d.code, sizeof(d.code), "%s", message_text(m, "code"));
    snprintf(d.file, sizeof(d.file), "%s", message_text(m, "file"));
    snprintf(d.message, sizeof(d.message), "%s", message_text(m, "message"));
    snprintf(d.hint, sizeof(d.hint), "%s", message_text(m, "hint"));
    if (slot->director && run->go_us) // a reload: what runs goes on as it is
        log_write(run->log, LOG_ERROR, NULL, d.col ? "%s:%d:%d: %s: %s" : "%s:%d:%.0d %s: %s", d.file, d.line, d.col,
                  d.code, d.message);
    else
        finding_keep(run, &d);
}

static void keep_check(struct run *run, const struct run_check *check, unsigned most)
{
    struct run_result *r = run->result;
    struct run_check *more = r->n_checks < most ? realloc(r->checks, (r->n_checks + 1) * sizeof(*more)) : NULL;
    if (more) {
        r->checks = more;
        more[r->n_checks++] = *check;
    }
    if (run->config->on_check)
        run->config->on_check(run->config->view_arg, check);
}

void finding_check(struct run *run, const json_t *m)
{
    struct run_check check = {.ok = json_is_true(json_object_get(m, "ok")),
                              .t_us = json_integer_value(json_object_get(m, "t_us"))};
    snprintf(check.name, sizeof(check.name), "%s", message_text(m, "name"));
    snprintf(check.detail, sizeof(check.detail), "%s", message_text(m, "detail"));
    run->checks_failed += !check.ok;
    keep_check(run, &check, CHECKS_MAX);
}

void finding_unfinished(struct run *run)
{
    struct run_check check = {.name = "test", .ok = false, .t_us = run_elapsed(run)};
    snprintf(check.detail, sizeof(check.detail), "test did not finish within the duration");
    run_reason(run, EXIT_MARKED_FAILED, "%s", check.detail);
    keep_check(run, &check, CHECKS_MAX + 1); // there is always room for this one
}
