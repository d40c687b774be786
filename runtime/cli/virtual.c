#include "cli/virtual.h"

#include <string.h>

#include "core/zone.h"
#include "sink/sink.h"

static int alone(struct session *s)
{
    static const enum option_id ids[] = {OPT_FROM, OPT_FOR};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (option_given(&s->options, ids[i])) {
            complain(s, "--%s has no effect without --virtual", option_specs[ids[i]].name);
            return EXIT_USAGE;
        }
    return 0;
}

// Those of --sink that are files are looked at before anything runs; the engine checks the rest.
static int parse_outputs(struct session *s, struct launch_plan *l)
{
    const struct option_value *v = &s->options.of[OPT_SINK];
    const char *json = option_text(&s->options, OPT_SUMMARY_JSON);
    struct error err;
    if (v->n > OUTPUTS_MAX) {
        complain(s, "--sink: at most %d of them", OUTPUTS_MAX);
        return EXIT_USAGE;
    }
    for (unsigned i = 0; i < v->n; i++) {
        struct output *o = &l->outputs[l->n_outputs];
        json_t *entry = sink_entry(v->items[i], &err);
        if (!entry) {
            complain(s, "--sink: %s", err.text);
            return EXIT_USAGE;
        }
        bool file = output_of_type(json_string_value(json_object_get(entry, "type")), &o->format);
        json_decref(entry);
        if (!file)
            continue;
        o->path = strchr(v->items[i], '=') + 1;
        l->n_outputs++;
        if (!output_is_stdout(o))
            continue;
        if (!option_yes(&s->options, OPT_VIRTUAL)) {
            complain(s, "--sink %s: stdout is for --virtual, where one process writes it: give it a file", v->items[i]);
            return EXIT_USAGE;
        }
        if (json && strcmp(json, "-") == 0) {
            complain(s, "--sink %s and --summary-json - cannot both be stdout", v->items[i]);
            return EXIT_USAGE;
        }
    }
    return 0;
}

int virtual_resolve(struct session *s, struct launch_plan *l)
{
    const char *from = option_text(&s->options, OPT_FROM);
    struct error err;
    l->n_outputs = 0;
    if (!option_yes(&s->options, OPT_VIRTUAL))
        return alone(s) ? EXIT_USAGE : parse_outputs(s, l);
    if (from && zone_parse_time(NULL, from, &l->from_us, &err)) {
        complain(s, "--from: %s", err.text);
        return EXIT_USAGE;
    }
    if (option_given(&s->options, OPT_FOR) && s->options.of[OPT_FOR].us <= 0) {
        complain(s, "--for: expected a duration above 0, such as 7d");
        return EXIT_USAGE;
    }
    return parse_outputs(s, l);
}

void virtual_configure(const struct session *s, struct launch_plan *l)
{
    l->config.virtual_time = (struct run_virtual){.on = option_yes(&s->options, OPT_VIRTUAL),
                                                  .has_from = option_given(&s->options, OPT_FROM),
                                                  .from_us = l->from_us};
}
