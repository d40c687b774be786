// InfluxDB 1.x, 2.x and 3.x, by their HTTP write API (docs/reference/sinks.md). What its files share; not for other
// rooms.
//
// Records become lines at once, with the time of their acceptance, so that a batch that is written twice says the same
// twice: that changes nothing in InfluxDB. Lines go into the open batch, which is compressed as it grows; a batch that
// is full or a second old waits its turn in memory or, when that is scarce, on disk (spill.h).
#pragma once
#include <curl/curl.h>
#include <stdbool.h>
#include "adapter/curl_loop.h"
#include "core/rng.h"
#include "sink/ledger.h"
#include "sink/sink.h"
#include "sink/spill.h"

#define INFLUX_POSTS_MAX 8u
#define INFLUX_BODY_MAX (16u << 20)   // bytes of a batch before it is compressed: more ends it
#define INFLUX_LINES_BYTES (4u << 20) // a batch above it is full, whatever its number of lines
#define INFLUX_REPLY_MAX (64u << 10)

// --- influx_options.c: checked options as they are used; texts point into the JSON
struct influx_options {
    const char *url;               // "http://host:8086", no slash at its end
    unsigned api;                  // 1 or 2
    const char *database, *policy; // 1: retention policy, "" for the database's default
    const char *org, *bucket;      // 2
    const char *token, *token_ref, *username, *password, *password_ref;
    bool create, gzip, events;
    int64_t retention_us; // of what is created; 0: for ever
    uint32_t batch, connections, memory;
    int64_t flush_us, timeout_us, stats_us;
    const char *spill; // directory, NULL: none
    uint64_t spill_max;
    bool block; // full: "block"
    const char *measurement;
    const json_t *tags; // NULL: none
    const char *ca, *cert, *key;
    bool verify;
};
json_t *influx_parse(const char *target, const json_t *options, struct error *err);
// What influx_parse has made.
void influx_read_options(const json_t *options, struct influx_options *out);

// --- influx_line.c: records as lines. 1: appended, 0: there is no line for it, -1: it does not fit
struct influx_lines {
    const char *measurement;
    struct buf tags; // ",k=v…" for all
    char run_id[40];
    unsigned shard;
    int64_t instant_us; // of the last one, and how many there were in it: no two are of one nanosecond
    unsigned in_instant;
};
int influx_lines_create(struct influx_lines *l, const char *measurement, const json_t *tags, const char *run_id,
                        unsigned shard, struct error *err) WARN_UNUSED_RESULT;
void influx_lines_destroy(struct influx_lines *l);
// *n: lines; more than one only where the payload is line protocol.
int influx_write_telemetry(struct influx_lines *l, const struct record *r, struct buf *out, uint32_t *n);
int influx_write_event(struct influx_lines *l, const struct sink_event *e, struct buf *out);
// Of "online" and "offline" only.
int influx_write_connection(struct influx_lines *l, const struct sink_event *e, struct buf *out);
int influx_write_figures(struct influx_lines *l, const struct metrics *m, int64_t wall_us, struct buf *out);

// --- influx_batch.c
struct influx_batch {
    struct influx_batch *next;
    struct buf body; // compressed, or not
    uint32_t lines;
    bool gzip;
    bool on_disk; // at `at`, and in the ledger as spilled
    struct spill_at at;
};
struct influx_packer; // makes batches
struct influx_packer *influx_packer_new(bool gzip, struct error *err);
void influx_packer_delete(struct influx_packer *p);
// Lines behind what there is. -1: no memory, nothing was added.
int influx_pack(struct influx_packer *p, const void *lines, size_t bytes, uint32_t n);
uint32_t influx_packed_lines(const struct influx_packer *p);
uint32_t influx_packed_bytes(const struct influx_packer *p); // uncompressed
size_t influx_packed_memory(const struct influx_packer *p);
struct influx_batch *
influx_pack_end(struct influx_packer *p); // NULL: nothing there, or no memory (lines are lost then)
void influx_batch_delete(struct influx_batch *b);
size_t influx_batch_memory(const struct influx_batch *b);
// The lines themselves into out. -1: damaged.
int influx_unpack(const struct influx_batch *b, struct buf *out) WARN_UNUSED_RESULT;
// An entry of the spill, and back (NULL: no memory, or no batch).
int influx_batch_store(const struct influx_batch *b, struct buf *out) WARN_UNUSED_RESULT;
struct influx_batch *influx_batch_load(const uint8_t *bytes, size_t n, uint32_t count);

