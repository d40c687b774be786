// model check | show | list: device models apart from any scenario. All the work is the model tool's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/launch.h"
#include "cli/view.h"
#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"

#define MODEL_BYTES (4u << 20)

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int number_of(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static bool as_json(const struct session *s)
{
    return option_yes(&s->options, OPT_JSON) ||
           (option_given(&s->options, OPT_FORMAT) && s->options.of[OPT_FORMAT].count == 1);
}

// One problem on stderr, in the form of a compiler, with the line of the file under it.
static void tell(const struct session *s, const json_t *problem)
{
    struct diagnostic d = {.line = number_of(problem, "line"), .col = number_of(problem, "column"), .exit_code = 104};
    const char *pointer = text_of(problem, "pointer");
    snprintf(d.code, sizeof(d.code), "%s", strcmp(text_of(problem, "rule"), "json") == 0 ? "IOTX021" : "IOTX022");
    snprintf(d.file, sizeof(d.file), "%s", text_of(problem, "file"));
    snprintf(d.message, sizeof(d.message), "%s%s%s", pointer, *pointer ? ": " : "", text_of(problem, "message"));
    snprintf(d.hint, sizeof(d.hint), "%s", text_of(problem, "hint"));
    struct buf text, out;
    struct error err;
    buf_create(&text, MODEL_BYTES);
    buf_create(&out, 65536);
    bool read = file_read(d.file, MODEL_BYTES, &text, &err) == 0;
    if (diagnostic_render(&out, &s->terminal.err, &d, read ? (const char *)text.data : NULL, text.len) == 0)
        (void)!write(STDERR_FILENO, out.data, out.len);
    buf_destroy(&text);
    buf_destroy(&out);
}

static int tell_all(const struct session *s, const json_t *problems)
{
    size_t i;
    const json_t *problem;
    json_array_foreach(problems, i, problem) tell(s, problem);
    return json_array_size(problems) ? EXIT_SCENARIO : 0;
}

static int print_line(const struct session *s, const char *name, const json_t *document)
{
    struct buf b;
    struct line l;
    struct style whole = s->terminal.out;
    whole.width = 0;
    buf_create(&b, 65536);
    line_begin(&l, &b, &whole);
    line_put(&l, PLAIN, name);
    line_put(&l, GREEN, ": ok");
    const char *version = text_of(document, "version");
    line_printf(&l, PLAIN, "   %s %s, %s", text_of(document, "id"), *version ? version : "1.0.0",
                text_of(document, "type"));
    line_end(&l);
    int rc = l.failed ? EXIT_MACHINE : print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}

// --- check --------------------------------------------------------------------------------------------------------

static int check_one(const struct session *s, struct model_tool *tool, const char *name, json_t *all)
{
    struct error err = {0};
    json_t *document = NULL;
    json_t *problems = s->env->models->check(tool, name, NULL, 0, &document, &err);
    int rc = !problems ? EXIT_USAGE : json_array_size(problems) ? EXIT_SCENARIO : 0;
    if (all) {
        json_t *entry = json_pack("{so sb}", "file", json_text_of(name), "ok", rc == 0);
        if (document) {
            json_object_set(entry, "id", json_object_get(document, "id"));
            const json_t *version = json_object_get(document, "version");
            json_object_set_new(entry, "version", json_string(version ? json_string_value(version) : "1.0.0"));
        }
        if (!problems)
            problems = json_pack("[{so si si ss ss so}]", "file", json_text_of(name), "line", 0, "column", 0, "pointer",
                                 "", "rule", "file", "message", json_text_of(err.text));
        json_object_set(entry, "problems", problems);
        json_array_append_new(all, entry);
    } else if (!problems) {
        complain(s, "%s", err.text);
    } else {
        int told = tell_all(s, problems);
        rc = told ? told : print_line(s, name, document);
    }
    json_decref(problems);
    json_decref(document);
    return rc;
}

// What is wrong with a model beats what could not be read at all.
static int worse(int a, int b)
{
    return a == EXIT_SCENARIO || b == EXIT_SCENARIO ? EXIT_SCENARIO : a ? a : b;
}

static int check(const struct session *s, struct model_tool *tool)
{
    json_t *all = as_json(s) ? json_array() : NULL;
    int rc = 0;
    for (unsigned i = 1; i < s->args.n_words; i++)
        rc = worse(rc, check_one(s, tool, s->args.words[i], all));
    if (all) {
        int printed = launch_print_json(s, json_pack("{si so}", "schema", 1, "models", all));
        rc = rc ? rc : printed;
    }
    return rc;
}

// --- show ---------------------------------------------------------------------------------------------------------

static int indent(struct buf *out, unsigned depth)
{
    return buf_printf(out, "\n%*s", (int)(2 * depth), "");
}

static int write_real(struct buf *out, double v)
{
    char text[32];
    for (int digits = 15; digits <= 17; digits++) { // as short as it can be without becoming another number
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    return buf_append_str(out, text);
}

// Depth is bounded by what was parsed.
static int write_pretty(struct buf *out, const json_t *v, unsigned depth)
{
    const char *key;
    json_t *item;
    int rc = 0;
    size_t i, n = 0;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        rc = buf_append_char(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            rc |= (n++ ? buf_append_char(out, ',') : 0) | indent(out, depth + 1);
            rc |= buf_append_json_string(out, key, strlen(key)) | buf_append_str(out, ": ");
            rc |= write_pretty(out, item, depth + 1);
        }
        return rc | (n ? indent(out, depth) : 0) | buf_append_char(out, '}');
    case JSON_ARRAY:
        rc = buf_append_char(out, '[');
        json_array_foreach(v, i, item)
        {
            bool line = json_is_object(item) || json_is_array(item);
            rc |= (i ? buf_append_char(out, ',') : 0) | (line ? indent(out, depth + 1)
                                                         : i  ? buf_append_char(out, ' ')
                                                              : 0);
            rc |= write_pretty(out, item, depth + 1);
            n += line;
        }
        return rc | (n ? indent(out, depth) : 0) | buf_append_char(out, ']');
    case JSON_STRING:
        return buf_append_json_string(out, json_string_value(v), json_string_length(v));
    case JSON_INTEGER:
        return buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_REAL:
        return write_real(out, json_real_value(v));
    default:
        return buf_append_str(out, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "null");
    }
}

static int show(const struct session *s, struct model_tool *tool)
{
    struct error err = {0};
    json_t *document = NULL;
    json_t *problems = s->env->models->check(tool, s->args.words[1], NULL, 0, &document, &err);
    int rc = problems ? tell_all(s, problems) : EXIT_USAGE;
    if (!problems)
        complain(s, "%s", err.text);
    if (rc == 0) {
        struct buf out;
        buf_create(&out, 64u << 20);
        rc = write_pretty(&out, document, 0) | buf_append_char(&out, '\n') ? EXIT_MACHINE
                                                                           : print_result(s, out.data, out.len);
        buf_destroy(&out);
    }
    json_decref(problems);
    json_decref(document);
    return rc;
}

// --- list ---------------------------------------------------------------------------------------------------------

static int list_text(const struct session *s, const json_t *list)
{
    struct buf b;
    struct style whole = s->terminal.out;
    whole.width = 0;
    buf_create(&b, 4u << 20);
    size_t i;
    const json_t *entry;
    int failed = 0;
    json_array_foreach(list, i, entry)
    {
        struct line l;
        line_begin(&l, &b, &whole);
        if (*text_of(entry, "problem")) {
            line_printf(&l, RED, "%s: %s", text_of(entry, "path"), text_of(entry, "problem"));
        } else {
            const char *type = text_of(entry, "type"), *base = text_of(entry, "extends");
            line_printf(&l, BOLD, "%-28s", text_of(entry, "id"));
            line_printf(&l, PLAIN, " %-8s %-10s %s", text_of(entry, "version"), type, text_of(entry, "path"));
            if (*base)
                line_printf(&l, DIM, "  extends %s", base);
        }
        line_end(&l);
        failed |= l.failed;
    }
    int rc = failed ? EXIT_MACHINE : print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}

static int list(const struct session *s, struct model_tool *tool)
{
    struct error err = {0};
    json_t *all = s->env->models->list(tool, &err);
    if (!all) {
        complain(s, "%s", err.text);
        return EXIT_MACHINE;
    }
    if (as_json(s))
        return launch_print_json(s, json_pack("{si so}", "schema", 1, "models", all));
    int rc = list_text(s, all);
    json_decref(all);
    return rc;
}

// ------------------------------------------------------------------------------------------------------------------

int command_model(struct session *s)
{
    static const char *const verbs[] = {"check", "show", "list", NULL};
    static int (*const does[])(const struct session *, struct model_tool *) = {check, show, list};
    static const unsigned least[] = {1, 1, 0}, most[] = {ARGS_WORDS_MAX, 1, 0};
    const char *verb = s->args.word ? s->args.word : "";
    unsigned i = 0;
    while (verbs[i] && strcmp(verbs[i], verb) != 0)
        i++;
    if (!verbs[i]) {
        const char *near = *verb ? suggest(verb, verbs) : NULL;
        complain(s, "model: expected check, show or list%s%s%s%s%s", *verb ? ", got " : "", verb,
                 near ? " (did you mean `" : "", near ? near : "", near ? "`?)" : "");
        return EXIT_USAGE;
    }
    unsigned n = s->args.n_words - 1;
    if (n < least[i] || n > most[i]) {
        complain(s, "model %s: %s; usage: iotix-run %s", verb, n ? "that is one too many" : "expected a model",
                 command_specs[CMD_MODEL].synopsis);
        return EXIT_USAGE;
    }
    if (!s->env->models) {
        complain(s, "model: this build has no model tool");
        return EXIT_MACHINE;
    }
    const struct option_value *dirs = &s->options.of[OPT_MODEL_DIR];
    struct model_tool_config config = {.dirs = (const char *const *)dirs->items, .n_dirs = dirs->n};
    struct error err = {0};
    struct model_tool *tool = s->env->models->open(&config, &err);
    if (!tool) {
        complain(s, "%s", err.text);
        return EXIT_MACHINE;
    }
    int rc = does[i](s, tool);
    s->env->models->close(tool);
    return rc;
}
