#include "cli/virtual.h"

#include <string.h>

#include "core/zone.h"

static int alone(struct session *s)
{
    static const enum option_id ids[] = {OPT_FROM, OPT_FOR, OPT_OUT};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (option_given(&s->options, ids[i])) {
            complain(s, "--%s has no effect without --virtual", option_specs[ids[i]].name);
            return EXIT_USAGE;
        }
    return 0;
}

static int parse_outputs(struct session *s, struct launch_plan *l)
{
    const struct option_value *v = &s->options.of[OPT_OUT];
    struct error err;
    if (v->n > OUTPUTS_MAX) {
        complain(s, "--out: at most %d files", OUTPUTS_MAX);
        return EXIT_USAGE;
    }
    for (unsigned i = 0; i < v->n; i++) {
        if (output_parse(v->items[i], &l->outputs[i], &err)) {
            complain(s, "--out: %s", err.text);
            return EXIT_USAGE;
        }
        for (unsigned k = 0; k < i; k++)
            if (strcmp(l->outputs[i].path, l->outputs[k].path) == 0) {
                complain(s, "--out: %s is given twice",
                         output_is_stdout(&l->outputs[i]) ? "stdout" : l->outputs[i].path);
                return EXIT_USAGE;
            }
        const char *json = option_text(&s->options, OPT_SUMMARY_JSON);
        if (output_is_stdout(&l->outputs[i]) && json && strcmp(json, "-") == 0) {
            complain(s, "--out %s and --summary-json - cannot both be stdout", v->items[i]);
            return EXIT_USAGE;
        }
    }
    l->n_outputs = v->n;
    return 0;
}

int virtual_resolve(struct session *s, struct launch_plan *l)
{
    const char *from = option_text(&s->options, OPT_FROM);
    struct error err;
    if (!option_yes(&s->options, OPT_VIRTUAL))
        return alone(s);
    if (!option_given(&s->options, OPT_OUT) && s->args.command == CMD_RUN && !option_yes(&s->options, OPT_HELP)) {
        complain(s,
                 "--virtual needs --out FORMAT=FILE, such as --out ndjson=data.ndjson; formats: ndjson, csv, influx");
        return EXIT_USAGE;
    }
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
                                                  .from_us = l->from_us,
                                                  .outputs = l->outputs,
                                                  .n_outputs = l->n_outputs};
}