// --- influx_answer.c: what the answer to a write means. A pure function, fuzzed.
enum influx_verdict {
    INFLUX_STORED,  // all lines
    INFLUX_PARTIAL, // the good ones: `refused` of them were not; never again
    INFLUX_BAD,     // none: there is a line in it that cannot be read; to be found by halves
    INFLUX_LARGE,   // none: the body is too large
    INFLUX_LATER,   // none: overloaded, or broken for now; after `wait_us` if it says so
    INFLUX_DENIED,  // none: who we are, or what we may do
    INFLUX_MISSING, // none: no such database or bucket
};
struct influx_answer {
    enum influx_verdict verdict;
    uint32_t refused;
    int64_t wait_us; // -1: it does not say
    char text[300];  // what the server says, one line
};
// status: of HTTP, 0: none came. retry_after: the header field's value, "" without. now_s: seconds since 1970, for
// dates.
void influx_judge(unsigned status, const char *retry_after, const uint8_t *body, size_t n, uint32_t lines,
                  int64_t now_s, struct influx_answer *out);

// --- influx_http.c: requests
enum influx_errand { ERRAND_HEALTH, ERRAND_PING, ERRAND_DATABASE, ERRAND_ORG, ERRAND_BUCKET };
struct influx;
struct influx_post {
    struct influx *influx;
    CURL *easy;
    struct curl_slist *headers;
    struct influx_batch *batch; // a write; NULL: an errand, or idle
    struct buf reply, text;     // text: the body of an errand
    char retry_after[64];
    bool busy;
};
int influx_post_create(struct influx *s, struct influx_post *p, struct error *err) WARN_UNUSED_RESULT;
void influx_post_destroy(struct influx_post *p);
// -1: no memory.
int influx_post_write(struct influx_post *p, struct influx_batch *stolen) WARN_UNUSED_RESULT;
int influx_post_errand(struct influx_post *p, enum influx_errand errand) WARN_UNUSED_RESULT;
void influx_post_cancel(struct influx_post *p);

// --- influx.c
struct influx {
    struct loop *loop;
    struct log *log;
    json_t *json; // the options
    struct influx_options o;
    const char *token, *password;
    struct ledger ledger;
    struct influx_lines lines;
    struct buf line; // being made
    struct influx_packer *packer;
    int64_t packed_since_us;            // real time at which the open batch was begun
    struct influx_batch *first, **last; // that wait in memory
    size_t memory;                      // bytes: waiting, under way and open
    struct spill *spill;                // NULL: none
    struct buf entry;
    struct curl_loop curl;
    struct influx_post posts[INFLUX_POSTS_MAX], errand;
    enum { INFLUX_ASKING, INFLUX_MAKING, INFLUX_READY } state;
    enum influx_errand doing;
    char org_id[64];
    unsigned failures; // in a row
    bool paused, draining;
    ev_timer pause, flush;
    struct rng rng;
    uint32_t max_lines; // of a batch: the server may want less
    FILE *dead;         // lines that the server refused; NULL: not opened
    uint64_t dead_bytes;
    char dead_path[4200], name[64], trouble[500], said[500];
    int64_t said_us;
};
// A request has ended: rc of libcurl, for a write or an errand.
void influx_ended(struct influx *s, struct influx_post *p, CURLcode rc);
