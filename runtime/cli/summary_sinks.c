// One line a sink: "kafka  17,412,338 accepted · all delivered", or what became of the others.
#include <stdio.h>

#include "cli/view.h"
#include "core/units.h"

static void part(struct line *l, enum tint tint, uint64_t n, const char *what)
{
    char text[32];
    if (n)
        line_printf(l, tint, " · %s %s", count_format(n, text, sizeof(text)), what);
}

static void drops(struct line *l, const struct run_sink *s)
{
    char text[32];
    if (!s->dropped)
        return;
    line_printf(l, RED, " · %s dropped (", count_format(s->dropped, text, sizeof(text)));
    for (unsigned i = 0; i < s->n_reasons; i++)
        line_printf(l, RED, "%s%s %s", i ? ", " : "", count_format(s->reasons[i].n, text, sizeof(text)),
                    s->reasons[i].reason);
    line_put(l, RED, ")");
}

static void one(struct line *l, const struct run_sink *s)
{
    char text[32];
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, s->name, 12, false);
    if (!s->accepted) {
        line_put(l, PLAIN, "nothing accepted");
    } else {
        line_printf(l, PLAIN, "%s accepted", count_format(s->accepted, text, sizeof(text)));
        if (s->delivered == s->accepted)
            line_put(l, GREEN, " · all delivered");
        else if (s->delivered)
            part(l, PLAIN, s->delivered, "delivered");
        else
            line_put(l, RED, " · none delivered");
    }
    part(l, YELLOW, s->spilled, "on disk");
    drops(l, s);
    part(l, YELLOW, s->skipped, "skipped");
    part(l, RED, s->refused, "refused before they were published");
    line_end(l);
}

void summary_sinks(struct line *l, const struct run_result *r)
{
    for (unsigned i = 0; i < r->n_sinks; i++) {
        const struct run_sink *s = &r->sinks[i];
        one(l, s);
        if (*s->left) {
            line_put(l, PLAIN, "  ");
            line_cell(l, DIM, "", 12, false);
            line_printf(l, YELLOW, "what was not delivered lies in %s", s->left);
            line_end(l);
        }
        if (*s->trouble && s->delivered != s->accepted) {
            line_put(l, PLAIN, "  ");
            line_cell(l, DIM, "", 12, false);
            line_printf(l, RED, "%s", s->trouble);
            line_end(l);
        }
    }
}
