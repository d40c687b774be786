// chaos export | profiles | check: experiments for other tools, profiles of networks.
#include <stdio.h>
#include <string.h>

#include "chaos/mesh.h"
#include "chaos/profile.h"
#include "cli/launch.h"
#include "cli/view.h"
#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"

#define EXPORT_BYTES (64u << 20)

// --- export -------------------------------------------------------------------------------------------------------

static struct mesh_config mesh_of(const struct session *s)
{
    const struct option_value *labels = &s->options.of[OPT_SELECTOR], *target = &s->options.of[OPT_TARGET];
    return (struct mesh_config){
        .space = option_text(&s->options, OPT_NAMESPACE),
        .labels = (const char *const *)labels->items,
        .n_labels = labels->n,
        .target_labels = (const char *const *)target->items,
        .n_target_labels = target->n,
        .mode = option_text(&s->options, OPT_MODE),
        .value = option_text(&s->options, OPT_VALUE),
    };
}

static int export_plan(struct session *s, const struct mesh_config *like, const struct plan *plan)
{
    struct error err = {0};
    struct buf out;
    struct mesh_config mesh = *like;
    mesh.scenario = plan->name;
    buf_create(&out, EXPORT_BYTES);
    int rc = mesh_export(&mesh, plan->experiments, plan->n_experiments, &out, &err);
    if (rc)
        complain(s, "chaos export: %s", err.text);
    rc = rc ? EXIT_MACHINE : print_result(s, out.data, out.len);
    buf_destroy(&out);
    return rc;
}

static int export_timeline(struct session *s)
{
    struct error err = {0};
    struct launch_plan l;
    struct run_result r;
    const struct mesh_config mesh = mesh_of(s);
    if (mesh_check(&mesh, &err)) {
        complain(s, "chaos export: %s", err.text);
        return EXIT_USAGE;
    }
    s->args.word = s->args.words[1]; // the scenario
    int rc = launch_resolve(s, &l, &r, false);
    if (rc == 0)
        rc = export_plan(s, &mesh, r.plan);
    run_result_destroy(&r);
    launch_destroy(&l);
    return rc;
}

// --- profiles -----------------------------------------------------------------------------------------------------

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int one_profile(const struct session *s, const json_t *list, const char *name)
{
    const char *names[PROFILES_MAX / 100 + 1];
    size_t i, n = 0;
    json_t *p;
    json_array_foreach(list, i, p)
    {
        if (strcmp(text_of(p, "name"), name) == 0)
            return launch_print_json(s, json_incref(p));
        if (n + 1 < sizeof(names) / sizeof(names[0]))
            names[n++] = text_of(p, "name");
    }
    names[n] = NULL;
    struct error err = {0};
    error_unknown(&err, "profile", name, names);
    complain(s, "chaos profiles: %s", err.text);
    return EXIT_USAGE;
}

static int list_profiles(const struct session *s, const json_t *list)
{
    struct buf b;
    struct style whole = s->terminal.out;
    size_t i;
    json_t *p;
    bool failed = false;
    whole.width = 0;
    buf_create(&b, 1u << 20);
    json_array_foreach(list, i, p)
    {
        struct line l;
        line_begin(&l, &b, &whole);
        line_printf(&l, BOLD, "%-26s", text_of(p, "name"));
        line_printf(&l, PLAIN, " %s", text_of(p, "description"));
        line_end(&l);
        failed |= l.failed;
    }
    int rc = failed ? EXIT_MACHINE : print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}

static int profiles(struct session *s)
{
    struct error err = {0};
    json_t *list = s->env->profiles ? s->env->profiles(&err) : NULL;
    if (!list) {
        complain(s, "chaos profiles: %s", s->env->profiles ? err.text : "this build has none");
        return EXIT_MACHINE;
    }
    int rc;
    if (s->args.n_words > 1)
        rc = one_profile(s, list, s->args.words[1]);
    else if (option_yes(&s->options, OPT_JSON))
        rc = launch_print_json(s, json_pack("{s:i, s:O}", "schema", 1, "profiles", list));
    else
        rc = list_profiles(s, list);
    json_decref(list);
    return rc;
}

// --- check --------------------------------------------------------------------------------------------------------

static int check_file(const struct session *s, const char *path)
{
    struct error err = {0};
    struct buf text;
    struct profile p;
    char words[512], out[1024];
    buf_create(&text, PROFILE_BYTES_MAX);
    json_t *json = NULL;
    if (file_read(path, PROFILE_BYTES_MAX, &text, &err) == 0)
        json = json_parse((const char *)text.data, text.len, path, &err);
    buf_destroy(&text);
    if (!json) {
        complain(s, "%s", err.text);
        return EXIT_SCENARIO;
    }
    int rc = profile_parse(&p, json, &err);
    json_decref(json);
    if (rc) {
        complain(s, "%s: %s", path, err.text);
        return EXIT_SCENARIO;
    }
    fault_spec_describe(p.fault, words, sizeof(words));
    int n = snprintf(out, sizeof(out), "%.300s: ok   %s@%lld, %s\n", path, p.name,
                     (long long)(p.version ? p.version : 1), words);
    profile_destroy(&p);
    return print_result(s, out, n < (int)sizeof(out) ? (size_t)n : sizeof(out) - 1);
}

static int check(struct session *s)
{
    int rc = 0;
    for (unsigned i = 1; i < s->args.n_words; i++) {
        int one = check_file(s, s->args.words[i]);
        rc = rc ? rc : one;
    }
    return rc;
}

// ------------------------------------------------------------------------------------------------------------------

// Options of the command that only an export has a use for.
static int refuse_others(struct session *s, const char *verb, bool json)
{
    for (int id = 0; id < OPT_MAX; id++) {
        const struct option_spec *spec = &option_specs[id];
        if (s->options.of[id].layer != LAYER_FLAG || spec->commands == (1u << CMD_MAX) - 1 || (json && id == OPT_JSON))
            continue;
        complain(s, "chaos %s: --%s has no effect here", verb, spec->name);
        return EXIT_USAGE;
    }
    return 0;
}

int command_chaos(struct session *s)
{
    static const char *const verbs[] = {"export", "profiles", "check", NULL};
    static int (*const does[])(struct session *) = {export_timeline, profiles, check};
    static const unsigned least[] = {1, 0, 1}, most[] = {1, 1, ARGS_WORDS_MAX};
    struct error err = {0};
    if (!s->args.word) {
        complain(s, "chaos: expected export, profiles or check; usage: iotix-run %s",
                 command_specs[CMD_CHAOS].synopsis);
        return EXIT_USAGE;
    }
    int i = name_choose("command", s->args.word, verbs, &err);
    if (i < 0) {
        complain(s, "chaos: %s", err.text);
        return EXIT_USAGE;
    }
    unsigned n = s->args.n_words - 1;
    if (n < least[i] || n > most[i]) {
        complain(s, "chaos %s: %s; usage: iotix-run %s", verbs[i], n ? "that is one too many" : "expected a file",
                 command_specs[CMD_CHAOS].synopsis);
        return EXIT_USAGE;
    }
    if (does[i] != export_timeline && refuse_others(s, verbs[i], does[i] == profiles))
        return EXIT_USAGE;
    return does[i](s);
}
