// The table of options, the words of the command line, and the environment.
#include "fabric.h"

#include "cli/args.h"

static int parse(struct options *o, struct args *a, struct error *err, const char *line)
{
    static char storage[1024];
    static char *argv[64];
    int argc = 0;
    options_create(o);
    snprintf(storage, sizeof(storage), "iotix-run|%s", line);
    for (char *save = NULL, *word = strtok_r(storage, "|", &save); word; word = strtok_r(NULL, "|", &save))
        argv[argc++] = word;
    error_clear(err);
    int rc = args_parse(argc, argv, o, a, err);
    return rc ? rc : options_settle(o, err);
}

static void good(void **state)
{
    (void)state;
    static const struct {
        const char *line; // words separated by |
        enum command command;
        const char *word;
        int id; // option that must be set, -1: none
        const char *text;
    } rows[] = {
        {"x.lua", CMD_RUN, "x.lua", -1, NULL},
        {"run|x.lua", CMD_RUN, "x.lua", -1, NULL},
        {"-|-q", CMD_RUN, "-", OPT_QUIET, "true"},
        {"x.lua|--check", CMD_CHECK, "x.lua", OPT_CHECK, "true"},
        {"check|x.lua|--format|json", CMD_CHECK, "x.lua", OPT_FORMAT, "json"},
        {"--duration|5m|x.lua", CMD_RUN, "x.lua", OPT_DURATION, "5m"},
        {"x.lua|--duration=1h30m", CMD_RUN, "x.lua", OPT_DURATION, "1h30m"},
        {"x.lua|-d|5m", CMD_RUN, "x.lua", OPT_DURATION, "5m"},
        {"x.lua|-d5m", CMD_RUN, "x.lua", OPT_DURATION, "5m"},
        {"x.lua|-d=5m", CMD_RUN, "x.lua", OPT_DURATION, "5m"},
        {"x.lua|-n|10k", CMD_RUN, "x.lua", OPT_DEVICES, "10k"},
        {"x.lua|-n|1m", CMD_RUN, "x.lua", OPT_DEVICES, "1m"},
        {"x.lua|--scale|0.5", CMD_RUN, "x.lua", OPT_SCALE, "0.5"},
        {"x.lua|--partition|2/4", CMD_RUN, "x.lua", OPT_PARTITION, "2/4"},
        {"x.lua|--seed|0", CMD_RUN, "x.lua", OPT_SEED, "0"},
        {"x.lua|-b|embedded", CMD_RUN, "x.lua", OPT_BROKER, "embedded"},
        {"x.lua|-b|mqtt://h:1", CMD_RUN, "x.lua", OPT_BROKER, "mqtt://h:1"},
        {"x.lua|-p|a=b=c", CMD_RUN, "x.lua", OPT_PARAM, "a=b=c"},
        {"x.lua|-p|a=", CMD_RUN, "x.lua", OPT_PARAM, "a="},
        {"x.lua|--summary-json|-", CMD_RUN, "x.lua", OPT_SUMMARY_JSON, "-"},
        {"x.lua|--threshold|publish_latency{group:a}: p95 < 200ms", CMD_RUN, "x.lua", OPT_THRESHOLD,
         "publish_latency{group:a}: p95 < 200ms"},
        {"x.lua|--no-color=false", CMD_RUN, "x.lua", OPT_NO_COLOR, "false"},
        {"x.lua|--progress|json|--progress-interval|1s", CMD_RUN, "x.lua", OPT_PROGRESS, "json"},
        {"new|demo|--template|soak|--force", CMD_NEW, "demo", OPT_TEMPLATE, "soak"},
        {"version|--json", CMD_VERSION, NULL, OPT_JSON, "true"},
        {"completion|zsh", CMD_COMPLETION, "zsh", -1, NULL},
        {"inspect|x.lua|--origins", CMD_INSPECT, "x.lua", OPT_ORIGINS, "true"},
        {"help|run", CMD_HELP, "run", -1, NULL},
        {"-h", CMD_RUN, NULL, OPT_HELP, "true"},
    };
    struct options o;
    struct args a;
    struct error err;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse(&o, &a, &err, rows[i].line))
            fail_msg("%s: %s", rows[i].line, err.text);
        assert_int_equal(a.command, rows[i].command);
        if (rows[i].word)
            assert_string_equal(a.word, rows[i].word);
        else
            assert_null(a.word);
        if (rows[i].id >= 0) {
            assert_non_null(option_text(&o, (enum option_id)rows[i].id));
            assert_string_equal(option_text(&o, (enum option_id)rows[i].id), rows[i].text);
        }
        options_destroy(&o);
    }
}

