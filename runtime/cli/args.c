#include "cli/args.h"

#include <stdio.h>
#include <string.h>

#include "core/units.h"

struct words {
    int argc, at;
    char **argv;
    struct options *options;
    struct args *out;
    bool has_command;
    struct error *err;
};

static int unknown_flag(const char *flag, size_t n, struct error *err)
{
    const char *candidates[OPT_MAX + 1] = {0};
    unsigned count = 0;
    for (int id = 0; id < OPT_MAX; id++)
        if (!(option_specs[id].flags & OPTION_HIDDEN))
            candidates[count++] = option_specs[id].name;
    char word[64];
    snprintf(word, sizeof(word), "%.*s", (int)n, flag);
    const char *near = suggest(word, candidates);
    return error_set(err, ERR_INVALID, "unknown option --%.*s%s%s%s", (int)(n > 80 ? 80 : n), flag,
                     near ? " (did you mean --" : "", near ? near : "", near ? "?)" : "; --help lists them");
}

// The value of an option that needs one: what is attached to it, or the next word.
static const char *take_value(struct words *w, const struct option_spec *spec, const char *as, const char *attached)
{
    if (attached)
        return attached;
    const char *next = w->at < w->argc ? w->argv[w->at] : NULL;
    // "-" alone is a file; "-5" is a wrong number and deserves that message rather than this one.
    if (!next || (next[0] == '-' && next[1] && !(next[1] >= '0' && next[1] <= '9'))) {
        error_set(w->err, ERR_INVALID, "%s needs a value: %s %s%s%s%s", as, as, spec->metavar,
                  spec->choices ? " (" : "", spec->choices ? spec->choices : "", spec->choices ? ")" : "");
        return NULL;
    }
    w->at++;
    return next;
}

static int set_flag(struct words *w, enum option_id id, const char *as, const char *attached)
{
    const struct option_spec *spec = &option_specs[id];
    char from[64];
    snprintf(from, sizeof(from), "flag %s", as);
    const char *value = spec->type == TYPE_BOOL ? (attached ? attached : "true") : take_value(w, spec, as, attached);
    return value ? options_set(w->options, id, value, LAYER_FLAG, from, as, w->err) : -1;
}

static int long_flag(struct words *w, const char *word)
{
    const char *name = word + 2;
    size_t n = strcspn(name, "=");
    int id = memchr(name, '_', n) ? -1 : option_find(name, n);
    if (id < 0)
        return unknown_flag(name, n, w->err);
    char as[64];
    snprintf(as, sizeof(as), "--%s", option_specs[id].name);
    return set_flag(w, (enum option_id)id, as, name[n] ? name + n + 1 : NULL);
}

// -n5, -n 5, -qv
static int short_flags(struct words *w, const char *word)
{
    for (const char *at = word + 1; *at; at++) {
        int id = 0;
        while (id < OPT_MAX && option_specs[id].letter != *at)
            id++;
        if (id == OPT_MAX)
            return error_set(w->err, ERR_INVALID, "unknown option -%c%s%s; --help lists them", *at,
                             at == word + 1 && !at[1] ? "" : " in ", at == word + 1 && !at[1] ? "" : word);
        char as[3] = {'-', *at, '\0'};
        bool boolean = option_specs[id].type == TYPE_BOOL;
        const char *attached = !boolean && at[1] ? at + 1 + (at[1] == '=') : NULL;
        if (set_flag(w, (enum option_id)id, as, attached))
            return -1;
        if (!boolean)
            return 0;
    }
    return 0;
}

static int positional(struct words *w, const char *word)
{
    if (!w->has_command) {
        w->has_command = true;
        int command = command_find(word);
        if (command >= 0) {
            w->out->command = (enum command)command;
            return 0;
        }
        w->out->command = CMD_RUN;
    }
    const struct command_spec *spec = &command_specs[w->out->command];
    if (spec->max_words == 0)
        return error_set(w->err, ERR_INVALID, "unexpected argument \"%s\": `iotix-run %s` takes none", word,
                         spec->name);
    if (w->out->n_words == spec->max_words)
        return error_set(w->err, ERR_INVALID, "unexpected argument \"%s\" behind \"%s\"%s", word, w->out->word,
                         w->out->command == CMD_RUN ? ": arguments of the scenario go behind --" : "");
    if (!w->out->word)
        w->out->word = word;
    w->out->words[w->out->n_words++] = word;
    return 0;
}

static int check_applicable(const struct options *o, enum command command, struct error *err)
{
    for (int id = 0; id < OPT_MAX; id++) {
        if (o->of[id].layer != LAYER_FLAG || option_specs[id].commands & 1u << command)
            continue;
        char where[128] = "";
        for (int c = 0; c < CMD_MAX; c++) {
            size_t n = strlen(where);
            if (option_specs[id].commands & 1u << c)
                snprintf(where + n, sizeof(where) - n, "%s`%s`", n ? ", " : "", command_specs[c].name);
        }
        return error_set(err, ERR_INVALID, "--%s has no effect with `%s`: it is an option of %s", option_specs[id].name,
                         command_specs[command].name, where);
    }
    return 0;
}

int args_parse(int argc, char **argv, struct options *o, struct args *out, struct error *err)
{
    struct words w = {.argc = argc, .at = 1, .argv = argv, .options = o, .out = out, .err = err};
    memset(out, 0, sizeof(*out));
    out->command = CMD_RUN;
    while (w.at < argc) {
        const char *word = argv[w.at++];
        if (strcmp(word, "--") == 0) {
            out->rest = argv + w.at;
            out->n_rest = (unsigned)(argc - w.at);
            break;
        }
        int rc = word[0] == '-' && word[1] == '-' ? long_flag(&w, word)
                 : word[0] == '-' && word[1]      ? short_flags(&w, word)
                                                  : positional(&w, word);
        if (rc)
            return -1;
    }
    if (option_yes(o, OPT_CHECK) && out->command == CMD_RUN)
        out->command = CMD_CHECK;
    if (out->n_rest && !(out->command == CMD_RUN || out->command == CMD_CHECK || out->command == CMD_INSPECT))
        return error_set(err, ERR_INVALID, "unexpected argument \"%s\": `iotix-run %s` has no scenario to pass it to",
                         out->rest[0], command_specs[out->command].name);
    return check_applicable(o, out->command, err);
}
