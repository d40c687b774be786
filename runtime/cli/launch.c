// A scenario is loaded twice: once to learn what it presets (its `options` stand between configuration files and the
// environment), then to run. Loading runs nothing and every shard does it anyway.
#include "cli/launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/view.h"
#include "cli/virtual.h"
#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"

static int read_stdin(struct buf *out, struct error *err)
{
    for (;;) {
        uint8_t *at = buf_reserve(out, 65536);
        if (!at)
            return error_set(err, ERR_LIMIT, "stdin: a scenario is at most %u bytes", SCENARIO_MAX_BYTES);
        ssize_t n = read(STDIN_FILENO, at, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, "cannot read stdin");
        if (n == 0)
            return 0;
        out->len += (uint32_t)n;
    }
}

int launch_read(struct session *s, struct launch_plan *l)
{
    const char *path = s->args.word;
    struct error err;
    memset(l, 0, sizeof(*l));
    buf_create(&l->text, SCENARIO_MAX_BYTES + 65536 + 1);
    if (!path) {
        complain(s, "which scenario? Usage: iotix-run %s", command_specs[s->args.command].synopsis);
        return EXIT_USAGE;
    }
    if (option_given(&s->options, OPT_RUN_ID) && run_id_check(option_text(&s->options, OPT_RUN_ID), &err)) {
        complain(s, "--run-id: %s", err.text);
        return EXIT_USAGE;
    }
    if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO))
        complain(s, "reading the scenario from the terminal; Ctrl-D ends it");
    l->secrets =
        secrets_load(option_text(&s->options, OPT_SECRETS), option_yes(&s->options, OPT_INSECURE_SECRETS), &err);
    if (!l->secrets) {
        complain(s, "%s", err.text);
        return EXIT_USAGE;
    }
    int rc = strcmp(path, "-") == 0 ? read_stdin(&l->text, &err) : file_read(path, SCENARIO_MAX_BYTES, &l->text, &err);
    if (rc == 0)
        return 0;
    const char *names[CMD_MAX + 1] = {0};
    for (int c = 0; c < CMD_MAX; c++)
        names[c] = command_specs[c].name;
    const char *near = strpbrk(path, "./") ? NULL : suggest(path, names);
    complain(s, "%s%s%s%s", err.text, near ? " (did you mean the command `" : "", near ? near : "", near ? "`?)" : "");
    return EXIT_USAGE;
}

void launch_destroy(struct launch_plan *l)
{
    buf_destroy(&l->text);
    secrets_delete(l->secrets);
    l->secrets = NULL;
}

static bool use(const struct session *s, enum option_id id, int min_layer)
{
    return s->options.of[id].layer >= min_layer && s->options.of[id].layer != LAYER_DEFAULT;
}

static void fill_overrides(struct session *s, struct plan_overrides *to, int min)
{
    const struct option_value *v = s->options.of;
    if (use(s, OPT_DEVICES, min)) {
        to->has_devices = true;
        to->devices = v[OPT_DEVICES].count;
        to->devices_from = v[OPT_DEVICES].from;
    }
    if (use(s, OPT_SCALE, min)) {
        to->scale = v[OPT_SCALE].factor;
        to->scale_from = v[OPT_SCALE].from;
    }
    if (use(s, OPT_ONLY, min)) {
        to->only = (const char *const *)v[OPT_ONLY].items;
        to->n_only = v[OPT_ONLY].n;
    }
    if (use(s, OPT_DURATION, min)) {
        to->duration_us = v[OPT_DURATION].us;
        to->duration_from = v[OPT_DURATION].from;
    }
    if (use(s, OPT_FOR, min)) {
        to->duration_us = v[OPT_FOR].us;
        to->duration_from = v[OPT_FOR].from;
    }
    if (use(s, OPT_BROKER, min)) {
        to->broker = option_text(&s->options, OPT_BROKER);
        to->broker_from = v[OPT_BROKER].from;
    }
    if (use(s, OPT_STAGE, min)) {
        to->stages = (const char *const *)v[OPT_STAGE].items;
        to->n_stages = v[OPT_STAGE].n;
    }
    if (use(s, OPT_RAMP, min))
        to->ramp_us = v[OPT_RAMP].us;
    if (use(s, OPT_WARMUP, min))
        to->warmup_us = v[OPT_WARMUP].us;
    if (use(s, OPT_SEED, min)) {
        to->has_seed = true;
        to->seed = v[OPT_SEED].count;
        to->seed_from = v[OPT_SEED].from;
    }
    if (use(s, OPT_STOP_TIMEOUT, min)) {
        to->stop_timeout_us = v[OPT_STOP_TIMEOUT].us;
        to->stop_timeout_from = v[OPT_STOP_TIMEOUT].from;
    }
}

