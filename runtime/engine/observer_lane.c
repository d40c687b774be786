// paho's side of the observer: one MQTTAsync handle a lane, its callbacks, and its end.
//
// Rules that keep two threading models apart:
// - paho's threads touch `struct shared`, and lanes and requests only under shared->lock; they never call out.
// - the loop never holds shared->lock while it calls paho (paho holds a lock of its own when it calls us).
// - names are resolved here before paho sees an address: paho resolves under its global lock, and a dead name server
// would
//   block every client of the process, MQTTAsync_destroy included.
// - reconnecting is ours too: paho looks at its timers every 3 s only.
// - all signals are blocked while paho or we make threads: signals belong to the loop's thread.
// MQTTAsync_destroy of the last handle waits about a second for paho's threads, so it runs in a thread of its own that
// observer_delete joins with a deadline; past it the thread finishes alone with the last reference.
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine/observer_lane.h"
#include "engine/observer_tls.h"

#define URI_BYTES 300u

static void block_signals(sigset_t *saved)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void restore_signals(const sigset_t *saved)
{
    pthread_sigmask(SIG_SETMASK, saved, NULL);
}

// --- callbacks from paho's threads

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct lane *lane = context;
    struct shared *s = lane->shared;
    // topic_len is 0 unless the topic holds a U+0000, which MQTT forbids: what follows it is cut.
    size_t n = topic_len > 0 ? strnlen(topic, (size_t)topic_len) : strlen(topic), len = (size_t)message->payloadlen;
    struct message_node *node = malloc(sizeof(*node) + n + 1 + len);
    if (node) {
        char *bytes = (char *)(node + 1);
        memcpy(bytes, topic, n);
        bytes[n] = '\0';
        if (len > 0)
            memcpy(bytes + n + 1, message->payload, len);
        struct clock clock;
        clock_create_real(&clock);
        *node = (struct message_node){.lane = lane,
                                      .m = {.topic = bytes,
                                            .payload = (uint8_t *)bytes + n + 1,
                                            .payload_len = len,
                                            .qos = message->qos,
                                            .retained = message->retained != 0,
                                            .received_us = clock_now_us(&clock)}};
    }
    pthread_mutex_lock(&s->lock);
    if (!s->closed) {
        if (!node || s->count >= s->max_count || s->bytes + n + len > s->max_bytes) {
            s->dropped++;
        } else {
            node->seq = s->next_seq++;
            *s->tail = node;
            s->tail = &node->next;
            s->count++;
            s->bytes += n + len;
            if (s->count == 1)
                ev_async_send(s->ev, s->wake);
            node = NULL;
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(node);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void on_lost(void *context, char *cause)
{
    (void)cause; // paho always says NULL
    struct lane *lane = context;
    struct shared *s = lane->shared;
    pthread_mutex_lock(&s->lock);
    if (!s->closed) {
        lane->lost = true;
        ev_async_send(s->ev, s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

static void report_answer(struct lane *lane, int answer, const char *text)
{
    struct shared *s = lane->shared;
    pthread_mutex_lock(&s->lock);
    if (!s->closed) {
        lane->answered = true;
        lane->answer = answer;
        snprintf(lane->answer_text, sizeof(lane->answer_text), "%s",
                 *lane->tls_text ? lane->tls_text
                 : text          ? text
                                 : "");
        ev_async_send(s->ev, s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_connect_ok(void *context, MQTTAsync_successData *data)
{
    (void)data;
    report_answer(context, 0, NULL);
}

// "THREAD:error:0A000086:SSL routines:FUNCTION:certificate verify failed:FILE:LINE:DATA": the reason.
static int on_tls_error(const char *text, size_t n, void *context)
{
    struct lane *lane = context;
    const char *end = text + strnlen(text, n), *from = memmem(text, (size_t)(end - text), ":error:", 7);
    from = from ? from + 7 : text;
    for (unsigned i = 0; i < 3; i++) {
        const char *colon = memchr(from, ':', (size_t)(end - from));
        from = colon ? colon + 1 : from;
    }
    size_t len = 0;
    while (from + len < end && !strchr(":\n", from[len]))
        len++;
    pthread_mutex_lock(&lane->shared->lock);
    if (len)
        snprintf(lane->tls_text, sizeof(lane->tls_text), "%.*s", (int)len, from);
    pthread_mutex_unlock(&lane->shared->lock);
    return 1;
}

static void on_connect_failed(void *context, MQTTAsync_failureData *data)
{
    report_answer(context, data && data->code != 0 ? data->code : MQTTASYNC_FAILURE, data ? data->message : NULL);
}

static void answer_request(struct request *r, int result)
{
    struct shared *s = r->shared;
    pthread_mutex_lock(&s->lock);
    if (!s->closed) {
        r->result = result;
        r->next_answered = s->answered;
        s->answered = r;
        ev_async_send(s->ev, s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_request_ok(void *context, MQTTAsync_successData *data)
{
    (void)data;
    answer_request(context, 0);
}

static void on_request_failed(void *context, MQTTAsync_failureData *data)
{
    answer_request(context, data && data->code != 0 ? data->code : MQTTASYNC_FAILURE);
}

// --- the loop's thread

// What a call into paho returned, as an error of ours.
static int paho_error(int rc, const char *what, struct error *err)
{
    switch (rc) {
    case MQTTASYNC_DISCONNECTED:
        return error_set(err, ERR_STATE, "%s: not connected", what);
    case MQTTASYNC_MAX_BUFFERED_MESSAGES:
    case MQTTASYNC_NO_MORE_MSGIDS:
    case MQTTASYNC_MAX_MESSAGES_INFLIGHT:
        return error_set(err, ERR_LIMIT, "%s: too many messages wait for the server", what);
    case MQTTASYNC_BAD_UTF8_STRING:
        return error_set(err, ERR_INVALID, "%s: not valid UTF-8", what);
    default:
        return error_set(err, ERR_INTERNAL, "%s: paho error %d", what, rc);
    }
}

static int lane_create_handle(struct lane *lane, struct error *err)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.maxBufferedMessages = REQUESTS_MAX;
    // The address comes with each connect.
    const char *nowhere = lane->observer->tls ? "ssl://127.0.0.1:1" : "tcp://127.0.0.1:1";
    sigset_t saved;
    block_signals(&saved);
    int rc = MQTTAsync_createWithOptions(&lane->handle, nowhere, lane->client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                         &options);
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_setCallbacks(lane->handle, lane, on_lost, on_message, NULL);
    restore_signals(&saved);
    return rc == MQTTASYNC_SUCCESS ? 0 : paho_error(rc, "observer", err);
}

struct lane *lane_add(struct observer *o, struct error *err)
{
    struct shared *s = o->shared;
    struct lane *lane = calloc(1, sizeof(*lane));
    if (!lane) {
        error_set(err, ERR_NO_MEMORY, "observer: no memory");
        return NULL;
    }
    lane->shared = s;
    lane->observer = o;
    lane->backoff_us = RECONNECT_MIN_US;
    snprintf(lane->client_id, sizeof(lane->client_id), "iotixobs-%010llx-%u",
             (unsigned long long)o->client_number & 0xffffffffff, s->n_lanes);
    if (lane_create_handle(lane, err) != 0) {
        if (lane->handle)
            MQTTAsync_destroy(&lane->handle);
        free(lane);
        return NULL;
    }
    s->lanes[s->n_lanes++] = lane;
    return lane;
}

// connect: "tcp://10.0.0.7:1883"
static int address_uri(const struct link_addr *a, bool tls, char *dst, size_t size)
{
    char host[INET6_ADDRSTRLEN + 32], port[8];
    if (getnameinfo((const struct sockaddr *)&a->addr, a->len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -1;
    bool v6 = a->addr.ss_family == AF_INET6;
    int n = snprintf(dst, size, "%s://%s%s%s:%s", tls ? "ssl" : "tcp", v6 ? "[" : "", host, v6 ? "]" : "", port);
    return n > 0 && (size_t)n < size ? 0 : -1;
}

// Where paho connects to. TLS needs the name: paho sends and verifies what stands in the URI. It resolves it once more
// then, but a name server that is dead has been found out by us before.
static unsigned connect_uris(const struct observer *o, const struct link_addr *addrs, unsigned n,
                             char text[ADDRESSES_MAX][URI_BYTES], char **uris)
{
    unsigned used = 0;
    struct in6_addr unused;
    bool numeric = inet_pton(AF_INET, o->url.host, &unused) == 1 || inet_pton(AF_INET6, o->url.host, &unused) == 1;
    if (o->tls && !numeric && n) {
        snprintf(text[0], URI_BYTES, "ssl://%s:%u", o->url.host, (unsigned)o->url.port);
        uris[0] = text[0];
        return 1;
    }
    for (unsigned i = 0; i < n && used < ADDRESSES_MAX; i++)
        if (address_uri(&addrs[i], o->tls != NULL, text[used], URI_BYTES) == 0) {
            uris[used] = text[used];
            used++;
        }
    return used;
}

static int paho_connect(struct lane *lane, char *const *uris, unsigned n)
{
    struct observer *o = lane->observer;
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    int64_t seconds = (o->connect_timeout_us + 999999) / 1000000;
    options.keepAliveInterval = 20;
    options.cleansession = 1;
    options.maxInflight = 1000;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.connectTimeout = seconds < 1 ? 1 : seconds > 60 ? 60 : (int)seconds;
    options.username = *o->url.user ? o->url.user : NULL;
    options.password = *o->url.password ? o->url.password : NULL;
    options.onSuccess = on_connect_ok;
    options.onFailure = on_connect_failed;
    options.context = lane;
    options.serverURIcount = (int)n;
    options.serverURIs = uris;
    MQTTAsync_SSLOptions tls;
    if (o->tls) {
        observer_tls_options(o->tls, &tls);
        tls.ssl_error_cb = on_tls_error;
        tls.ssl_error_context = lane;
        options.ssl = &tls;
        pthread_mutex_lock(&lane->shared->lock);
        lane->tls_text[0] = '\0';
        pthread_mutex_unlock(&lane->shared->lock);
    }
    sigset_t saved;
    block_signals(&saved);
    int rc = MQTTAsync_connect(lane->handle, &options);
    restore_signals(&saved);
    return rc;
}

// paho's receiver polls its sockets for a second at a time and does not see one that comes to be meanwhile: beside an
// idle connection another takes more than 2 s. So, while one connects, an idle one is made to receive something: the
// server must answer an UNSUBSCRIBE of what was never subscribed (3.10.4).
static void on_nudge(struct timer *t, void *arg)
{
    (void)arg;
    struct observer *o = container_of(t, struct observer, nudge);
    struct lane *up = NULL;
    bool connecting = false;
    for (unsigned i = 0; i < o->shared->n_lanes; i++) {
        struct lane *lane = o->shared->lanes[i];
        connecting |= lane->state == LANE_CONNECTING;
        if (lane->state == LANE_UP)
            up = lane;
    }
    if (!connecting || o->nudges++ >= NUDGES_MAX)
        return;
    if (up)
        lane_unsubscribe(up, "iotix/none");
    loop_timer_start(o->loop, &o->nudge, NUDGE_US, on_nudge);
}

static void on_resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *why)
{
    struct lane *lane = arg;
    lane->lookup = 0;
    if (lane->state != LANE_RESOLVING)
        return;
    char text[ADDRESSES_MAX][URI_BYTES];
    char *uris[ADDRESSES_MAX];
    unsigned used = connect_uris(lane->observer, addrs, n, text, uris);
    struct error err = {0};
    if (used == 0) {
        if (why)
            err = *why;
        else
            error_set(&err, ERR_RESOLVE, "no usable address");
    } else {
        lane->state = LANE_CONNECTING;
        int rc = paho_connect(lane, uris, used);
        if (rc == MQTTASYNC_SUCCESS || rc == MQTTASYNC_COMMAND_IGNORED) {
            lane->observer->nudges = 0;
            loop_timer_start(lane->observer->loop, &lane->observer->nudge, NUDGE_US / 2, on_nudge);
            return;
        }
        paho_error(rc, "connect", &err);
    }
    lane->state = LANE_IDLE;
    observer_on_lane_failed(lane, &err);
}

void lane_start(struct lane *lane)
{
    struct observer *o = lane->observer;
    if (lane->state != LANE_IDLE && lane->state != LANE_WAITING)
        return;
    loop_timer_stop(o->loop, &lane->retry);
    lane->state = LANE_RESOLVING;
    uint64_t ticket = resolver_lookup(o->resolver, o->url.host, o->url.port, on_resolved, lane);
    if (lane->state == LANE_RESOLVING) // 0: the answer came before the return, and with it the next state
        lane->lookup = ticket;
}

static void on_retry(struct timer *t, void *arg)
{
    (void)arg;
    lane_start(container_of(t, struct lane, retry));
}

static void retry_later(struct lane *lane)
{
    lane->state = LANE_WAITING;
    loop_timer_start(lane->observer->loop, &lane->retry, lane->backoff_us, on_retry);
    lane->backoff_us = lane->backoff_us * 2 < RECONNECT_MAX_US ? lane->backoff_us * 2 : RECONNECT_MAX_US;
}

static void describe_failure(const struct observer *o, int code, const char *text, struct error *err)
{
    static const char *const refusals[] = {"",
                                           "protocol version not supported",
                                           "client id rejected",
                                           "server unavailable",
                                           "bad user name or password",
                                           "not authorized"};
    if (code > 0 && code < (int)(sizeof(refusals) / sizeof(refusals[0])))
        error_set(err, ERR_REFUSED, "%s refused the connection: %s (CONNACK %d)", o->display, refusals[code], code);
    else if (code > 0)
        error_set(err, ERR_REFUSED, "%s refused the connection (CONNACK %d)", o->display, code);
    else if (text && strstr(text, "timeout"))
        error_set(err, ERR_TIMEOUT, "%s did not answer in time", o->display);
    else if (o->tls && text && *text && !strstr(text, "TCP"))
        error_set(err, ERR_TLS, "cannot connect to %s over TLS: %s", o->display, text);
    else if (o->tls) // paho says the same of both
        error_set(err, ERR_REFUSED, "cannot connect to %s: nobody answers there, or its certificate is not one of %s",
                  o->display, o->url.host);
    else
        error_set(err, ERR_REFUSED, "cannot connect to %s%s%s", o->display, text && *text ? ": " : "",
                  text ? text : "");
}

void lane_handle_answer(struct lane *lane, int answer, const char *text)
{
    if (lane->state != LANE_CONNECTING)
        return;
    if (answer == 0) {
        lane->state = LANE_UP;
        lane->wanted = true;
        lane->backoff_us = RECONNECT_MIN_US;
        observer_on_lane_up(lane);
        return;
    }
    struct error err;
    describe_failure(lane->observer, answer, text, &err);
    lane->state = LANE_IDLE;
    if (lane->wanted)
        retry_later(lane);
    observer_on_lane_failed(lane, &err);
}

void lane_handle_loss(struct lane *lane)
{
    if (lane->state != LANE_UP)
        return;
    lane->state = LANE_IDLE;
    retry_later(lane);
    observer_on_lane_lost(lane);
}

static MQTTAsync_responseOptions response_for(struct request *r)
{
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    if (r) {
        response.onSuccess = on_request_ok;
        response.onFailure = on_request_failed;
        response.context = r;
    }
    return response;
}

int lane_subscribe(struct lane *lane, struct subscription *s, struct error *err)
{
    MQTTAsync_responseOptions response = response_for(s->request);
    int rc = MQTTAsync_subscribe(lane->handle, s->filter, s->qos, &response);
    if (rc != MQTTASYNC_SUCCESS)
        return paho_error(rc, "subscribe", err);
    if (s->request)
        s->request->with_paho = true;
    return 0;
}

void lane_unsubscribe(struct lane *lane, const char *filter)
{
    // A failure means that the connection is gone, and the server has forgotten the subscription with it.
    (void)MQTTAsync_unsubscribe(lane->handle, filter, NULL);
}

int lane_publish(struct lane *lane, const char *topic, const void *payload, size_t n, int qos, bool retain,
                 struct request *request, struct error *err)
{
    MQTTAsync_responseOptions response = response_for(request);
    int rc = MQTTAsync_send(lane->handle, topic, (int)n, n ? payload : "", qos, retain, &response);
    if (rc != MQTTASYNC_SUCCESS)
        return paho_error(rc, "publish", err);
    if (request)
        request->with_paho = true;
    return 0;
}

void lanes_stop(struct observer *o)
{
    struct shared *s = o->shared;
    loop_timer_stop(o->loop, &o->nudge);
    for (unsigned i = 0; i < s->n_lanes; i++) {
        struct lane *lane = s->lanes[i];
        loop_timer_stop(o->loop, &lane->retry);
        resolver_cancel(o->resolver, lane->lookup);
        for (struct subscription *sub = lane->subscriptions, *next; sub; sub = next) {
            next = sub->next;
            free(sub);
        }
        lane->subscriptions = NULL;
        lane->observer = NULL;
    }
}

// --- the end

void shared_unref(struct shared *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    for (struct message_node *node = s->head, *next; node; node = next) {
        next = node->next;
        free(node);
    }
    for (struct request *r = s->requests, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    for (unsigned i = 0; i < s->n_lanes; i++)
        free(s->lanes[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void *destroy_handles(void *arg)
{
    struct shared *s = arg;
    for (unsigned i = 0; i < s->n_lanes; i++)
        MQTTAsync_destroy(&s->lanes[i]->handle); // sends DISCONNECT when it is connected
    shared_unref(s);
    return NULL;
}

void shared_close(struct shared *s)
{
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    s->ev = NULL;
    s->wake = NULL;
    pthread_mutex_unlock(&s->lock);
    // The observer's reference goes to whoever destroys the handles.
    pthread_t thread;
    sigset_t saved;
    block_signals(&saved);
    int rc = pthread_create(&thread, NULL, destroy_handles, s);
    if (rc != 0)
        destroy_handles(s); // no thread to be had: waiting longer is better than leaking connections
    restore_signals(&saved);
    if (rc != 0)
        return;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t ns = deadline.tv_nsec + (int64_t)DELETE_WAIT_US * 1000;
    deadline.tv_sec += ns / 1000000000;
    deadline.tv_nsec = ns % 1000000000;
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &deadline) != 0)
        pthread_detach(thread);
}
