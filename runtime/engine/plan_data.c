// Data files of groups: declared by the scenario (which has counted their rows), checked against the counts that the
// overrides left, opened by the shards.
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "engine/plan.h"
#include "engine/plan_data.h"

int plan_parse_data(struct plan_group *g, const json_t *group, struct error *err)
{
    const json_t *data = json_object_get(group, "data"), *header = json_object_get(data, "header");
    const char *format = json_string_value(json_object_get(data, "format"));
    const char *delimiter = json_string_value(json_object_get(data, "delimiter"));
    int64_t rows;
    if (!data || json_is_null(data))
        return 0;
    if (json_get_str(data, "path", NULL, &g->data_path, err) || json_get_int(data, "rows", 0, &rows, err) ||
        dataset_format_parse(format, &g->data_options.format, err))
        return error_prefix(err, "data");
    if (!g->data_path || rows < 1 || (delimiter && strlen(delimiter) != 1))
        return error_set(err, ERR_INVALID, "data: expected a path, its rows and a delimiter of one character");
    g->data_rows = (uint64_t)rows;
    g->data_options.delimiter = delimiter ? *delimiter : '\0';
    if (json_is_boolean(header))
        g->data_options.header = json_is_true(header) ? DATASET_HEADER_YES : DATASET_HEADER_NO;
    return 0;
}

static int at_group(const struct plan *p, const struct plan_group *g, struct error *err)
{
    error_prefix(err, "group \"%.100s\"", g->config.name);
    return g->line > 0 ? error_prefix(err, "%s:%d", p->file, g->line) : error_prefix(err, "%s", p->file);
}

int plan_check_data(const struct plan *plan, struct error *err)
{
    for (unsigned i = 0; i < plan->n_groups; i++) {
        const struct plan_group *g = &plan->groups[i];
        if (!g->data_path || g->data_rows >= g->config.count)
            continue;
        error_set(err, ERR_INVALID, "data: %s has %llu row%s, too few for %llu devices", g->data_path,
                  (unsigned long long)g->data_rows, g->data_rows == 1 ? "" : "s", (unsigned long long)g->config.count);
        return at_group(plan, g, err);
    }
    return 0;
}

int plan_open_data(struct plan *plan, struct error *err)
{
    if (!plan->datasets && !(plan->datasets = datasets_new()))
        return error_set(err, ERR_NO_MEMORY, "data: no memory");
    for (unsigned i = 0; i < plan->n_groups; i++) {
        struct plan_group *g = &plan->groups[i];
        if (!g->data_path || g->data)
            continue;
        g->data = dataset_open(plan->datasets, g->data_path, NULL, 0, &g->data_options, err);
        if (!g->data) {
            error_prefix(err, "data");
            return at_group(plan, g, err);
        }
        g->config.data = g->data;
    }
    return 0;
}

void plan_release_data(struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_groups; i++)
        dataset_release(plan->datasets, plan->groups[i].data);
    datasets_delete(plan->datasets);
}