void launch_configure(struct session *s, struct launch_plan *l, int min)
{
    const struct option_value *v = s->options.of;
    struct run_config *c = &l->config;
    struct log *log = c->log;
    memset(c, 0, sizeof(*c));
    c->log = log;
    c->scenario_path = s->args.word;
    c->scenario_text = buf_cstr(&l->text);
    c->scenario_text_len = l->text.len;
    fill_overrides(s, &c->overrides, min);
    c->shards = use(s, OPT_SHARDS, min) ? (unsigned)v[OPT_SHARDS].count : 0;
    c->partition = use(s, OPT_PARTITION, min) ? v[OPT_PARTITION].part : 0;
    c->partitions = use(s, OPT_PARTITION, min) ? v[OPT_PARTITION].parts : 0;
    c->run_id = option_text(&s->options, OPT_RUN_ID);
    c->model_dirs = (const char *const *)v[OPT_MODEL_DIR].items;
    c->n_model_dirs = v[OPT_MODEL_DIR].n;
    c->plugins = (const char *const *)v[OPT_PLUGIN].items;
    c->n_plugins = v[OPT_PLUGIN].n;
    c->params = (const char *const *)v[OPT_PARAM].items;
    c->n_params = v[OPT_PARAM].n;
    c->env = (const char *const *)v[OPT_ENV].items;
    c->n_env = v[OPT_ENV].n;
    c->args = (const char *const *)s->args.rest;
    c->n_args = s->args.n_rest;
    c->secrets = l->secrets;
    c->jit = option_yes(&s->options, OPT_JIT);
    c->io = option_given(&s->options, OPT_IO) ? (enum link_io)v[OPT_IO].count : LINK_IO_AUTO;
    c->watch = option_yes(&s->options, OPT_WATCH);
    if (use(s, OPT_THRESHOLD, min)) {
        c->extra_thresholds = (const char *const *)v[OPT_THRESHOLD].items;
        c->n_extra_thresholds = v[OPT_THRESHOLD].n;
    }
    c->sinks = (const char *const *)v[OPT_SINK].items;
    c->n_sinks = v[OPT_SINK].n;
    c->no_thresholds = option_yes(&s->options, OPT_NO_THRESHOLDS);
    c->baseline = use(s, OPT_BASELINE, min) ? option_text(&s->options, OPT_BASELINE) : NULL;
    c->max_regression = use(s, OPT_MAX_REGRESSION, min) ? v[OPT_MAX_REGRESSION].factor : 0;
    c->abort_on_fail = option_yes(&s->options, OPT_ABORT_ON_FAIL);
    c->no_data_passes = option_given(&s->options, OPT_FAIL_ON_NO_DATA) && !v[OPT_FAIL_ON_NO_DATA].yes;
    virtual_configure(s, l);
    c->ops = s->env->ops;
}

int launch_execute(const struct session *s, const struct run_config *config, struct run_result *out, struct error *err)
{
    struct run *running = NULL;
    memset(out, 0, sizeof(*out));
    error_clear(err);
    return (s->env->execute ? s->env->execute : run_execute)(config, &running, out, err);
}

// Text of a preset as it would stand on the command line. Lua gives durations as strings or as seconds.
static int preset_text(const struct option_spec *spec, const json_t *v, char *dst, size_t size, struct error *err)
{
    if (json_is_string(v))
        snprintf(dst, size, "%s", json_string_value(v));
    else if (json_is_boolean(v))
        snprintf(dst, size, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_number(v))
        snprintf(dst, size, "%.15g%s", json_number_value(v), spec->type == TYPE_DURATION ? "s" : "");
    else
        return error_set(err, ERR_INVALID, "scenario options: %s: expected a string, a number or a boolean",
                         spec->name);
    return 0;
}

