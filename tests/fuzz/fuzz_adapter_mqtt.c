// libFuzzer: a whole MQTT connection (parser, session, state machine) fed with hostile bytes in hostile pieces while
// its owner publishes, subscribes, closes and deletes. A filter takes the place of the socket, so no byte passes the
// kernel.
//
// Input: byte 0: options (bit 0: persistent session, 1: delete inside the first event, 2: CONNACK is sent first, 3:
// version 5; bit 0 is then: with enhanced authentication).
// Then commands: 0x00-0x7f: that many + 1 bytes follow and are received as one piece; 0x80-0xff: an action of the
// owner.
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/mqtt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct owner {
    struct adapter_conn *conn; // NULL: deleted
    bool delete_in_event;
    unsigned outstanding; // tokens that wait for on_done
    unsigned requests;    // and for on_response
};

struct harness {
    struct clock clock;
    struct loop *loop;
    struct adapter_env env;
    struct adapter_target *targets[4];
    struct fuzz_socket *socket; // of the connection that runs, NULL once it is closed for good
};

struct fuzz_socket {
    struct link_filter f;
    struct harness *harness;
};

static void event(struct owner *o)
{
    if (o->delete_in_event && o->conn) {
        mqtt_adapter.conn_delete(o->conn);
        o->conn = NULL;
    }
}

static void on_online(void *owner, bool session_present)
{
    struct owner *o = owner;
    (void)session_present;
    if (!o->conn)
        abort(); // an event after conn_delete
}

static void on_offline(void *owner, const struct error *why, bool will_retry)
{
    struct owner *o = owner;
    if (!o->conn || will_retry || why->code >= ERR_CODE_MAX || why->code == ERR_INTERNAL)
        abort();
    event(o);
}

static void on_message(void *owner, const struct adapter_message *m)
{
    struct owner *o = owner;
    volatile uint8_t sum = 0;
    if (!o->conn || m->qos > 2 || !m->topic_len)
        abort();
    for (size_t i = 0; i < m->topic_len; i++)
        sum = (uint8_t)(sum + m->topic[i]);
    for (size_t i = 0; i < m->payload_len; i++)
        sum = (uint8_t)(sum + m->payload[i]);
    for (unsigned i = 0; m->meta && i < m->meta->n_user; i++)
        for (size_t k = 0; k < m->meta->user[i].value_len; k++)
            sum = (uint8_t)(sum + m->meta->user[i].value[k]);
    for (size_t i = 0; m->meta && i < m->meta->correlation_len; i++)
        sum = (uint8_t)(sum + m->meta->correlation[i]);
    event(o);
}

static void on_done(void *owner, uint32_t token, int granted_qos, const struct error *err)
{
    struct owner *o = owner;
    (void)granted_qos;
    (void)err;
    if (!o->conn || !token || !o->outstanding)
        abort(); // twice for one token
    o->outstanding--;
    event(o);
}

static void on_response(void *owner, uint32_t token, const struct adapter_response *response, const struct error *err)
{
    struct owner *o = owner;
    if (!o->conn || !token || !o->requests || !response == !err)
        abort();
    o->requests--;
    event(o);
}

static int on_auth(void *owner, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct owner *o = owner;
    if (!o->conn)
        abort();
    if (n && data[0] == 'd')
        event(o);
    if (n && data[0] == 'x')
        return error_set(err, ERR_REFUSED, "no");
    return buf_append(reply, data ? data : (const uint8_t *)"begin", data ? n : 5);
}

static const struct adapter_events events = {.on_online = on_online,
                                             .on_offline = on_offline,
                                             .on_message = on_message,
                                             .on_done = on_done,
                                             .on_response = on_response,
                                             .on_auth = on_auth};

static int field(void *owner, enum adapter_field f, struct buf *out, struct error *err)
{
    (void)owner;
    (void)err;
    return f == FIELD_CLIENT_ID ? buf_append_str(out, "fuzz") : 0;
}

static const struct adapter_identity identity = {field};

static int swallow(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    (void)f, (void)bytes, (void)n, (void)err;
    return 0;
}

static void no_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    (void)f, (void)bytes, (void)n;
}

static void socket_destroy(struct link_filter *f)
{
    struct fuzz_socket *s = container_of(f, struct fuzz_socket, f);
    s->harness->socket = NULL;
    free(s);
}

static const struct link_filter_type socket_type = {
    .name = "fuzz", .down = swallow, .up = no_up, .destroy = socket_destroy};

static void push_socket(void *arg, struct link *link)
{
    struct harness *h = arg;
    h->socket = calloc(1, sizeof *h->socket);
    h->socket->f.type = &socket_type;
    h->socket->harness = h;
    link_filter_push(link, &h->socket->f);
}

