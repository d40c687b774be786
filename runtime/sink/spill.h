// What a sink cannot keep in memory while its server is away: records in files, read back in the order in which they
// were written.
//
//     DIR/NAME-RUN-SHARD-NUMBER.spill: "iotixsp1", then for each entry u32 length of the bytes, u32 CRC-32C of (length,
//     count, bytes), u32 count of records in it, u32 state (0: to be delivered, 1: done), bytes; little endian
//
// A segment takes 16 MB and is removed once all of its entries are done. The state of an entry is written in place when
// it is done, so that whoever takes the files up after a crash delivers nothing twice that was known to be delivered. A
// tail that a crash tore is cut off there. Files are fsynced by a thread of the spill's own, a second after they were
// written at the latest.
#pragma once
#include "core/buf.h"
#include "core/loop.h"

#define SPILL_SEGMENT_BYTES (16u << 20)
#define SPILL_MAX_BYTES ((uint64_t)1 << 30)
#define SPILL_ENTRY_MAX (9u << 20) // bytes of one entry

struct spill_config {
    struct loop *loop;
    const char *dir, *name, *run_id; // name: of the sink; copied
    unsigned shard;
    bool adopt;             // take up what a lost process of that run and shard has left
    uint64_t max_bytes;     // of all segments; 0: SPILL_MAX_BYTES
    uint32_t segment_bytes; // 0: SPILL_SEGMENT_BYTES
};
struct spill;

// Where an entry lies, until it is done.
struct spill_at {
    uint32_t segment;
    uint32_t offset;
};

// Nothing is made on disk before the first entry, but the directory is checked: NULL (err) when it cannot be written or
// made, or is none.
struct spill *spill_new(const struct spill_config *config, struct error *err);
// Segments with entries that are not done stay on disk.
void spill_delete(struct spill *s);

// An entry behind all others. -1: ERR_LIMIT: the cap, or more than SPILL_ENTRY_MAX bytes; ERR_IO: the disk is full
// (spill_disk_full), or failed. Nothing of it is left then, and it may be tried again later.
int spill_append(struct spill *s, const void *bytes, size_t n, uint32_t count, struct error *err) WARN_UNUSED_RESULT;
// The next entry that was not read yet: its bytes into out (cleared first). 1, or 0: there is none. What cannot be read
// is skipped and counted as damaged. An entry stays on disk, and counted, until it is done.
int spill_read(struct spill *s, struct buf *out, uint32_t *count, struct spill_at *at);
// It is delivered (or dropped): off the disk.
void spill_done(struct spill *s, struct spill_at at);
// What was read and is not done will be read again.
void spill_rewind(struct spill *s);
// Everything to disk, and waits for it: at most a second or so. -1: an fsync has failed at some time.
int spill_sync(struct spill *s, struct error *err);

uint64_t spill_records(const struct spill *s); // not done, read or not
uint64_t spill_bytes(const struct spill *s);   // on disk
bool spill_unread(const struct spill *s);      // there is something to read
bool spill_full(const struct spill *s);        // at its cap
bool spill_disk_full(const struct spill *s);   // the last append failed for that
uint64_t spill_take_damaged(struct spill *s);  // records that were lost with damaged entries, since it was last asked
const char *spill_path(const struct spill *s); // "DIR/NAME-RUN-SHARD-*.spill" while there is something, else ""

// Segments of other runs in that directory, of a sink of that name.
struct spill_leftovers {
    unsigned files;
    uint64_t bytes;
    char example[300]; // the path of one
};
void spill_look(const char *dir, const char *name, const char *run_id, struct spill_leftovers *out);

// Walks over the bytes of a segment, header included: fn for each whole entry (offset: of the entry). Returns the
// length of what is well-formed: less than n where the tail is torn. 0: not a segment.
size_t spill_scan(const uint8_t *bytes, size_t n,
                  void (*fn)(void *arg, uint32_t offset, const uint8_t *entry, uint32_t len, uint32_t count, bool done),
                  void *arg);
