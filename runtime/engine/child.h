// What a shard and the director have in common: a loop, the channel to the supervisor, a log that travels through it, a
// metrics registry and the heartbeat. Not for other rooms.
#pragma once
#include "core/loop.h"
#include "engine/heartbeat.h"
#include "engine/message.h"
#include "engine/run.h"

struct child_start { // given to shard_main and director_main, valid in the child (forked memory)
    const struct run_config *run;
    const char *sha256;
    struct heartbeat *heartbeat;
    const struct capture_start *capture; // a shard in virtual time, else NULL
    char name[16];                       // of the process, for ps: "iotix-shard-2", "iotix-director"
};
int shard_main(void *child_start, int channel);
int director_main(void *child_start, int channel);

struct child {
    const struct child_start *start;
    struct loop *loop;
    struct channel *channel;
    struct log *log;
    struct metrics *metrics;
    struct scenario *scenario;
    struct loop_hook hook; // counts turns
    uint64_t lines_lost;   // log lines dropped because the supervisor did not read
    int status;            // exit status
    // Every message but PING. message: parsed, borrowed; NULL when the payload is empty.
    void (*on_message)(struct child *c, enum message_type type, const json_t *message);
    void (*on_bytes)(struct child *c, const uint8_t *bytes, size_t n); // MSG_SENT; NULL: it gets none
};
int child_create(struct child *c, const struct child_start *start, int channel, struct error *err) WARN_UNUSED_RESULT;
void child_destroy(struct child *c);
// Opens and loads the scenario; diagnostics are on their way when it fails (NULL).
json_t *child_load(struct child *c, bool director);
// A diagnostic of the engine's own: about the scenario as a whole.
void child_diagnose(struct child *c, const char *code, int exit_code, const char *text);
void child_send(struct child *c, enum message_type type, json_t *stolen);
void child_send_snapshot(struct child *c);
// DONE, everything written, the loop ends.
// captured: of a run in virtual time (capture_report, stolen), else NULL. sinks: sinks_report, stolen; NULL: none.
void child_done(struct child *c, int64_t undelivered, json_t *captured, json_t *sinks);
