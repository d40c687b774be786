// What supervisor and shards say to each other: frames over a socketpair. The same messages travel over Kafka when
// shards are pods, so the set is small and nothing in it is a pointer or a host-order struct.
//
// Frame: u32 length of what follows (little endian), u8 type, payload. Payloads are JSON unless said otherwise.
#pragma once
#include <jansson.h>
#include "core/buf.h"
#include "core/loop.h"

enum message_type {
    // supervisor → child
    MSG_ASSIGN = 1,  // {"plan": overridden, "run": id, "seed", "broker": resolved URL, "partition", "partitions",
                     // "shard", "shards" (from 0),
                     //  "quarantine": [{"group": number, "index"}]: devices that are not started but counted as failed,
                     //  "resumed": in place of a lost shard}
    MSG_GO,          // {"elapsed_us": how far the run already is, "changes": what it has seen (of MSG_CHANGE), "setup":
                     // what the scenario's setup returned, absent: nothing}: launch
    MSG_STOP,        // {"deadline_us": drain for at most this long}
    MSG_PING,        // {"n"}
    MSG_STATUS_DOWN, // to the director: {"groups":{name:{"count":..,"online":..,"running":..,"error":..,...}},
                     // "elapsed_us"}
    MSG_CHANGE,      // {"number","at_us","op",…}: to do to running groups, see device/change.h; of experiments, see
                     // chaos/chaos.h; or {"op":"reload",
                     // "groups":[{"name", "model":{"path","text"}, "behaviour":{"path","text"}}]}
    MSG_ANSWER,      // to the director: {"id", "answer"} or {"id","error","code"}
    MSG_RELOAD,      // to the director: {"number", "group": name, absent: all}: read and check what lies on disk
    MSG_CUSTOM,      // to the director: {"number", "custom": function}: begin; without "custom": end
    MSG_ACT,         // to the director: {"act": "setup"|"teardown"}: run that function of the scenario
    MSG_REST,        // to the director: the run is stopping: cancel what runs, but stay for the teardown
    MSG_OPEN,        // to shards: how a barrier stands, see barriers.h
    MSG_SENT,        // to the ledger, from shards: binary: what the devices of a group sent, see ledger.h
    // child → supervisor
    MSG_PLAN = 32,  // director: the plan
    MSG_DIAGNOSTIC, // {"code":"IOTX…","file","line","col","message","hint","error_code"}: loading failed (several may
                    // come)
    MSG_READY,      // instantiated
    MSG_PONG,       // {"n","turn"}
    MSG_SNAPSHOT,   // binary: metrics_encode
    MSG_STATUS, // {"groups":[{"state":[…],"conn":[…],"started","ever_online","failed","dropped"},…], "launching":bool,
                // "longest_turn_us", "elapsed_us": in virtual time}
    MSG_LOG,       // {"level","line"}
    MSG_EVENT,     // {"kind":"device"|"conn", "reason","device","group","text","count","fail_run":bool,"t_us"}: errors
                   // grouped by reason
    MSG_CHECK,     // director: one expectation: {"name","ok","detail","t_us"}
    MSG_TEST_DONE, // director: {"ok","error","code": 0|107|108|110}
    MSG_DONE,      // drained; the last message before exit: {"undelivered": n, "captured": virtual time: see capture.h,
                   // "sinks": see sinks.h}
    MSG_REQUEST,   // director: {"id", "change": see change.h, "timeout_us"}
    MSG_RELOADED,  // director: {"number", "groups": as in MSG_CHANGE, only what differs} or {"number","error","code"}
    MSG_CHANGED,   // shard: {"number", "answer": see device/change.h} or {"number","error","code"}
    MSG_CUSTOM_DONE, // director: {"number", "error": absent: it returned}
    MSG_ACT_DONE,    // director: {"code": 0|107|108|110, "error", "data": what setup returned}
    MSG_BARRIER,     // shard: who waits at a barrier, see barriers.h
    MSG_WARM,        // shard: its warmup is over, its figures have begun anew
    MSG_LEDGER,      // ledger: {"sent","received","lost","unknown","duplicated","reordered","late","interruptions",
                     // "lostShards","complete","groups":[the same seven, "name"],"worst":[{"group","device","lost"}]}
};
#define MESSAGE_MAX (64u << 20)

struct channel; // one end
struct channel_events {
    void (*on_message)(void *arg, enum message_type type, const uint8_t *payload, size_t n); // valid during the call
    void (*on_closed)(void *arg, const struct error *why); // peer gone or frame malformed; once
};
// Takes over fd (made non-blocking). Output is bounded by 128 MB; beyond it the channel closes with ERR_LIMIT. A frame
// is sent whole or not at all. channel_delete is safe inside the callbacks; NULL is fine.
struct channel *channel_new(struct loop *loop, int fd, const struct channel_events *events, void *arg,
                            struct error *err);
void channel_delete(struct channel *ch);
int channel_send(struct channel *ch, enum message_type type, const void *payload, size_t n,
                 struct error *err) WARN_UNUSED_RESULT;
int channel_send_json(struct channel *ch, enum message_type type, json_t *stolen, struct error *err) WARN_UNUSED_RESULT;
// Bytes that wait for the peer: a sender of what may be lost (log lines) looks here first.
size_t channel_waiting(const struct channel *ch);
// Writes until nothing waits or the deadline passes (before exit).
int channel_drain(struct channel *ch, int64_t max_wait_us) WARN_UNUSED_RESULT;
// A text of a message; "" when there is none.
static inline const char *message_text(const json_t *message, const char *key)
{
    const char *s = json_string_value(json_object_get(message, key));
    return s ? s : "";
}