static void bad(void **state)
{
    (void)state;
    static const struct {
        const char *line, *error; // a part of the message
    } rows[] = {
        {"x.lua|--duraton|5m", "unknown option --duraton (did you mean --duration?)"},
        {"x.lua|--stop_timeout|5s", "did you mean --stop-timeout?"},
        {"x.lua|--xyzzy", "--help lists them"},
        {"x.lua|-x", "unknown option -x"},
        {"x.lua|-qx", "unknown option -x in -qx"},
        {"x.lua|--markdow", "unknown option --markdow"},
        {"x.lua|--duration", "--duration needs a value: --duration D"},
        {"x.lua|--duration|--seed|1", "--duration needs a value"},
        {"x.lua|--progress", "auto|tty|plain|json|none"},
        {"x.lua|-d|10", "has no unit"},
        {"x.lua|-d|10x", "unknown unit"},
        {"x.lua|-d|0", "no effect"},
        {"x.lua|-d|-5s", "negative"},
        {"x.lua|-n|0", "would run nothing"},
        {"x.lua|-n|ten", "not a count"},
        {"x.lua|-n|1.5k", "not a count"},
        {"x.lua|--scale|0", "not a factor"},
        {"x.lua|--scale|nan", "not a number"},
        {"x.lua|--shards|0", "out of range"},
        {"x.lua|--shards|many", "not a whole number"},
        {"x.lua|--partition|0/4", "not a partition"},
        {"x.lua|--partition|5/4", "not a partition"},
        {"x.lua|--partition|4", "not a partition"},
        {"x.lua|--partition|1/4/2", "not a partition"},
        {"x.lua|--seed|-1", "out of range"},
        {"x.lua|-p|novalue", "not KEY=VALUE"},
        {"x.lua|-p|=v", "not KEY=VALUE"},
        {"x.lua|--summary|ful", "did you mean \"full\"?"},
        {"x.lua|--only|", "needs a value"},
        {"x.lua|--only=", "empty"},
        {"x.lua|--quiet=maybe", "neither true nor false"},
        {"x.lua|--threshold|p95 < 200ms", "expected 'METRIC: EXPR'"},
        {"x.lua|--threshold|publish_latency: p95 ~ 200ms", "--threshold"},
        {"x.lua|--threshold|publish_latencie: p95 < 200ms", "publish_latency"},
        {"x.lua|-b|mqtt://", "-b: "},
        {"x.lua|-b|mqtt://u:hunter2@h:99999999", "mqtt://***@h:99999999"},
        {"x.lua|y.lua", "arguments of the scenario go behind --"},
        {"doctor|x", "takes none"},
        {"new|a|b", "unexpected argument \"b\""},
        {"doctor|--seed|1", "--seed has no effect with `doctor`: it is an option of `run`, `check`, `inspect`"},
        {"x.lua|--origins", "--origins has no effect with `run`"},
        {"check|x.lua|--summary-json|f", "no effect with `check`"},
        {"version|--|a", "no scenario"},
        {"x.lua|--threshold|publish_latency: p95 < 1s|--no-thresholds", "no threshold would be checked"},
        {"x.lua|-q|-v", "--verbose"},
        {"x.lua|-q|--progress|plain", "-q shows no progress"},
        {"x.lua|--progress|tty|--progress-interval|1s", "no effect with --progress"},
        {"x.lua|--progress|none|--progress-interval|1s", "there is no progress"},
        {"x.lua|-n|5|--scale|2", "no effect with --scale"},
        {"x.lua|-v|--log-level|warn", "both set the level"},
    };
    struct options o;
    struct args a;
    struct error err;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse(&o, &a, &err, rows[i].line) == 0)
            fail_msg("%s was accepted", rows[i].line);
        if (!strstr(err.text, rows[i].error))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].line, err.text, rows[i].error);
        assert_null(strstr(err.text, "hunter2"));
        options_destroy(&o);
    }
}

static void values(void **state)
{
    (void)state;
    struct options o;
    struct args a;
    struct error err;
    assert_int_equal(
        parse(&o, &a, &err, "x.lua|-n|10k|-d|1m30s|--partition|2/4|--only|a|--only|b|--progress|none|-p|k=1|--|-x|--y"),
        0);
    assert_int_equal(o.of[OPT_DEVICES].count, 10000);
    assert_int_equal(o.of[OPT_DURATION].us, 90000000);
    assert_int_equal(o.of[OPT_PARTITION].part, 2);
    assert_int_equal(o.of[OPT_PARTITION].parts, 4);
    assert_int_equal(o.of[OPT_ONLY].n, 2);
    assert_string_equal(o.of[OPT_ONLY].items[1], "b");
    assert_int_equal(o.of[OPT_PROGRESS].count, 4);
    assert_string_equal(o.of[OPT_DEVICES].from, "flag -n");
    assert_int_equal(a.n_rest, 2);
    assert_string_equal(a.rest[0], "-x");
    options_destroy(&o);
    // The last of two wins.
    assert_int_equal(parse(&o, &a, &err, "x.lua|-d|1m|--duration|2m"), 0);
    assert_int_equal(o.of[OPT_DURATION].us, 120000000);
    assert_int_equal(o.of[OPT_DURATION].n, 1);
    options_destroy(&o);
}