static int preset_table(struct options *o, const json_t *table, bool *changed, struct error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)table, key, v)
    {
        int id = option_find(key, strlen(key));
        char text[256], as[320];
        if (json_is_null(v))
            continue;
        if (id < 0 || !(option_specs[id].flags & OPTION_SCENARIO))
            return error_set(err, ERR_INVALID, "scenario options: %s is not an option that a scenario can preset", key);
        snprintf(as, sizeof(as), "scenario options: %s", key);
        if (preset_text(&option_specs[id], v, text, sizeof(text), err) ||
            options_set(o, (enum option_id)id, text, LAYER_SCENARIO, "scenario options", as, err))
            return -1;
        *changed |= o->of[id].layer == LAYER_SCENARIO && (id == OPT_SHARDS || id == OPT_STOP_TIMEOUT || id == OPT_IO);
    }
    return 0;
}

int launch_presets(struct options *o, const json_t *plan, bool *changed, struct error *err)
{
    static const struct {
        enum option_id id;
        const char *key;
    } declared[] = {
        {OPT_DURATION, "duration"}, {OPT_SEED, "seed"}, {OPT_BROKER, "broker"}, {OPT_STOP_TIMEOUT, "stop_timeout"}};
    static const enum option_id engine[] = {OPT_DEVICES, OPT_SCALE,     OPT_ONLY,          OPT_DURATION,
                                            OPT_SHARDS,  OPT_PARTITION, OPT_SEED,          OPT_STOP_TIMEOUT,
                                            OPT_BROKER,  OPT_THRESHOLD, OPT_STAGE,         OPT_RAMP,
                                            OPT_WARMUP,  OPT_BASELINE,  OPT_MAX_REGRESSION};
    *changed = false;
    for (size_t i = 0; i < sizeof(declared) / sizeof(declared[0]); i++) {
        const json_t *v = json_object_get(plan, declared[i].key);
        // What equals the built-in default counts as not said: the plan does not tell the two apart.
        bool said = v && !json_is_null(v) && !(json_is_string(v) && strcmp(json_string_value(v), "embedded") == 0) &&
                    !(declared[i].id == OPT_STOP_TIMEOUT && json_integer_value(v) == 30000000);
        if (said && o->of[declared[i].id].layer < LAYER_SCENARIO)
            options_unset(o, declared[i].id);
    }
    for (size_t i = 0; i < sizeof(engine) / sizeof(engine[0]); i++)
        *changed |= option_given(o, engine[i]) && o->of[engine[i]].layer < LAYER_SCENARIO;
    if (preset_table(o, json_object_get(plan, "options"), changed, err))
        return -1;
    return options_settle(o, err);
}

struct kept_lines {
    struct buf text;
};

static void keep_line(void *arg, enum log_level level, const char *line, size_t n)
{
    struct kept_lines *k = arg;
    (void)level;
    if (buf_append(&k->text, line, n))
        return; // the first 64 KB tell enough
}

enum log_level launch_log_level(const struct options *o)
{
    if (option_given(o, OPT_LOG_LEVEL))
        return (enum log_level)o->of[OPT_LOG_LEVEL].count;
    return option_yes(o, OPT_QUIET) ? LOG_ERROR : option_yes(o, OPT_VERBOSE) ? LOG_DEBUG : LOG_INFO;
}

int launch_load(struct session *s, struct launch_plan *l, struct run_result *out, struct error *err)
{
    struct kept_lines kept;
    buf_create(&kept.text, 65536);
    struct log_config config = {.fd = STDERR_FILENO,
                                .level = launch_log_level(&s->options),
                                .sink = keep_line,
                                .sink_arg = &kept,
                                .format = option_given(&s->options, OPT_LOG_FORMAT)
                                              ? (enum log_format)s->options.of[OPT_LOG_FORMAT].count
                                              : LOG_TEXT};
    l->config.log = log_new(&config);
    l->config.check_only = true;
    int rc = launch_execute(s, &l->config, out, err);
    if ((rc || out->n_diagnostics || s->args.command != CMD_RUN) && kept.text.len)
        (void)!write(STDERR_FILENO, kept.text.data, kept.text.len);
    log_delete(l->config.log);
    l->config.log = NULL;
    l->config.check_only = false;
    buf_destroy(&kept.text);
    return rc;
}

