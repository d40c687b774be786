// A group whose devices have a row of a data file each: enough rows, and no id twice when the ids come from it.
#include <inttypes.h>
#include <stdlib.h>
#include "device/internal.h"
#include "telemetry/dataset.h"

struct id {
    uint64_t hash, row;
};

static int by_hash(const void *a, const void *b)
{
    const struct id *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int same_id(const struct group *g, uint64_t a, uint64_t b, struct error *err)
{
    const struct dataset *data = g->config.data;
    return error_set(err, ERR_INVALID,
                     "id: lines %" PRIu64 " and %" PRIu64 " of %s give two devices the same id; add ${index} to it, or "
                     "take a column that is unique",
                     dataset_line(data, a), dataset_line(data, b), dataset_path(data));
}

static int check_ids(struct group *g, uint64_t count, struct error *err)
{
    struct buf *id = &g->fleet->id;
    struct id *ids = malloc(count * sizeof(*ids));
    if (!ids)
        return error_set(err, ERR_NO_MEMORY, "no memory to compare %" PRIu64 " ids", count);
    int rc = 0;
    for (uint64_t row = 0; row < count && !rc; row++) {
        struct device d = {.group = g, .index = row + 1};
        buf_clear(id);
        if (device_name(&d, id))
            rc = error_set(err, ERR_LIMIT, "the id of device %" PRIu64 " takes more than %d bytes", row + 1,
                           FLEET_MAX_TEXT);
        else if (!id->len)
            rc = error_set(err, ERR_INVALID, "the id of device %" PRIu64 " is empty: line %" PRIu64 " of %s", row + 1,
                           dataset_line(g->config.data, row), dataset_path(g->config.data));
        else
            ids[row] = (struct id){hash_bytes(id->data, id->len, 0), row};
    }
    if (!rc)
        qsort(ids, count, sizeof(*ids), by_hash);
    for (uint64_t i = 1; i < count && !rc; i++) {
        if (ids[i].hash == ids[i - 1].hash)
            rc = same_id(g, ids[i - 1].row, ids[i].row, err);
    }
    free(ids);
    return rc;
}

int group_check_data(struct group *g, uint64_t count, struct error *err)
{
    const struct dataset *data = g->config.data;
    if (!data)
        return 0;
    if (dataset_rows(data) < count)
        return error_set(err, ERR_INVALID, "%s has %" PRIu64 " row%s, too few for %" PRIu64 " devices",
                         dataset_path(data), dataset_rows(data), dataset_rows(data) == 1 ? "" : "s", count);
    return count > 1 && g->ids_from_data ? check_ids(g, count, err) : 0;
}
