// A device's message as a record. Not for other rooms.
#pragma once
#include "device/device.h"
#include "sink/record.h"

struct record_maker {
    struct buf name;
    const struct group *group; // the last one, and what is known of it
    const struct model *model; // its model then: it may get another one
    size_t group_len, model_len;
    bool binary, influx;
};
void record_maker_create(struct record_maker *m);
void record_maker_destroy(struct record_maker *m);
// Texts are those of the message, of the group and of the maker: until the next call. -1: the id is too long.
int record_make(struct record_maker *maker, const struct device *d, const struct adapter_message *m, int64_t wall_us,
                struct record *out, struct error *err) WARN_UNUSED_RESULT;