static void render_diagnostic(struct session *s, const struct launch_plan *l, const struct diagnostic *d)
{
    struct buf out, other;
    struct error err;
    buf_create(&out, 65536);
    buf_create(&other, SCENARIO_MAX_BYTES + 1);
    const char *text = NULL;
    size_t n = 0;
    if (s->args.word && strcmp(d->file, s->args.word) == 0) {
        text = (const char *)l->text.data;
        n = l->text.len;
    } else if (d->file[0] && !file_read(d->file, SCENARIO_MAX_BYTES, &other, &err)) {
        text = (const char *)other.data;
        n = other.len;
    }
    if (!diagnostic_render(&out, &s->terminal.err, d, text, n))
        (void)!write(STDERR_FILENO, out.data, out.len);
    buf_destroy(&other);
    buf_destroy(&out);
}

int launch_print_json(const struct session *s, json_t *v)
{
    char *text = v ? json_dumps(v, JSON_INDENT(2)) : NULL;
    int rc = EXIT_MACHINE;
    if (text) {
        size_t n = strlen(text);
        text[n] = '\n'; // in place of the NUL
        rc = print_result(s, text, n + 1);
    } else {
        complain(s, "out of memory");
    }
    free(text);
    json_decref(v);
    return rc;
}

// Diagnostics; without any, the reasons in the same form.
static json_t *problems_json(const struct run_result *r, int rc, const struct error *err)
{
    struct diagnostic d = {.exit_code = r->exit_code ? r->exit_code : EXIT_MACHINE};
    if (r->n_diagnostics || (!rc && r->n_reasons == 0))
        return diagnostics_json(r->diagnostics, r->n_diagnostics);
    snprintf(d.message, sizeof(d.message), "%s", rc ? err->text : r->reasons[0].text);
    return diagnostics_json(&d, 1);
}

int launch_report(struct session *s, const struct launch_plan *l, const struct run_result *r, int rc,
                  const struct error *err, bool json)
{
    int printed = 0;
    if (json)
        printed = launch_print_json(s, problems_json(r, rc, err));
    for (unsigned i = 0; i < r->n_diagnostics && !json; i++)
        render_diagnostic(s, l, &r->diagnostics[i]);
    if (rc)
        complain(s, "%s", err->text);
    // Reasons that no diagnostic has told.
    for (unsigned i = 0;
         i < r->n_reasons && r->n_diagnostics == 0 && !(rc && strcmp(r->reasons[i].text, err->text) == 0); i++)
        complain(s, "%s", r->reasons[i].text);
    const char *github = getenv("GITHUB_ACTIONS");
    struct buf out;
    buf_create(&out, 65536);
    if (github && strcmp(github, "true") == 0 && !github_annotations(&out, r))
        (void)!write(STDERR_FILENO, out.data, out.len);
    buf_destroy(&out);
    if (r->exit_code)
        return r->exit_code;
    return rc ? EXIT_MACHINE : printed;
}

int launch_resolve(struct session *s, struct launch_plan *l, struct run_result *out, bool json)
{
    struct error err;
    bool changed;
    int rc = launch_read(s, l);
    if (!rc)
        rc = virtual_resolve(s, l);
    if (rc) {
        memset(out, 0, sizeof(*out));
        return rc;
    }
    launch_configure(s, l, LAYER_ENV);
    rc = launch_load(s, l, out, &err);
    // What does not fit the machine may fit with what a file or the scenario presets: the second look says.
    bool loaded = rc == 0 && out->plan && out->n_diagnostics == 0 && out->exit_code != EXIT_INTERRUPTED;
    if (loaded && launch_presets(&s->options, out->plan->json, &changed, &err)) {
        complain(s, "%s: %s", s->args.word, err.text);
        out->exit_code = out->reasons[0].code = EXIT_SCENARIO;
        snprintf(out->reasons[0].text, sizeof(out->reasons[0].text), "%.200s", err.text);
        out->n_reasons = 1;
        return EXIT_SCENARIO;
    }
    if (loaded && s->args.command == CMD_RUN && !option_yes(&s->options, OPT_HELP))
        return 0;
    if (loaded && changed) {
        run_result_destroy(out);
        launch_configure(s, l, LAYER_DEFAULT);
        rc = launch_load(s, l, out, &err);
    }
    if (rc || !out->plan || out->n_diagnostics || out->exit_code)
        return launch_report(s, l, out, rc, &err, json);
    return 0;
}
