// Framed files of several shards as one file in order: (time, group number, device index). A device belongs to one
// shard, so the order of its own records is that of the shard's file.
#pragma once
#include "sink/record_file.h"

struct merge_config {
    const int *from; // framed files, read from their beginning; not closed; the array is copied
    unsigned n;
    int to; // where lines are appended; not closed
    const char *path;
    int64_t until_us; // records of this time and later are left out
};
struct merge;
struct merge *merge_new(const struct merge_config *config, struct error *err);
void merge_delete(struct merge *m);
// Goes on for about max_bytes. 1: there is more, 0: done, everything is written, -1: a file cannot be read or written,
// or a frame is damaged. Gives the disk space of what it has read back as it goes, where the file system can.
int merge_step(struct merge *m, size_t max_bytes, struct error *err) WARN_UNUSED_RESULT;
// Of the lines written.
void merge_stats(const struct merge *m, struct record_file_stats *out);
