// Configuration files: the subset of TOML, its errors, and precedence.
#include "fabric.h"

#include "cli/config.h"
#include "cli/launch.h"

static int parse(struct options *o, const char *text, struct error *err)
{
    options_create(o);
    return config_parse(o, "iotix.toml", text, strlen(text), LAYER_FILE, err);
}

static void good(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    const char *text = "\xef\xbb\xbf# a comment\n"
                       "seed = 7 # behind\r\n"
                       "\n"
                       "[run]   # the only table\n"
                       "duration = \"5m\"\n"
                       "devices = 10_000\n"
                       "scale=0.5\n"
                       "no_color = true\n"
                       "only = [ \"a\", # one\n   'b\\n', \n]\n"
                       "param = \"x=1\"\n"
                       "broker = \"mqtt://h\\u002fx\"\n"
                       "summary-json = 'C:\\out # no comment'";
    if (parse(&o, text, &err))
        fail_msg("%s", err.text);
    assert_int_equal(o.of[OPT_SEED].count, 7);
    assert_int_equal(o.of[OPT_DURATION].us, 300000000);
    assert_string_equal(o.of[OPT_DURATION].from, "iotix.toml:5");
    assert_int_equal(o.of[OPT_DEVICES].count, 10000);
    assert_true(o.of[OPT_SCALE].factor == 0.5);
    assert_true(option_yes(&o, OPT_NO_COLOR));
    assert_int_equal(o.of[OPT_ONLY].n, 2);
    assert_string_equal(o.of[OPT_ONLY].items[1], "b\\n"); // literal string
    assert_string_equal(option_text(&o, OPT_BROKER), "mqtt://h/x");
    assert_string_equal(option_text(&o, OPT_SUMMARY_JSON), "C:\\out # no comment");
    options_destroy(&o);
    assert_int_equal(parse(&o, "", &err), 0);
    assert_int_equal(parse(&o, "# only\n\n", &err), 0);
    options_destroy(&o);
}

static void bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"durtion = \"5m\"", "iotix.toml:1: unknown key \"durtion\" (did you mean \"duration\"?)"},
        {"\n\nxyzzy = 1", "iotix.toml:3: unknown key \"xyzzy\""},
        {"duration = 5", "duration: expected a string with a unit such as \"30s\", got a number"},
        {"duration = \"5\"", "iotix.toml:1: duration: \"5\" has no unit"},
        {"devices = true", "expected a number or a string such as \"10k\", got a boolean"},
        {"quiet = \"yes\"", "expected true or false, got a string"},
        {"quiet = 1", "expected true or false, got a number"},
        {"seed = \"1\"", "expected a number, got a string"},
        {"duration = [\"5m\"]", "got an array"},
        {"only = 5", "a string or an array of strings"},
        {"only = [5]", "a string or an array of strings, got a number"},
        {"only = [\"a\" \"b\"]", "expected , or ]"},
        {"only = [\"a\",", "the array is not closed"},
        {"duration", "expected = behind duration"},
        {"duration =", "expected a value"},
        {"duration = \"5m", "the string is not closed"},
        {"duration = \"5m\n\"", "the string is not closed"},
        {"duration = \"\"\"5m\"\"\"", "multi-line"},
        {"broker = \"\\q\"", "unknown escape"},
        {"broker = \"\\u00\"", "\\u"},
        {"broker = \"\\ud800\"", "no character"},
        {"broker = \"a\x01\"", "control character"},
        {"duration = 5m", "not a number: strings need quotes"},
        {"broker = localhost", "strings need quotes"},
        {"duration = \"5m\" x", "unexpected \"x\" behind the value"},
        {"duration = \"5m\"\nduration = \"6m\"", "iotix.toml:2: duration is there twice"},
        {"[other]\n", "unknown table [other]"},
        {"[run", "unknown table"},
        {"[[run]]", "unknown table"},
        {"a.b = 1", "unknown key"},
        {"= 1", "expected `key = value`"},
        {"\"duration\" = \"5m\"", "expected `key = value`"},
        {"broker = {url = \"x\"}", "inline tables"},
        {"force = true", "only be given on the command line"},
        {"summary = \"long\"", "compact|full|none"},
        {"no-color = True", "strings need quotes"},
    };
    struct options o;
    struct error err;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse(&o, rows[i].text, &err) == 0)
            fail_msg("accepted: %s", rows[i].text);
        if (!strstr(err.text, rows[i].error) || strncmp(err.text, "iotix.toml:", 11))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, err.text, rows[i].error);
        options_destroy(&o);
    }
    options_create(&o);
    assert_int_equal(config_parse(&o, "f", "seed = 1\0", 9, LAYER_FILE, &err), -1);
    options_destroy(&o);
}

// Every prefix of a valid file, and every single byte replaced: an error or not, never anything else (ASan watches).
static void mangled(void **state)
{
    (void)state;
    const char *text = "[run]\nseed = 7\nduration = \"5m\\u0041\"\nonly = [\"a\", 'b'] # c\nquiet = true\n";
    char copy[128];
    size_t n = strlen(text);
    struct options o;
    struct error err;
    for (size_t i = 0; i <= n; i++) {
        char *exact = malloc(i + 1);
        memcpy(exact, text, i);
        exact[i] = '\0';
        options_create(&o);
        (void)!config_parse(&o, "f", exact, i, LAYER_FILE, &err);
        options_destroy(&o);
        free(exact);
    }
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 256; c++) {
            memcpy(copy, text, n);
            copy[i] = (char)c;
            copy[n] = '\0';
            options_create(&o);
            (void)!config_parse(&o, "f", copy, n, LAYER_FILE, &err);
            options_destroy(&o);
        }
}

