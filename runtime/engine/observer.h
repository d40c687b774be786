// The observer: an independent MQTT client (paho.mqtt.c) for what is not simulated: assertions that a message arrived,
// commands sent by a test, health of a broker. paho runs its own threads; everything reaches the loop through one
// ev_async.
#pragma once
#include "adapter/adapter.h"
#include "adapter/topic.h" // topic_matches
#include "core/loop.h"

struct observer;
struct observer_message {
    char *topic;
    uint8_t *payload;
    size_t payload_len;
    int qos;
    bool retained;
    int64_t received_us; // monotonic, taken in paho's callback thread
};
// url: mqtt:// or mqtts://[user:password@]host[:port]. NULL: bad URL, or a scheme that paho is not given here
// (ERR_UNSUPPORTED).
struct observer *observer_new(struct loop *loop, const char *url, struct error *err);
// The same with settings of TLS for mqtts://, see observer_tls.h; NULL: the system's CAs. Nothing of them is kept.
struct observer *observer_new_tls(struct loop *loop, const char *url, const json_t *tls, struct error *err);
void observer_delete(
    struct observer *o); // disconnects (at most 2 s), no callback comes afterwards; also from inside a callback
// done(arg, err): err NULL when connected / acknowledged. Exactly once (unless the observer is deleted first), never
// inside the call. Deadline in microseconds. After the first success a lost connection is taken up again by itself.
typedef void observer_done_fn(void *arg, const struct error *err);
int observer_connect(struct observer *o, int64_t timeout_us, observer_done_fn *done, void *arg,
                     struct error *err) WARN_UNUSED_RESULT;
bool observer_connected(const struct observer *o);
// Subscribes (again after a reconnect by itself) and hands every matching message that arrives from now on to fn on the
// loop. Several subscriptions may match one message; each gets it once: overlapping filters travel on connections of
// their own, at most 8, beyond which only the very same filter can be added (ERR_LIMIT). Returns a ticket > 0, or 0 and
// err. done (may be NULL) says when SUBACK came, at most 10 s later. Queue between threads: at most 100,000 messages /
// 64 MB; beyond it messages are dropped and counted (observer_dropped).
typedef void observer_message_fn(void *arg, const struct observer_message *m);
unsigned observer_subscribe(struct observer *o, const char *filter, int qos, observer_message_fn *fn, void *arg,
                            observer_done_fn *done, void *done_arg, struct error *err);
void observer_unsubscribe(struct observer *o, unsigned ticket); // an unknown ticket is fine
// ERR_STATE when not connected, ERR_LIMIT when 10,000 wait for the server. done (may be NULL): QoS 0 written, QoS 1 and
// 2 acknowledged, at most 10 s later.
int observer_publish(struct observer *o, const char *topic, const void *payload, size_t n, int qos, bool retain,
                     observer_done_fn *done, void *done_arg, struct error *err) WARN_UNUSED_RESULT;
uint64_t observer_dropped(const struct observer *o);
// Other caps of the queue between threads, for messages that come from now on.
void observer_limit(struct observer *o, unsigned max_messages, size_t max_bytes);
