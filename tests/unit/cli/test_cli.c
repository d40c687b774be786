// The whole program with a stand-in for the engine: streams, exit codes, files, what the engine is asked to do.
#include "fabric.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>

static char dir[64];
static struct {
    int calls, real_calls;   // loads; runs
    int fail_rc;             // what execute returns
    int load_exit, run_exit; // exit codes of the result
    unsigned n_diagnostics;
    const char *plan_text;
    // what the last run was asked
    uint64_t devices, seed;
    double scale;
    int64_t duration_us;
    unsigned shards, n_thresholds, n_params, n_args;
    char broker[200], last_param[64];
    size_t text_len;
} engine;

static void note(const struct run_config *c)
{
    engine.devices = c->overrides.has_devices ? c->overrides.devices : 0;
    engine.seed = c->overrides.has_seed ? c->overrides.seed : 0;
    engine.scale = c->overrides.scale;
    engine.duration_us = c->overrides.duration_us;
    engine.shards = c->shards;
    engine.n_thresholds = c->n_extra_thresholds;
    engine.n_params = c->n_params;
    engine.n_args = c->n_args;
    snprintf(engine.broker, sizeof(engine.broker), "%s", c->overrides.broker ? c->overrides.broker : "");
    snprintf(engine.last_param, sizeof(engine.last_param), "%s", c->n_params ? c->params[c->n_params - 1] : "");
    engine.text_len = c->scenario_text_len;
}

static void play_view(const struct run_config *c, const struct run_result *r)
{
    struct fabric_status f;
    fabric_status_create(&f);
    c->on_header(c->view_arg, r->plan, &r->preflight, r);
    for (int i = RUN_RAMP; i <= RUN_ENDED; i++) {
        f.status.phase = (enum run_phase)i;
        f.status.elapsed_us += 1000000;
        c->on_status(c->view_arg, &f.status);
    }
    log_write(c->log, LOG_INFO, "sensors-1", "a line of the log");
    log_write(c->log, LOG_DEBUG, NULL, "a detail");
    fabric_status_destroy(&f);
}

static int execute(const struct run_config *c, struct run **running, struct run_result *out, struct error *err)
{
    *running = NULL;
    engine.calls++;
    note(c);
    if (engine.fail_rc)
        return error_set(err, ERR_NO_MEMORY, "cannot fork: Cannot allocate memory");
    if (engine.n_diagnostics) {
        memset(out, 0, sizeof(*out));
        out->exit_code = EXIT_SCENARIO;
        out->n_diagnostics = engine.n_diagnostics;
        out->diagnostics = calloc(engine.n_diagnostics, sizeof(*out->diagnostics));
        for (unsigned i = 0; i < engine.n_diagnostics; i++) {
            struct diagnostic *d = &out->diagnostics[i];
            *d = (struct diagnostic){.code = "IOTX012",
                                     .line = 1,
                                     .col = 8,
                                     .message = "unknown key",
                                     .hint = "did you mean name?",
                                     .exit_code = 104};
            snprintf(d->file, sizeof(d->file), "%s", c->scenario_path);
        }
        return 0;
    }
    fabric_result(out);
    if (engine.plan_text) {
        plan_delete(out->plan);
        out->plan = fabric_plan(engine.plan_text);
        out->n_thresholds = 0;
        for (unsigned i = 0; i < out->n_groups; i++)
            out->groups[i].name = "g";
    }
    if (c->check_only) {
        out->exit_code = engine.load_exit;
        out->n_reasons = engine.load_exit != 0;
        snprintf(out->reasons[0].text, sizeof(out->reasons[0].text),
                 "10,000 devices need 10,064 descriptors, 1,024 are allowed");
        return 0;
    }
    engine.real_calls++;
    out->exit_code = engine.run_exit;
    if (engine.run_exit == 0)
        fabric_pass(out);
    play_view(c, out);
    return 0;
}

static char out_text[1 << 20], err_text[1 << 20];

