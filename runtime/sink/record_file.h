// A file of records in order: (time, group number, device index, order of publishing). Records come in order of time;
// those of one instant are put in order before they are written.
//
// The file of one shard of several holds frames instead of bare lines, which merge.h puts together.
#pragma once
#include "sink/record.h"

#define RECORD_INSTANT_MAX (1u << 30) // bytes of the records of one instant; beyond: ERR_LIMIT

struct record_file_config {
    int fd;           // not closed
    const char *path; // for messages; borrowed
    enum record_format format;
    bool framed;
};

struct record_file_stats {
    uint64_t records, skipped; // skipped: the format has no line for them
    uint64_t bytes;            // of lines
};

// In front of every line of a framed file, in host order: the file lives as long as the run and on this machine only.
struct record_file_frame {
    int64_t wall_us;
    uint64_t index;
    uint32_t group;
    uint32_t len;
};

struct record_file;
struct record_file *record_file_new(const struct record_file_config *config, struct error *err);
// What was not flushed is lost.
void record_file_delete(struct record_file *w);
// -1: a line that is too long (ERR_LIMIT), no memory, or the file cannot be written (ERR_IO: disk full, …). After an
// error the file takes nothing any more; what had been written stays.
int record_file_add(struct record_file *w, const struct record *record, struct error *err) WARN_UNUSED_RESULT;
// Everything that was added into the file; `until_us`: but for the records of that time and later ones (an instant that
// was cut off by a stop).
int record_file_flush(struct record_file *w, int64_t until_us, struct error *err) WARN_UNUSED_RESULT;
void record_file_stats(const struct record_file *w, struct record_file_stats *out);
