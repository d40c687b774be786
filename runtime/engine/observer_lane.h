// The observer's inside, shared by observer.c (the loop's side: subscriptions, requests, dispatch) and observer_lane.c
// (paho's side: connections, callbacks from its threads).
#pragma once
#include <pthread.h>
#include <MQTTAsync.h>

#include "core/loop.h"
#include "engine/observer.h"
#include "link/resolve.h"
#include "link/url.h"

#define LANES_MAX 8u
#define REQUESTS_MAX 10000u  // publishes and subscribes without an answer yet
#define MESSAGES_MAX 100000u // between paho's threads and the loop
#define MESSAGE_BYTES_MAX (64u << 20)
#define ACK_TIMEOUT_US 10000000 // SUBACK, PUBACK, PUBCOMP
#define RECONNECT_MIN_US 100000
#define RECONNECT_MAX_US 5000000
#define DELETE_WAIT_US 1800000
#define ADDRESSES_MAX 8u
#define NUDGE_US 20000
#define NUDGES_MAX 100u

struct lane;
struct observer_tls;
struct message_node { // one allocation: node, topic, payload
    struct message_node *next;
    struct lane *lane;
    uint64_t seq;
    struct observer_message m;
};

// What outlives the observer: paho's threads and a late MQTTAsync_destroy hold on to it.
struct shared {
    pthread_mutex_t lock; // guards all below and the members of lanes and requests that say so
    unsigned refs;
    bool closed;        // the observer is gone: callbacks do nothing
    struct ev_loop *ev; // valid until closed
    ev_async *wake;
    struct message_node *head, **tail;
    unsigned count, max_count;
    size_t bytes, max_bytes;
    uint64_t next_seq, dropped;
    struct request *answered; // by paho, not yet seen by the loop
    // Not guarded, the loop's (and after it the last reference's):
    struct lane *lanes[LANES_MAX];
    unsigned n_lanes;
    struct request *requests; // all that live
    unsigned n_requests;
};

enum request_kind { REQUEST_CONNECT, REQUEST_SUBSCRIBE, REQUEST_PUBLISH };
struct request {                   // somebody waits for done
    struct request *next, **prev;  // in shared->requests
    struct request *next_answered; // guarded
    struct shared *shared;
    struct observer *observer;
    enum request_kind kind;
    observer_done_fn *done; // NULL: nobody wants to know
    void *arg;
    struct subscription *subscription; // SUBSCRIBE: NULL once it was unsubscribed
    bool with_paho;                    // paho has it and will (or may) call back
    bool reported;
    bool settled;         // the outcome below is final, the timer only carries it out of the call
    struct error outcome; // ERR_NONE: fine
    int result;           // guarded: 0, or paho's code
    struct timer timer;   // deadline
};

struct subscription {
    struct subscription *next; // in its lane
    struct lane *lane;
    struct request *request; // unanswered, or NULL
    unsigned ticket;
    int qos;
    uint64_t first_seq; // messages that arrived before it was asked for are not its own
    observer_message_fn *fn;
    void *arg;
    char filter[];
};

// One connection. Filters that overlap live in different lanes: a 3.1.1 server may send a message once for each
// matching subscription of a connection and does not say for which, so within one lane nothing may overlap.
enum lane_state { LANE_IDLE, LANE_RESOLVING, LANE_CONNECTING, LANE_UP, LANE_WAITING };
struct lane {
    struct shared *shared;
    struct observer *observer; // the loop's side only
    MQTTAsync handle;
    char client_id[24]; // 23 bytes is what every server must take
    enum lane_state state;
    bool wanted; // reconnect when lost
    int64_t backoff_us;
    struct timer retry;
    uint64_t lookup; // resolver ticket
    struct subscription *subscriptions;
    // Guarded: what paho reported and the loop has not seen. A loss is always newer than an answer.
    bool answered, lost;
    int answer; // 0 connected, > 0 CONNACK code, < 0 no connection
    char answer_text[160];
    char tls_text[160]; // what OpenSSL said last during this attempt
};

struct observer {
    struct loop *loop;
    struct shared *shared;
    struct resolver *resolver;
    struct url url;
    struct observer_tls *tls; // NULL: plain
    char display[600];        // URL for people, without credentials
    ev_async wake;
    bool started;               // observer_connect was called
    struct request *connecting; // who waits for lane 0, or NULL
    int64_t connect_timeout_us;
    struct timer nudge; // see nudge() in observer_lane.c
    unsigned nudges;
    bool stale_attempt; // the attempt under way has outlived the one who asked for it
    unsigned next_ticket;
    uint64_t client_number;
    bool *gone; // set by observer_delete inside one of our callbacks
};

// observer_lane.c
struct lane *lane_add(struct observer *o, struct error *err);
void lane_start(struct lane *lane);
// Hands a request to paho (request NULL: nobody wants to know). 0 or -1.
int lane_subscribe(struct lane *lane, struct subscription *s, struct error *err);
void lane_unsubscribe(struct lane *lane, const char *filter);
int lane_publish(struct lane *lane, const char *topic, const void *payload, size_t n, int qos, bool retain,
                 struct request *request, struct error *err);
// The loop has taken what was reported.
void lane_handle_answer(struct lane *lane, int answer, const char *text);
void lane_handle_loss(struct lane *lane);
void lanes_stop(struct observer *o);
// Ends all connections; blocks at most DELETE_WAIT_US. Drops the observer's reference.
void shared_close(struct shared *s);
void shared_unref(struct shared *s);

// observer.c
void observer_on_lane_up(struct lane *lane);
void observer_on_lane_lost(struct lane *lane);
void observer_on_lane_failed(struct lane *lane, const struct error *why);