static struct harness *harness_get(void)
{
    static struct harness h;
    static const char *const options[] = {
        "{\"reconnect\":false,\"maxPacket\":512,\"inflight\":3,\"queue\":{\"max\":4,\"full\":\"drop_oldest\"}}",
        "{\"reconnect\":false,\"maxPacket\":4096,\"inflight\":3,\"queue\":{\"max\":4},\"cleanSession\":false}",
        "{\"version\":5,\"reconnect\":false,\"maxPacket\":512,\"inflight\":3,\"queue\":{\"max\":4,\"full\":\"drop_"
        "oldest\"},"
        "\"topicAliasMaximum\":5,\"topicAliases\":true,\"receiveMaximum\":3,\"followRedirect\":false}",
        "{\"version\":5,\"reconnect\":false,\"maxPacket\":4096,\"inflight\":3,\"queue\":{\"max\":4},\"sessionExpiry\":"
        "60,"
        "\"topicAliasMaximum\":2000,\"authMethod\":\"M\",\"followRedirect\":false,\"timeout\":\"50s\"}"};
    if (h.loop)
        return &h;
    struct link_env_config config = {.on_create = push_socket, .on_create_arg = &h};
    clock_create_virtual(&h.clock, 0); // keep-alive and deadlines pass without waiting
    h.loop = loop_new(&h.clock, NULL);
    h.env.loop = h.loop;
    h.env.links = link_env_new(h.loop, &config, NULL);
    h.env.resolver = resolver_new(h.loop, NULL);
    h.env.metrics = metrics_new(1000);
    for (int i = 0; i < 4; i++) {
        json_t *v = json_loads(options[i], 0, NULL);
        h.targets[i] = mqtt_adapter.target_new(&h.env, "mqtt://127.0.0.1", v, i & 1 ? "keep" : "clean", NULL);
        json_decref(v);
        if (!h.targets[i])
            abort();
    }
    return &h;
}

static void receive(struct harness *h, const uint8_t *bytes, size_t n)
{
    if (!h->socket)
        return;
    uint8_t *piece = malloc(n); // its own memory: a read beyond it shows
    memcpy(piece, bytes, n);
    link_filter_up(&h->socket->f, piece, n);
    free(piece);
}

static const struct adapter_meta meta = {.content_type = "ct",
                                         .content_type_len = 2,
                                         .correlation = (const uint8_t *)"c",
                                         .correlation_len = 1,
                                         .alias = true};

static void ask(struct owner *o, bool again)
{
    const struct adapter_request r = {.method = again ? "AUTH" : "PUBLISH", .path = "q", .path_len = 1};
    if (mqtt_adapter.request(o->conn, &r, 7, NULL) == 0)
        o->requests++;
}

static void act(struct harness *h, struct owner *o, uint8_t what, bool is5)
{
    struct adapter_message m = {.topic = "t/x",
                                .topic_len = 3,
                                .payload = (const uint8_t *)"payload",
                                .payload_len = 7,
                                .qos = (uint8_t)(what % 3),
                                .meta = is5 && what & 64 ? &meta : NULL};
    if (!o->conn)
        return;
    switch (what >> 2 & 7) {
    case 0:
    case 1:
    case 2:
        if (mqtt_adapter.publish(o->conn, &m, what & 1, NULL) == 0 && what & 1 && m.qos)
            o->outstanding++;
        break;
    case 3:
        if (mqtt_adapter.subscribe(o->conn, what & 1 ? "a/#" : "b", what & 2 ? 2 : 0, 1, NULL) == 0)
            o->outstanding++;
        break;
    case 4:
        if (mqtt_adapter.unsubscribe(o->conn, "b", 1, NULL) == 0)
            o->outstanding++;
        break;
    case 5:
        if (mqtt_adapter.footprint(o->conn) > 1 << 20 || mqtt_adapter.pending(o->conn) > 1000)
            abort(); // a cap does not hold
        break;
    case 6:
        if (is5 && what & 64)
            ask(o, what & 2);
        else if (what & 1)
            mqtt_adapter.conn_close(o->conn, what & 2 ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT);
        break;
    case 7:
        loop_turn(h->loop, what & 1 ? 40 * (int64_t)1000000 : 0); // with the default keep-alive of 60 s
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct harness *h = harness_get();
    struct owner o = {0};
    if (!size)
        return 0;
    uint8_t options = *data++;
    size--;
    o.conn = mqtt_adapter.conn_new(h->targets[(options & 1) | (options & 8 ? 2 : 0)], &events, &identity, &o, 1, NULL);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); // always writable, never readable
    if (mqtt_conn_attach((struct mqtt_conn *)(void *)o.conn, fd, NULL) < 0)
        abort();
    loop_turn(h->loop, 1000); // on_open: CONNECT
    bool is5 = options & 8;
    if (options & 4 && !is5)
        receive(h, (const uint8_t *)"\x20\x02\x00\x00", 4);
    else if (options & 4 && options & 1) // with the method, and two aliases for us
        receive(h, (const uint8_t *)"\x20\x0a\x00\x00\x07\x15\x00\x01M\x22\x00\x02", 12);
    else if (options & 4)
        receive(h, (const uint8_t *)"\x20\x06\x00\x00\x03\x22\x00\x02", 8);
    o.delete_in_event = options & 2;
    while (size) {
        uint8_t command = *data++;
        size--;
        if (command & 0x80) {
            act(h, &o, command, is5);
        } else {
            size_t n = command + 1u < size ? command + 1u : size;
            if (n)
                receive(h, data, n);
            data += n;
            size -= n;
        }
    }
    loop_turn(h->loop, 0);
    o.delete_in_event = false;
    if (o.conn) {
        mqtt_adapter.conn_close(o.conn, ADAPTER_ABRUPT);
        loop_turn(h->loop, 0);
        if ((!(options & 1) || is5) && o.outstanding)
            abort(); // a clean session has ended and somebody was not told
        if (o.requests)
            abort();
        mqtt_adapter.conn_delete(o.conn);
    }
    loop_turn(h->loop, 0); // filters are destroyed
    return 0;
}