static void layers(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    options_create(&o);
    // In any order the higher layer stays.
    assert_int_equal(options_set(&o, OPT_SEED, "3", LAYER_FLAG, "flag", "--seed", &err), 0);
    assert_int_equal(options_set(&o, OPT_SEED, "1", LAYER_FILE, "file", "file", &err), 0);
    assert_int_equal(options_set(&o, OPT_SEED, "2", LAYER_ENV, "env", "env", &err), 0);
    assert_int_equal(o.of[OPT_SEED].count, 3);
    assert_string_equal(o.of[OPT_SEED].from, "flag");
    // A value that is wrong is an error even when it would not count.
    assert_int_equal(options_set(&o, OPT_SEED, "x", LAYER_FILE, "file", "file", &err), -1);
    // Lists are replaced as a whole ...
    assert_int_equal(options_set(&o, OPT_ONLY, "a", LAYER_FILE, "file", "file", &err), 0);
    assert_int_equal(options_set(&o, OPT_ONLY, "b", LAYER_FILE, "file", "file", &err), 0);
    assert_int_equal(options_set(&o, OPT_ONLY, "c", LAYER_ENV, "env", "env", &err), 0);
    assert_int_equal(o.of[OPT_ONLY].n, 1);
    // ... but parameters add up, the highest last.
    assert_int_equal(options_set(&o, OPT_PARAM, "k=1", LAYER_FILE, "file", "file", &err), 0);
    assert_int_equal(options_set(&o, OPT_PARAM, "k=2", LAYER_ENV, "env", "env", &err), 0);
    assert_int_equal(o.of[OPT_PARAM].n, 2);
    assert_string_equal(option_text(&o, OPT_PARAM), "k=2");
    // Conflicts across layers: the lower one goes.
    assert_int_equal(options_set(&o, OPT_QUIET, "true", LAYER_FILE, "file", "file", &err), 0);
    assert_int_equal(options_set(&o, OPT_PROGRESS, "plain", LAYER_FLAG, "flag", "--progress", &err), 0);
    assert_int_equal(options_settle(&o, &err), 0);
    assert_false(option_given(&o, OPT_QUIET));
    assert_true(option_given(&o, OPT_PROGRESS));
    options_destroy(&o);
}

static void lists_have_a_cap(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    options_create(&o);
    for (int i = 0; i < OPTION_ITEMS_MAX; i++)
        assert_int_equal(options_set(&o, OPT_PARAM, "a=b", LAYER_FLAG, "f", "-p", &err), 0);
    assert_int_equal(options_set(&o, OPT_PARAM, "a=b", LAYER_FLAG, "f", "-p", &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    options_destroy(&o);
}

static char warned[512];
static void warn(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof(warned), "%s", text);
}

static void environment(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    const char *env[] = {"IOTIX_STOP_TIMEOUT=5s",
                         "IOTIX_PARAM=a=1;b=2;",
                         "IOTIX_BROKER=",
                         "IOTIX_QUIET=1",
                         "PATH=/bin",
                         "IOTIX_RUN=/x/iotix-run",
                         "IOTIX_FORMAT=json",
                         "IOTIX_CHECK=1",
                         NULL};
    warned[0] = '\0';
    options_create(&o);
    assert_int_equal(options_from_environment(&o, env, warn, NULL, &err), 0);
    assert_int_equal(o.of[OPT_STOP_TIMEOUT].us, 5000000);
    assert_string_equal(o.of[OPT_STOP_TIMEOUT].from, "IOTIX_STOP_TIMEOUT");
    assert_int_equal(o.of[OPT_PARAM].n, 2);
    assert_false(option_given(&o, OPT_BROKER));
    assert_true(option_yes(&o, OPT_QUIET));
    assert_false(option_given(&o, OPT_FORMAT)); // only flags
    assert_false(option_given(&o, OPT_CHECK));
    assert_string_equal(warned, "");
    const char *typo[] = {"IOTIX_DURATON=5s", NULL};
    assert_int_equal(options_from_environment(&o, typo, warn, NULL, &err), 0);
    assert_non_null(strstr(warned, "did you mean IOTIX_DURATION?"));
    const char *wrong[] = {"IOTIX_DURATION=5", NULL};
    assert_int_equal(options_from_environment(&o, wrong, warn, NULL, &err), -1);
    assert_non_null(strstr(err.text, "IOTIX_DURATION: "));
    options_destroy(&o);
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (int i = 0; i < OPT_MAX; i++) {
        const struct option_spec *a = &option_specs[i];
        assert_non_null(a->name);
        assert_non_null(a->help);
        assert_true(a->commands != 0);
        assert_true((a->type == TYPE_BOOL) == (a->metavar == NULL));
        assert_true((a->type == TYPE_CHOICE) == (a->choices != NULL));
        assert_int_equal(option_find(a->name, strlen(a->name)), i);
        for (int k = i + 1; k < OPT_MAX; k++)
            assert_false(a->letter && a->letter == option_specs[k].letter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
        cmocka_unit_test(values),
        cmocka_unit_test(layers),
        cmocka_unit_test(lists_have_a_cap),
        cmocka_unit_test(environment),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
