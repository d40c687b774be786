// The experiments of a run in its summary: what acted, when, on how many devices.
#include <stdio.h>
#include <string.h>

#include "cli/text.h"
#include "cli/view.h"
#include "core/units.h"

#define SHOWN 8        // compact form; failed ones are always shown
#define NAME_COLUMN 32 // longer names are cut

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void times(struct line *l, const json_t *e)
{
    char from[32], to[32];
    const json_t *windows = json_object_get(e, "windows"),
                 *last = json_array_get(windows, json_array_size(windows) - 1);
    json_int_t runs = json_integer_value(json_object_get(e, "runs"));
    const json_t *ended = json_object_get(last, "ended_us");
    if (!last) {
        line_put(l, YELLOW, "   never began");
        return;
    }
    int64_t began_us = json_integer_value(json_object_get(last, "began_us"));
    if (began_us < 1000)
        snprintf(from, sizeof(from), "0 s");
    else
        duration_format(began_us, from, sizeof(from));
    duration_format(json_integer_value(ended), to, sizeof(to));
    if (runs > 1)
        line_printf(l, DIM, "   %lld times, last %s to %s", (long long)runs, from, json_is_integer(ended) ? to : "?");
    else
        line_printf(l, DIM, "   %s to %s", from, json_is_integer(ended) ? to : "?");
}

static void one(struct line *l, const json_t *e, unsigned width)
{
    char count[32];
    const char *error = text_of(e, "error"), *kind = text_of(e, "kind");
    json_int_t affected = json_integer_value(json_object_get(e, "affected"));
    bool on_devices = strcmp(kind, "broker") != 0 && strcmp(kind, "custom") != 0;
    line_cell(l, *error ? RED : PLAIN, text_of(e, "name"), width, false);
    line_printf(l, PLAIN, "   %s", text_of(e, "what"));
    if (on_devices && json_array_size(json_object_get(e, "windows")))
        line_printf(l, affected ? PLAIN : YELLOW, " · %s device%s",
                    count_format((uint64_t)affected, count, sizeof(count)), affected == 1 ? "" : "s");
    times(l, e);
    line_end(l);
    if (*error) {
        line_put(l, PLAIN, "  ");
        line_cell(l, DIM, "", 12, false);
        line_printf(l, RED, "  %s", error);
        line_end(l);
    }
}

// Of the names that are shown.
static unsigned name_width(const struct run_result *r, bool full)
{
    const json_t *e;
    size_t i, width = 0;
    json_array_foreach(r->experiments, i, e)
    {
        size_t n = strlen(text_of(e, "name"));
        if ((full || i < SHOWN) && n > width)
            width = n;
    }
    return width < NAME_COLUMN ? (unsigned)width : NAME_COLUMN;
}

void summary_chaos(struct line *l, const struct run_result *r, bool full)
{
    const json_t *e;
    size_t i, shown = 0, left = 0;
    unsigned width = name_width(r, full);
    json_array_foreach(r->experiments, i, e)
    {
        if (!full && shown >= SHOWN && !*text_of(e, "error")) {
            left++;
            continue;
        }
        line_put(l, PLAIN, "  ");
        line_cell(l, DIM, shown++ ? "" : "chaos", 12, false);
        one(l, e, width);
    }
    if (left) {
        line_put(l, PLAIN, "  ");
        line_cell(l, DIM, "", 12, false);
        line_printf(l, DIM, "and %zu more (--summary full)", left);
        line_end(l);
    }
}
