// --help and the reference page, both read from the table of options. Plain text of at most 80 columns: it goes into
// pipes and pull requests as often as to a terminal.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/launch.h"

#define HELP_COLUMN 27
#define HELP_WIDTH 79

// Words of text from `column` on, wrapped; the first line starts where the cursor is (`at`).
static int wrap(struct buf *out, const char *text, unsigned at, unsigned column)
{
    int rc = 0;
    bool first = true;
    while (*text && !rc) {
        size_t n = strcspn(text, " ");
        if (!first && at + 1 + n > HELP_WIDTH) {
            rc |= buf_printf(out, "\n%*s", (int)column, "");
            at = column;
            first = true;
        }
        rc |= buf_printf(out, "%s%.*s", first ? "" : " ", (int)n, text);
        at += (unsigned)n + !first;
        first = false;
        text += n + strspn(text + n, " ");
    }
    return rc | buf_append_str(out, "\n");
}

static void full_help(const struct option_spec *spec, char *dst, size_t size)
{
    const char *dflt = spec->dflt && strcmp(spec->dflt, "off") != 0 ? spec->dflt : NULL;
    snprintf(dst, size, "%s%s%s%s%s%s", spec->help, spec->choices ? ": " : "", spec->choices ? spec->choices : "",
             dflt ? " (default " : "", dflt ? dflt : "", dflt ? ")" : "");
}

static int option_help(struct buf *out, const struct option_spec *spec)
{
    char left[64], letter[8] = "    ", help[400];
    if (spec->letter)
        snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
    int n = snprintf(left, sizeof(left), "  %s--%s%s%s", letter, spec->name, spec->metavar ? " " : "",
                     spec->metavar ? spec->metavar : "");
    full_help(spec, help, sizeof(help));
    int rc = buf_append_str(out, left);
    if (n >= HELP_COLUMN)
        rc |= buf_printf(out, "\n%*s", HELP_COLUMN, "");
    else
        rc |= buf_printf(out, "%*s", HELP_COLUMN - n, "");
    return rc | wrap(out, help, HELP_COLUMN, HELP_COLUMN);
}

static bool shown(const struct option_spec *spec, enum command command)
{
    return spec->commands & 1u << command && !(spec->flags & OPTION_HIDDEN);
}

static int groups_help(struct buf *out, enum command command)
{
    int rc = 0;
    for (int g = 0; g < GROUP_MAX; g++) {
        bool any = false;
        for (int id = 0; id < OPT_MAX; id++) {
            const struct option_spec *spec = &option_specs[id];
            if (spec->group != (enum option_group)g || !shown(spec, command))
                continue;
            if (!any)
                rc |= buf_printf(out, "\n%s:\n", option_group_names[g]);
            any = true;
            rc |= option_help(out, spec);
        }
    }
    return rc;
}

static int examples_help(struct buf *out, enum command command)
{
    int rc = buf_append_str(out, "\nExamples:\n");
    for (const char *const *e = command_specs[command].examples; *e; e += 2)
        rc |= buf_printf(out, "  %s\n      %s\n", e[0], e[1]);
    return rc;
}

