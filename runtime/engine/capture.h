// A shard in virtual time: what its devices publish, as records into the files that the supervisor opened. Not for
// other rooms.
#pragma once
#include <jansson.h>
#include "adapter/adapter.h"
#include "sink/output.h"
#include "sink/record_file.h"

#define VIRTUAL_POLL_US 4000 // of real time, between two looks at the supervisor

struct capture_start { // made by the supervisor before the fork
    int64_t from_us;   // wall time at loop time 0
    int64_t for_us;    // length of the run
    bool framed;       // one shard of several
    unsigned n;
    const struct output *outputs;
    int fds[OUTPUTS_MAX]; // this shard's
};

struct capture;
struct loop;
struct capture *capture_new(const struct capture_start *start, struct loop *loop, struct error *err);
void capture_delete(struct capture *c);
// For adapter_env. Owners of connections must be devices.
const struct adapter_capture *capture_hook(const struct capture *c);
// Loop time of the end is set: fn(arg) then, or as soon as an output cannot be written.
void capture_begin(struct capture *c, void (*fn)(void *arg), void *arg);
// Nothing is taken any more, and everything before the present time is written. A stop from outside may cut an instant
// in the middle: its records are dropped, so that what is written is what a longer run begins with.
void capture_end(struct capture *c);
// {"reached_us", "outputs": [[records, skipped, bytes], …], "error": text or null, "code": errno-like exit code}
json_t *capture_report(const struct capture *c);
// The run fails for a reason of the shard's own.
void capture_fail(struct capture *c, int exit_code, const struct error *why);