static char dir[64];
static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/iotix-cli-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static void write_file(const char *name, const char *text, char *path, size_t size)
{
    struct error err;
    snprintf(path, size, "%s/%s", dir, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &err), 0);
}

static int remove_dir(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void files_in_order(void **state)
{
    (void)state;
    char a[128], b[128], missing[128];
    write_file("a.toml", "seed = 1\nshards = 1\nonly = [\"a\", \"b\"]\n", a, sizeof(a));
    write_file("b.toml", "seed = 2\nonly = [\"c\"]\n", b, sizeof(b));
    snprintf(missing, sizeof(missing), "%s/none.toml", dir);
    const char *files[] = {a, missing, b};
    struct options o;
    struct error err;
    options_create(&o);
    assert_int_equal(config_read_all(&o, files, 3, &err), 0);
    assert_int_equal(o.of[OPT_SEED].count, 2);
    assert_int_equal(o.of[OPT_SHARDS].count, 1);
    assert_int_equal(o.of[OPT_ONLY].n, 1);
    options_destroy(&o);
}

static void an_unreadable_file_is_an_error(void **state)
{
    (void)state;
    const char *files[] = {dir}; // a directory
    struct options o;
    struct error err;
    options_create(&o);
    assert_int_equal(config_read_all(&o, files, 1, &err), -1);
    assert_non_null(strstr(err.text, dir));
    options_destroy(&o);
}

static void too_large(void **state)
{
    (void)state;
    char path[128];
    char *text = malloc(CONFIG_MAX_BYTES + 2);
    memset(text, '#', CONFIG_MAX_BYTES + 1);
    text[CONFIG_MAX_BYTES + 1] = '\0';
    write_file("large.toml", text, path, sizeof(path));
    free(text);
    struct options o;
    struct error err;
    options_create(&o);
    assert_int_equal(config_read(&o, path, LAYER_FILE, &err), -1);
    assert_non_null(strstr(err.text, "larger than"));
    options_destroy(&o);
}

// File < scenario < environment < flag.
static void precedence(void **state)
{
    (void)state;
    struct options o;
    struct error err;
    bool changed;
    json_t *plan = json_pack("{s:i s:n s:s s:{s:s s:i s:f s:n}}", "duration", 60000000, "seed", "broker", "embedded",
                             "options", "summary", "full", "shards", 3, "progress_interval", 2.5, "log_level");
    static const char file[] =
        "duration = \"1h\"\nseed = 9\nbroker = \"mqtt://file\"\nsummary = \"none\"\nshards = 1\n";
    options_create(&o);
    assert_int_equal(config_parse(&o, "f", file, strlen(file), LAYER_FILE, &err), 0);
    assert_int_equal(launch_presets(&o, plan, &changed, &err), 0);
    assert_true(changed);
    assert_false(option_given(&o, OPT_DURATION)); // the scenario's own duration stands
    assert_int_equal(o.of[OPT_SEED].count, 9);    // it has no seed
    assert_string_equal(option_text(&o, OPT_BROKER), "mqtt://file");
    assert_int_equal(o.of[OPT_SUMMARY].count, 1);
    assert_int_equal(o.of[OPT_SHARDS].count, 3);
    assert_int_equal(o.of[OPT_PROGRESS_INTERVAL].us, 2500000);
    assert_string_equal(o.of[OPT_SHARDS].from, "scenario options");
    options_destroy(&o);
    options_create(&o);
    assert_int_equal(options_set(&o, OPT_DURATION, "2h", LAYER_ENV, "env", "env", &err), 0);
    assert_int_equal(options_set(&o, OPT_SHARDS, "5", LAYER_FLAG, "flag", "--shards", &err), 0);
    assert_int_equal(launch_presets(&o, plan, &changed, &err), 0);
    assert_false(changed);
    assert_int_equal(o.of[OPT_DURATION].us, 7200000000);
    assert_int_equal(o.of[OPT_SHARDS].count, 5);
    options_destroy(&o);
    json_decref(plan);
}

static void bad_presets(void **state)
{
    (void)state;
    static const char *const bad_plans[] = {
        "{\"options\":{\"progress\":\"fancy\"}}", "{\"options\":{\"shards\":0}}",   "{\"options\":{\"shards\":1.5}}",
        "{\"options\":{\"devices\":5}}",          "{\"options\":{\"nonsense\":5}}", "{\"options\":{\"summary\":[]}}",
    };
    for (size_t i = 0; i < sizeof(bad_plans) / sizeof(bad_plans[0]); i++) {
        struct options o;
        struct error err;
        bool changed;
        json_t *plan = json_parse(bad_plans[i], strlen(bad_plans[i]), "plan", &err);
        options_create(&o);
        if (launch_presets(&o, plan, &changed, &err) == 0)
            fail_msg("accepted: %s", bad_plans[i]);
        assert_non_null(strstr(err.text, "scenario options"));
        options_destroy(&o);
        json_decref(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
        cmocka_unit_test(mangled),
        cmocka_unit_test(files_in_order),
        cmocka_unit_test(an_unreadable_file_is_an_error),
        cmocka_unit_test(too_large),
        cmocka_unit_test(precedence),
        cmocka_unit_test(bad_presets),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