// A value of a parameter: JSON without the quotes of a string.
static int params_help(struct buf *out, const json_t *params)
{
    static const struct style style = {.utf8 = true};
    const char *name;
    json_t *p;
    int rc = buf_append_str(out, "\nParameters of this scenario (-p NAME=VALUE):\n");
    if (json_object_size(params) == 0)
        return rc | buf_append_str(out, "  none\n");
    json_object_foreach((json_t *)(uintptr_t)params, name, p)
    {
        const char *type = json_string_value(json_object_get(p, "type")),
                   *help = json_string_value(json_object_get(p, "help"));
        const json_t *dflt = json_object_get(p, "default");
        char *text = dflt && !json_is_null(dflt) ? json_dumps(dflt, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        struct line l;
        line_begin(&l, out, &style);
        line_printf(&l, PLAIN, "  %s <%s>", name, type ? type : "string");
        line_pad(&l, HELP_COLUMN);
        line_printf(&l, PLAIN, " %s", help ? help : "");
        if (text)
            line_printf(&l, PLAIN, " (default %s)", text);
        line_end(&l);
        rc |= l.failed ? -1 : 0;
        free(text);
    }
    return rc;
}

int help_render(struct buf *out, enum command command, const json_t *params)
{
    const struct command_spec *spec = &command_specs[command];
    int rc = buf_printf(out, "%s.\n\nUsage: iotix-run %s\n", spec->help, spec->synopsis);
    if (params)
        rc |= params_help(out, params);
    rc |= groups_help(out, command);
    if (command == CMD_RUN || command == CMD_CHECK || command == CMD_INSPECT) {
        rc |= buf_append_str(out, "\nValues, lowest precedence first: built-in, /etc/iotix/run.toml,\n"
                                  "~/.config/iotix/run.toml, ./iotix.toml, the scenario's `options`,\n"
                                  "IOTIX_<OPTION> (IOTIX_STOP_TIMEOUT=5s; lists with ;), options given here.\n"
                                  "Durations need a unit: 500ms, 30s, 5m, 1h30m.\n");
    }
    rc |= examples_help(out, command);
    return rc ? -1 : 0;
}

int help_overview(struct buf *out)
{
    int rc = buf_append_str(
        out,
        "iotix-run: devices in Lua against a real broker.\n\nUsage: iotix-run SCENARIO.lua [options]\n\nCommands:\n");
    for (int c = 0; c < CMD_MAX; c++)
        rc |= buf_printf(out, "  %-12s %s\n", command_specs[c].name, command_specs[c].help);
    rc |= buf_append_str(out, "\nStart:\n  iotix-run new demo && iotix-run demo.lua\n\n"
                              "`iotix-run help COMMAND` explains one; `iotix-run SCENARIO.lua --help` also\n"
                              "lists the scenario's parameters.\n");
    return rc ? -1 : 0;
}

// ── Markdown ──

static int cell(struct buf *out, const char *s)
{
    int rc = 0;
    for (; *s && !rc; s++)
        rc = *s == '|' ? buf_append_str(out, "\\|") : buf_append_char(out, *s);
    return rc;
}

static int markdown_option(struct buf *out, const struct option_spec *spec)
{
    char env[64];
    int rc = buf_append_str(out, "| `");
    if (spec->letter)
        rc |= buf_printf(out, "-%c`, `", spec->letter);
    rc |= buf_printf(out, "--%s%s%s` | ", spec->name, spec->metavar ? " " : "", spec->metavar ? spec->metavar : "");
    rc |= cell(out, spec->help);
    if (spec->choices) {
        rc |= buf_append_str(out, ": `");
        rc |= cell(out, spec->choices);
        rc |= buf_append_char(out, '`');
    }
    rc |= buf_printf(out, " | %s | ", spec->dflt ? spec->dflt : "");
    if (!(spec->flags & OPTION_ONLY_FLAG))
        rc |= buf_printf(out, "`%s`", option_env_name(spec, env, sizeof(env)));
    rc |= buf_append_str(out, " | ");
    bool any = false;
    for (int c = 0; c < CMD_MAX; c++)
        if (spec->commands == (1u << CMD_MAX) - 1 ? c == 0 : (spec->commands & 1u << c) != 0) {
            rc |= buf_printf(out, "%s%s", any ? ", " : "",
                             spec->commands == (1u << CMD_MAX) - 1 ? "all" : command_specs[c].name);
            any = true;
        }
    return rc | buf_append_str(out, " |\n");
}

static int markdown_commands(struct buf *out)
{
    int rc = buf_append_str(out, "## Commands\n\n| Command | |\n|---|---|\n");
    for (int c = 0; c < CMD_MAX; c++) {
        rc |= buf_append_str(out, "| `iotix-run ");
        rc |= cell(out, command_specs[c].synopsis);
        rc |= buf_printf(out, "` | %s |\n", command_specs[c].help);
    }
    return rc;
}

static const char markdown_head[] =
    "# Command line\n\n"
    "<!-- Made by `iotix-run help --markdown` from runtime/cli/option_table.c; do not edit. -->\n\n"
    "Results go to stdout; the header, progress and log lines go to stderr. The live block is drawn only when both "
    "are\n"
    "terminals; elsewhere progress is one line every `--progress-interval`. Exit codes: "
    "[exit-codes.md](exit-codes.md).\n\n"
    "`SCENARIO` may be `-` for stdin. What stands behind `--` is passed to the scenario as `iotix.args`. A scenario's "
    "own\n"
    "parameters are listed by `iotix-run SCENARIO.lua --help` and set with `-p NAME=VALUE`.\n\n";

static const char markdown_tail[] =
    "## Where values come from\n\n"
    "Lowest precedence first: built-in, `/etc/iotix/run.toml`, `$XDG_CONFIG_HOME/iotix/run.toml` (or\n"
    "`~/.config/iotix/run.toml`), `./iotix.toml`, the scenario (its `options` table, and its own duration, seed, "
    "broker and\n"
    "stop_timeout; a broker of `embedded` or a stop_timeout of 30 s counts as not said), `IOTIX_<OPTION>`, flags.\n"
    "`iotix-run inspect --origins` shows where each value came from, and the header of a run names the source of every "
    "override.\n\n"
    "A configuration file holds options by their long names, in a subset of TOML: strings, numbers, booleans, arrays "
    "of\n"
    "strings, comments and the one table `[run]`. Anything else is an error with file and line.\n\n"
    "```toml\n[run]\nbroker = \"mqtt://broker.test\"\ndevices = 10_000\nduration = \"5m\"\nonly = "
    "[\"sensors\"]\n```\n\n"
    "In the environment a list is separated by `;` (`IOTIX_PARAM=\"a=1;b=2\"`), a boolean is `true` or `false`, and an "
    "empty\n"
    "variable counts as not set. `-p` and `-e` add to those of lower layers; every other list replaces them.\n\n"
    "Three rules: a flag that cannot take effect is an error that names both places; an override is shown in the "
    "header with\n"
    "its source; durations always have a unit (`10s`, never `10`).\n\n"
    "Also honoured: `NO_COLOR`, `TERM=dumb`, `GITHUB_ACTIONS`, `GITHUB_STEP_SUMMARY`.\n\n"
    "## Signals\n\n"
    "The first SIGINT or SIGTERM stops new work, lets devices finish for at most `--stop-timeout`, prints the summary "
    "and exits\n"
    "105. The second exits at once.\n";

int help_markdown(struct buf *out)
{
    int rc = buf_append_str(out, markdown_head) | markdown_commands(out);
    rc |= buf_append_str(out, "\n## Options\n");
    for (int g = 0; g < GROUP_MAX; g++) {
        rc |= buf_printf(out, "\n### %s\n\n| Option | | Default | Environment | Commands |\n|---|---|---|---|---|\n",
                         option_group_names[g]);
        for (int id = 0; id < OPT_MAX; id++)
            if (option_specs[id].group == (enum option_group)g && !(option_specs[id].flags & OPTION_HIDDEN))
                rc |= markdown_option(out, &option_specs[id]);
    }
    rc |= buf_append_str(out, "\n### Examples\n\n```sh\n");
    for (int c = 0; c < CMD_MAX; c++)
        for (const char *const *e = command_specs[c].examples; *e; e += 2)
            rc |= buf_printf(out, "%s   # %s\n", e[0], e[1]);
    rc |= buf_append_str(out, "```\n\n");
    return rc | buf_append_str(out, markdown_tail) ? -1 : 0;
}

// ── the command ──

static int print(struct session *s, struct buf *b, int rc)
{
    if (rc)
        complain(s, "out of memory");
    return rc ? EXIT_MACHINE : print_result(s, b->data, b->len);
}

// `SCENARIO.lua --help`: the options, and the parameters that the scenario declares.
static int scenario_help(struct session *s, struct buf *b)
{
    struct launch_plan l;
    struct run_result r;
    int rc = launch_resolve(s, &l, &r, false);
    if (rc == 0) {
        json_t *none = json_object(), *params = json_object_get(r.plan->json, "params");
        rc = print(s, b, help_render(b, s->args.command, params ? params : none));
        json_decref(none);
    }
    run_result_destroy(&r);
    launch_destroy(&l);
    return rc;
}

int command_help(struct session *s)
{
    struct buf b;
    int rc, about = s->args.command;
    buf_create(&b, 1u << 20);
    bool of_scenario = (about == CMD_RUN || about == CMD_CHECK || about == CMD_INSPECT) && s->args.word;
    if (about == CMD_HELP && s->args.word)
        about = command_find(s->args.word);
    if (of_scenario) {
        rc = scenario_help(s, &b);
    } else if (about < 0) {
        complain(s, "there is no command \"%s\"; `iotix-run help` lists them", s->args.word);
        rc = EXIT_USAGE;
    } else if (option_yes(&s->options, OPT_MARKDOWN)) {
        rc = print(s, &b, help_markdown(&b));
    } else if (about == CMD_HELP && !s->args.word) {
        rc = print(s, &b, help_overview(&b));
    } else {
        rc = print(s, &b, help_render(&b, (enum command)about, NULL));
    }
    buf_destroy(&b);
    return rc;
}