static void slurp(const char *name, char *dst, size_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, dst, size - 1) : 0;
    dst[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static const char *const *config_files;
static unsigned n_config_files;
static int stdout_target = -1; // instead of the file

// words separated by |; the streams go to files.
static int run(const char *words)
{
    static char storage[4096];
    char *argv[64], path[128];
    int argc = 0, saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    snprintf(storage, sizeof(storage), "iotix-run|%s", words);
    for (char *save = NULL, *word = strtok_r(storage, "|", &save); word; word = strtok_r(NULL, "|", &save))
        argv[argc++] = word;
    argv[argc] = NULL;
    snprintf(path, sizeof(path), "%s/out", dir);
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    snprintf(path, sizeof(path), "%s/err", dir);
    int err = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fflush(NULL);
    dup2(stdout_target >= 0 ? stdout_target : out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    struct cli_env env = {.execute = execute,
                          .lua_version = "LuaJIT test",
                          .config_files = config_files ? config_files : (const char *const[]){""},
                          .n_config_files = n_config_files};
    engine.calls = engine.real_calls = 0;
    int rc = cli_main(&env, argc, argv);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    close(out);
    close(err);
    slurp("out", out_text, sizeof(out_text));
    slurp("err", err_text, sizeof(err_text));
    return rc;
}

static int reset(void **state)
{
    (void)state;
    memset(&engine, 0, sizeof(engine));
    config_files = NULL;
    n_config_files = 0;
    for (int i = 0; i < OPT_MAX; i++) {
        char name[64];
        unsetenv(option_env_name(&option_specs[i], name, sizeof(name)));
    }
    unsetenv("GITHUB_ACTIONS");
    unsetenv("GITHUB_STEP_SUMMARY");
    setenv("LC_ALL", "C.UTF-8", 1);
    return 0;
}

#define says(text, part)                                                                                               \
    do {                                                                                                               \
        if (!strstr(text, part))                                                                                       \
            fail_msg("\"%s\" does not say \"%s\"", text, part);                                                        \
    } while (0)

static const char *last_line(char *text)
{
    size_t n = strlen(text);
    assert_true(n > 0 && text[n - 1] == '\n');
    text[n - 1] = '\0';
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static void a_run(void **state)
{
    (void)state;
    engine.run_exit = 0;
    assert_int_equal(
        run("fleet.lua|-n|10k|-d|5m|--seed|7|--shards|3|-p|rate=9|--threshold|publish_latency: p95 < 1s|--|a|b"), 0);
    assert_int_equal(engine.real_calls, 1);
    assert_int_equal(engine.devices, 10000);
    assert_int_equal(engine.duration_us, 300000000);
    assert_int_equal(engine.seed, 7);
    assert_int_equal(engine.shards, 3);
    assert_int_equal(engine.n_thresholds, 1);
    assert_int_equal(engine.n_args, 2);
    assert_string_equal(engine.last_param, "rate=9");
    assert_true(engine.text_len > 0);
    // Progress and log on stderr, the summary on stdout, the verdict last.
    says(err_text, "iotix-run 0.1.0   scenario fleet.lua");
    says(err_text, "[flag -n]");
    says(err_text, "phase=hold");
    says(err_text, "[sensors-1] a line of the log");
    assert_null(strstr(err_text, "a detail"));
    assert_null(strstr(err_text, "PASS"));
    says(out_text, "TOTALS");
    assert_null(strstr(out_text, "phase="));
    assert_null(strchr(out_text, '\033')); // no terminal, no colour
    assert_string_equal(last_line(out_text), "  PASS  3 of 3 thresholds, 2 of 2 expectations   (exit 0)");
}

static void verdicts_and_exit_zero(void **state)
{
    (void)state;
    static const int codes[] = {99, 105, 107, 108, 110, 111, 112, 120};
    static const int zeroed[] = {0, 105, 107, 0, 0, 0, 0, 120};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        engine.run_exit = codes[i];
        assert_int_equal(run("fleet.lua"), codes[i]);
        assert_int_equal(run("fleet.lua|--exit-zero"), zeroed[i]);
        if (codes[i] != zeroed[i])
            says(out_text, "by --exit-zero, verdict");
    }
}

static void quiet_json_and_none(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(run("fleet.lua|-q"), 0);
    assert_string_equal(err_text, "");
    assert_int_equal(run("fleet.lua|--summary|none"), 0);
    assert_string_equal(out_text, "");
    assert_int_equal(run("fleet.lua|--progress|none|-v"), 0);
    assert_null(strstr(err_text, "phase="));
    says(err_text, "a detail");
    // Everything on stderr is NDJSON then.
    assert_int_equal(run("fleet.lua|--progress|json"), 0);
    for (char *save = NULL, *line = strtok_r(err_text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *v = json_parse(line, strlen(line), "line", &err);
        if (!v)
            fail_msg("%s: %s", line, err.text);
        json_decref(v);
    }
    assert_int_equal(run("fleet.lua|--progress|tty"), 2);
    says(err_text, "stderr is not a terminal");
}

static void summary_json(void **state)
{
    (void)state;
    char words[256], path[128], text[65536];
    struct error err;
    struct stat st;
    snprintf(path, sizeof(path), "%s/summary.json", dir);
    snprintf(words, sizeof(words), "fleet.lua|--summary-json|%s", path);
    assert_int_equal(run(words), 0);
    slurp("summary.json", text, sizeof(text));
    json_t *v = json_parse(text, strlen(text), "summary", &err);
    assert_non_null(v);
    json_decref(v);
    says(out_text, "wrote ");
    unlink(path);
    // "-": JSON alone on stdout, the summary on stderr.
    assert_int_equal(run("fleet.lua|--summary-json|-"), 0);
    v = json_parse(out_text, strlen(out_text), "summary", &err);
    assert_non_null(v);
    json_decref(v);
    says(err_text, "PASS");
    // A directory that is not there is found before the run.
    snprintf(words, sizeof(words), "fleet.lua|--summary-json|%s/none/summary.json", dir);
    assert_int_equal(run(words), 2);
    says(err_text, "No such file or directory");
    assert_int_equal(engine.real_calls, 0);
    snprintf(words, sizeof(words), "fleet.lua|--summary-json|%s", dir);
    assert_int_equal(run(words), 2);
    says(err_text, "is a directory");
    assert_int_equal(engine.real_calls, 0);
    // The disk is full: said, the summary is printed, 109.
    assert_int_equal(run("fleet.lua|--summary-json|/dev/full"), 109);
    says(err_text, "the summary could not be written");
    says(err_text, "No space left on device");
    assert_string_equal(
        last_line(out_text),
        "  PASS  3 of 3 thresholds, 2 of 2 expectations   but an output could not be written   (exit 109)");
    engine.run_exit = 99; // a failed verdict is worth more
    assert_int_equal(run("fleet.lua|--summary-json|/dev/full"), 99);
    assert_int_not_equal(stat("/dev/full", &st), -1);
}

static void stdout_full_or_gone(void **state)
{
    (void)state;
    int fds[2];
    stdout_target = open("/dev/full", O_WRONLY);
    assert_true(stdout_target >= 0);
    assert_int_equal(run("fleet.lua"), 109);
    says(err_text, "cannot write to stdout");
    close(stdout_target);
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    stdout_target = fds[1];
    assert_int_equal(run("fleet.lua"), 0); // `| head`
    close(fds[1]);
    stdout_target = -1;
}

static void failed_loads(void **state)
{
    (void)state;
    struct error err;
    engine.n_diagnostics = 2;
    assert_int_equal(run("fleet.lua"), 104);
    assert_int_equal(engine.calls, 1);
    says(err_text, "fleet.lua:1:8: error IOTX012: unknown key\n");
    says(err_text, "     1 | return 1\n       |        ^\n");
    says(err_text, "  hint: did you mean name?");
    assert_string_equal(out_text, "");
    assert_int_equal(run("--check|fleet.lua"), 104);
    says(err_text, "error IOTX012");
    assert_int_equal(run("check|fleet.lua|--format|json"), 104);
    assert_string_equal(err_text, "");
    json_t *v = json_parse(out_text, strlen(out_text), "out", &err);
    assert_int_equal(json_array_size(v), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(v, 0), "line")), 1);
    json_decref(v);
    setenv("GITHUB_ACTIONS", "true", 1);
    assert_int_equal(run("fleet.lua"), 104);
    says(err_text, "::error file=");
    unsetenv("GITHUB_ACTIONS");
    engine.n_diagnostics = 0;
    engine.fail_rc = -1;
    assert_int_equal(run("fleet.lua"), 1);
    says(err_text, "cannot fork");
    engine.fail_rc = 0;
    engine.load_exit = 112; // does not fit the machine
    assert_int_equal(run("check|fleet.lua"), 112);
    says(err_text, "10,000 devices need 10,064 descriptors");
}

static void checks_and_inspect(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(run("check|fleet.lua"), 0);
    says(out_text, "fleet.lua: ok   2 groups, 10,000 devices, 6m10s, 3 thresholds\n");
    assert_int_equal(run("check|fleet.lua|--format|json"), 0);
    assert_string_equal(out_text, "[]\n");
    assert_int_equal(run("inspect|fleet.lua|--origins|-b|mqtt://bob:hunter3@h|-p|api_token=hunter4|--seed|4"), 0);
    json_t *v = json_parse(out_text, strlen(out_text), "out", &err);
    assert_non_null(v);
    assert_int_equal(json_integer_value(json_object_get(v, "devices")), 10000);
    json_t *seed = json_object_get(json_object_get(v, "origins"), "seed");
    assert_string_equal(json_string_value(json_object_get(seed, "from")), "flag --seed");
    assert_null(strstr(out_text, "hunter")); // no secret of a parameter, the broker, a group
    assert_null(strstr(out_text, "s3cret"));
    assert_null(strstr(out_text, "\"pw\""));
    says(err_text, "the password in --broker can be read by others");
    json_decref(v);
    assert_int_equal(run("inspect|fleet.lua|--format|text"), 0);
    says(out_text, "sensors 9,000");
    assert_int_equal(run("fleet.lua|--help"), 0);
    says(out_text, "rate <integer>");
    says(out_text, "--stop-timeout D");
}

static void bad_command_lines(void **state)
{
    (void)state;
    static const struct {
        const char *words, *error;
    } rows[] = {
        {"fleet.lua|--duratoin|5m", "did you mean --duration?"},
        {"docter", "did you mean the command `doctor`?"},
        {"nothere.lua", "nothere.lua"},
        {".", "."},
        {"run", "which scenario?"},
        {"help|nothing", "no command"},
        {"completion", "for which shell?"},
        {"fleet.lua|--log-file|/nowhere/x.log", "--log-file"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(run(rows[i].words), 2);
        says(err_text, rows[i].error);
        assert_string_equal(out_text, "");
        assert_int_equal(engine.real_calls, 0);
    }
    assert_int_equal(run("|"), 2); // no words at all
    says(err_text, "Usage: iotix-run SCENARIO.lua");
}

static void files_environment_flags(void **state)
{
    (void)state;
    char path[128];
    struct error err;
    static const char toml[] =
        "seed = 1\nshards = 1\nscale = 0.5\nduration = \"9m\"\nbroker = \"mqtt://file\"\nparam = [\"rate=1\"]\n";
    snprintf(path, sizeof(path), "%s/run.toml", dir);
    assert_int_equal(file_write_atomic(path, toml, strlen(toml), &err), 0);
    const char *files[] = {path};
    config_files = files;
    n_config_files = 1;
    setenv("IOTIX_SHARDS", "2", 1);
    setenv("IOTIX_PARAM", "rate=2", 1);
    assert_int_equal(run("fleet.lua|--seed|3"), 0);
    assert_int_equal(engine.seed, 3);
    assert_int_equal(engine.shards, 2);
    assert_true(engine.scale == 0.5);
    assert_int_equal(engine.duration_us, 0); // the scenario has its own
    assert_string_equal(engine.broker, "");
    assert_int_equal(engine.n_params, 2);
    assert_string_equal(engine.last_param, "rate=2");
    says(err_text, "[IOTIX_SHARDS]");
    says(err_text, "run.toml:3]");
    // A scenario that says nothing takes the file's.
    engine.plan_text = "{\"name\":\"x\",\"file\":\"fleet.lua\",\"has_test\":true,\"broker\":\"embedded\",\"options\":{"
                       "\"shards\":7,\"summary\":\"none\"},"
                       "\"groups\":[{\"name\":\"g\",\"line\":1,\"count\":1,\"behaviour\":true,\"launch\":{\"strategy\":"
                       "\"immediate\"},\"id\":\"a\","
                       "\"topics\":\"t\",\"qos\":0,\"on_error\":\"stop\",\"max_restarts\":1,\"memory\":1048576}],"
                       "\"models\":{},\"thresholds\":[]}";
    unsetenv("IOTIX_SHARDS");
    assert_int_equal(run("fleet.lua"), 0);
    assert_int_equal(engine.duration_us, 540000000);
    assert_string_equal(engine.broker, "mqtt://file");
    assert_int_equal(engine.shards, 7); // of the scenario's options, over the file's 1
    assert_string_equal(out_text, "");
    assert_int_equal(file_write_atomic(path, "seeed = 1\n", 10, &err), 0);
    assert_int_equal(run("fleet.lua"), 2);
    says(err_text, "run.toml:1: unknown key \"seeed\" (did you mean \"seed\"?)");
    assert_int_equal(run("doctor"), 0); // does not read it
}

static void github(void **state)
{
    (void)state;
    char page[128], text[65536];
    snprintf(page, sizeof(page), "%s/page.md", dir);
    setenv("GITHUB_STEP_SUMMARY", page, 1);
    engine.run_exit = 99;
    assert_int_equal(run("fleet.lua"), 99);
    assert_null(strstr(err_text, "::error"));
    setenv("GITHUB_ACTIONS", "true", 1);
    assert_int_equal(run("fleet.lua"), 99);
    says(err_text,
         "::error file=fleet.lua,line=41,title=threshold failed::connect_errors rate < 0.1%25: actual 0.31 %25\n");
    slurp("page.md", text, sizeof(text));
    says(text, "### iotix-run fleet: FAIL (exit 99)");
    says(text, "| ❌ | connect&#95;errors rate &lt; 0.1% | 0.31 % | &lt; 0.1 % |");
}

static void new_scenarios(void **state)
{
    (void)state;
    static const char *const templates[] = {"minimal", "mqtt", "ramp", "soak"};
    char words[256], name[64], text[65536];
    for (int i = 0; i < 4; i++) {
        snprintf(words, sizeof(words), "new|%s/made-%s|--template|%s", dir, templates[i], templates[i]);
        assert_int_equal(run(words), 0);
        snprintf(name, sizeof(name), "made-%s.lua", templates[i]);
        slurp(name, text, sizeof(text));
        says(text, "require \"iotix\"");
        snprintf(name, sizeof(name), "name = \"made-%s\"", templates[i]);
        says(text, name);
        assert_int_equal(run(words), 2);
        says(err_text, "exists; --force overwrites it");
        snprintf(words, sizeof(words), "new|%s/made-%s.lua|--template=%s|--force", dir, templates[i], templates[i]);
        assert_int_equal(run(words), 0);
    }
    assert_int_equal(run("new|bad name"), 2);
    assert_int_equal(run("new|/nowhere/x"), 2);
    says(err_text, "cannot write");
    assert_int_equal(run("new|x|--template|fancy"), 2);
    says(err_text, "minimal|mqtt|ramp|soak");
}

static void other_commands(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(run("version"), 0);
    says(out_text, "iotix-run 0.1.0");
    says(out_text, "LuaJIT test");
    assert_int_equal(run("version|--json"), 0);
    json_t *v = json_parse(out_text, strlen(out_text), "out", &err);
    assert_string_equal(json_string_value(json_object_get(v, "version")), "0.1.0");
    json_decref(v);
    assert_int_equal(run("--version"), 0);
    assert_int_equal(run("doctor"), 0);
    says(out_text, "open files");
    assert_int_equal(run("doctor|--format|json"), 0);
    v = json_parse(out_text, strlen(out_text), "out", &err);
    assert_true(json_array_size(v) > 3);
    json_decref(v);
    assert_int_equal(run("help"), 0);
    assert_int_equal(run("help|run"), 0);
    says(out_text, "--stop-timeout D");
    assert_int_equal(run("run|--help"), 0);
    assert_int_equal(run("completion|bash"), 0);
}

static int setup(void **state)
{
    (void)state;
    char path[128];
    struct error err;
    snprintf(dir, sizeof(dir), "/tmp/iotix-cli-XXXXXX");
    if (!mkdtemp(dir) || chdir(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/fleet.lua", dir);
    return file_write_atomic(path, "return 1\n", 9, &err);
}

static int cleanup(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return chdir("/") || system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_run, reset),
        cmocka_unit_test_setup(verdicts_and_exit_zero, reset),
        cmocka_unit_test_setup(quiet_json_and_none, reset),
        cmocka_unit_test_setup(summary_json, reset),
        cmocka_unit_test_setup(stdout_full_or_gone, reset),
        cmocka_unit_test_setup(failed_loads, reset),
        cmocka_unit_test_setup(checks_and_inspect, reset),
        cmocka_unit_test_setup(bad_command_lines, reset),
        cmocka_unit_test_setup(files_environment_flags, reset),
        cmocka_unit_test_setup(github, reset),
        cmocka_unit_test_setup(new_scenarios, reset),
        cmocka_unit_test_setup(other_commands, reset),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
