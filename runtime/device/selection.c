#include "device/selection.h"

#include <math.h>
#include <stdlib.h>

#include "device/internal.h"

enum { COUNT_MAX = 1000000000 };

static int check_devices(const json_t *list, uint64_t count, struct error *err)
{
    if (!json_is_array(list))
        return error_set(err, ERR_INVALID, "devices: expected a list of indices such as [1, 2, 3]");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        double index = json_number_value(v);
        if (!json_is_number(v) || index != floor(index) || index < 1 || index > (double)count)
            return error_set(err, ERR_INVALID, "devices: expected indices from 1 to %llu", (unsigned long long)count);
    }
    return 0;
}

int selection_check(const json_t *object, uint64_t all, struct error *err)
{
    const json_t *devices = json_object_get(object, "devices"), *count = json_object_get(object, "count"),
                 *percentage = json_object_get(object, "percentage");
    double n = json_number_value(count), p = json_number_value(percentage);
    if ((devices != NULL) + (count != NULL) + (percentage != NULL) > 1)
        return error_set(err, ERR_INVALID, "give one of devices, count and percentage; none means all devices");
    if (devices && check_devices(devices, all, err))
        return -1;
    if (count && (!json_is_number(count) || n < 1 || n > COUNT_MAX || n != floor(n)))
        return error_set(err, ERR_INVALID, "count: expected a whole number of devices, 1 or more");
    if (percentage && (!json_is_number(percentage) || !(p > 0 && p <= 100)))
        return error_set(err, ERR_INVALID, "percentage: expected a number above 0 and at most 100");
    return 0;
}

static uint64_t reach_of(const struct selection *s, uint64_t count)
{
    double share = round((double)count * s->percentage / 100);
    uint64_t n = s->wanted ? s->wanted : s->percentage > 0 ? (uint64_t)share : count;
    return n < count ? n : count;
}

static int by_index(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int take_devices(struct selection *s, const json_t *list, struct error *err)
{
    size_t n = json_array_size(list);
    s->indices = malloc((n ? n : 1) * sizeof(*s->indices));
    if (!s->indices)
        return error_set(err, ERR_NO_MEMORY, "no memory for a selection of %zu devices", n);
    for (size_t i = 0; i < n; i++)
        s->indices[i] = (uint64_t)json_number_value(json_array_get(list, i));
    qsort(s->indices, n, sizeof(*s->indices), by_index);
    for (size_t i = 0; i < n; i++) // each once
        if (!s->n_indices || s->indices[i] != s->indices[s->n_indices - 1])
            s->indices[s->n_indices++] = s->indices[i];
    return 0;
}

int selection_create(struct selection *s, const struct group *g, const json_t *object, struct error *err)
{
    const json_t *devices = json_object_get(object, "devices");
    *s = (struct selection){.count = g->config.count,
                            .wanted = (uint64_t)json_number_value(json_object_get(object, "count")),
                            .percentage = json_number_value(json_object_get(object, "percentage"))};
    s->reach = reach_of(s, s->count);
    choice_create(&s->choice, g->fleet->config.seed, g->config.name, 0, s->count);
    return devices ? take_devices(s, devices, err) : 0;
}

void selection_destroy(struct selection *s)
{
    free(s->indices);
    s->indices = NULL;
    s->n_indices = 0;
}

uint64_t selection_place(const struct selection *s, uint64_t index)
{
    const uint64_t *at = bsearch(&index, s->indices, s->n_indices, sizeof(*s->indices), by_index);
    return at ? (uint64_t)(at - s->indices) : UINT64_MAX;
}

bool selection_has(const struct selection *s, uint64_t index)
{
    if (s->indices)
        return selection_place(s, index) != UINT64_MAX;
    if (index < 1 || index > s->count)
        return false;
    return s->reach == s->count || choice_rank(&s->choice, index - 1) < s->reach;
}

bool selection_takes(const struct selection *s, const struct group *g, uint64_t index, uint64_t count)
{
    if (s->indices || index <= s->count)
        return selection_has(s, index);
    if (s->wanted) // those that were there came first
        return s->wanted > s->count && index <= s->wanted;
    if (!(s->percentage > 0))
        return true;
    struct choice choice;
    choice_create(&choice, g->fleet->config.seed, g->config.name, 0, count);
    return choice_rank(&choice, index - 1) < reach_of(s, count);
}
