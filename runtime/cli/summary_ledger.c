// The delivery ledger in one line: "ledger  17,412,338 sent · 37 lost · 2 duplicated", and who lost most.
#include <jansson.h>

#include "cli/view.h"
#include "core/units.h"

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void part(struct line *l, enum tint tint, const json_t *o, const char *key, const char *what)
{
    char text[32];
    uint64_t n = number(o, key);
    if (n)
        line_printf(l, tint, " · %s %s", count_format(n, text, sizeof(text)), what);
}

static void worst(struct line *l, const json_t *list)
{
    const json_t *one;
    char text[32];
    size_t i;
    if (!json_array_size(list))
        return;
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, "", 12, false);
    line_put(l, PLAIN, "most of ");
    json_array_foreach(list, i, one)
    {
        const char *group = json_string_value(json_object_get(one, "group"));
        line_printf(l, PLAIN, "%s%s %llu", i ? ", " : "", group ? group : "?",
                    (unsigned long long)number(one, "device"));
        line_printf(l, RED, " (%s)", count_format(number(one, "lost"), text, sizeof(text)));
    }
    line_end(l);
}

void summary_ledger(struct line *l, const struct run_result *r)
{
    const json_t *o = r->ledger;
    char text[32];
    if (!o)
        return;
    line_put(l, PLAIN, "  ");
    line_cell(l, DIM, "ledger", 12, false);
    line_printf(l, PLAIN, "%s sent", count_format(number(o, "sent"), text, sizeof(text)));
    if (number(o, "sent") && number(o, "received") == number(o, "sent"))
        line_put(l, GREEN, " · all arrived");
    part(l, RED, o, "lost", "lost");
    part(l, YELLOW, o, "unknown", "unknown: the ledger was not connected");
    part(l, YELLOW, o, "duplicated", "duplicated");
    part(l, YELLOW, o, "reordered", "reordered");
    part(l, YELLOW, o, "late", "late");
    if (number(o, "lostShards"))
        line_printf(l, YELLOW, " · what %llu lost shard%s sent last is not known",
                    (unsigned long long)number(o, "lostShards"), number(o, "lostShards") == 1 ? "" : "s");
    line_end(l);
    worst(l, json_object_get(o, "worst"));
}
