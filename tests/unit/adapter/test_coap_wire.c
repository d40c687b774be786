// The CoAP adapter against a server of bare datagrams: what RFC 7252 and 7641 say of messages that are lost, doubled,
// out of order, refused or broken; and the seam through which they pass.
#include "coap_harness.h"

struct raw { // a datagram server on the loop
    struct world *w;
    ev_io io;
    int fd;
    struct sockaddr_in peer;
    uint8_t got[64][1500];
    size_t n[64];
    unsigned count;
    void (*answer)(struct raw *s, const uint8_t *b, size_t n);
};

enum { CON, NON, ACK, RST };

static void raw_send(struct raw *s, unsigned type, unsigned code, uint16_t mid, const uint8_t *token, size_t token_len,
                     const void *rest, size_t n)
{
    uint8_t b[1500] = {(uint8_t)(0x40 | type << 4 | token_len), (uint8_t)code, (uint8_t)(mid >> 8), (uint8_t)mid};
    memcpy(b + 4, token, token_len);
    memcpy(b + 4 + token_len, rest, n);
    assert_true(sendto(s->fd, b, 4 + token_len + n, 0, (struct sockaddr *)&s->peer, sizeof s->peer) > 0);
}

static uint16_t mid_of(const uint8_t *b)
{
    return (uint16_t)(b[2] << 8 | b[3]);
}

static size_t token_len(const uint8_t *b)
{
    return b[0] & 15;
}

static void raw_ready(struct ev_loop *ev, ev_io *io, int revents)
{
    struct raw *s = container_of(io, struct raw, io);
    socklen_t len = sizeof s->peer;
    (void)ev, (void)revents;
    if (s->count == 64) // of the garbage test
        s->count = 0;
    ssize_t n = recvfrom(s->fd, s->got[s->count], sizeof s->got[0], 0, (struct sockaddr *)&s->peer, &len);
    if (n < 0)
        return;
    s->n[s->count] = (size_t)n;
    uint8_t *b = s->got[s->count++];
    if (s->answer)
        s->answer(s, b, (size_t)n);
}

static uint16_t raw_start(struct raw *s, struct world *w)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    memset(s, 0, sizeof *s);
    s->w = w;
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    ev_io_init(&s->io, raw_ready, s->fd, EV_READ);
    ev_io_start(loop_ev(w->loop), &s->io);
    return ntohs(at.sin_port);
}

static void raw_stop(struct raw *s)
{
    ev_io_stop(loop_ev(s->w->loop), &s->io);
    close(s->fd);
}

static void raw_world(struct world *w, struct raw *s, const char *options)
{
    char url[64];
    world_create(w);
    snprintf(url, sizeof url, "coap://127.0.0.1:%u", raw_start(s, w));
    w->client.fields[FIELD_CLIENT_ID] = "dev-1";
    w->target = make_target(w, url, options);
    client_create(w, &w->client);
    client_connect(w, &w->client);
}

static void raw_end(struct world *w, struct raw *s)
{
    raw_stop(s);
    world_destroy(w);
}

static int get(struct world *w, uint32_t token)
{
    struct error err;
    return ask_with(&w->client, "GET", "/a", NULL, 0, NULL, 0, NULL, token, &err);
}

#define PAYLOAD                                                                                                        \
    "\xff"                                                                                                             \
    "hi"

static void answer_once(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    if (b[1] >= 1 && b[1] < 32)
        raw_send(s, (b[0] >> 4 & 3) == CON ? ACK : NON, 0x45, mid_of(b), b + 4, token_len(b), PAYLOAD, 3);
}

// ---- the request as it stands on the wire (RFC 7252, 3 and 5.10)

static void a_request_is_what_the_standard_says(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_once;
    static const struct adapter_property h = {"Accept", 6, "application/json", 16};
    assert_int_equal(ask_with(&w.client, "GET", "/a/b%20c?x=1&y", NULL, 0, &h, 1, NULL, 1, &err), 0);
    WAIT(&w, w.client.responses.n == 1);
    const uint8_t *b = s.got[0];
    assert_int_equal(b[0], 0x44); // version 1, CON, token of 4
    assert_int_equal(b[1], 1);
    static const uint8_t options[] = {0xb1, 'a', 0x03, 'b', ' ', 'c', 0x43, 'x', '=', '1', 0x01, 'y', 0x21, 50};
    assert_int_equal(s.n[0], 8 + sizeof options);
    assert_memory_equal(b + 8, options, sizeof options);
    raw_end(&w, &s);
}

// ---- retransmission (4.2)

static bool drop_first(struct coap_hook *hook, const struct coap_piece *d);
struct drop {
    struct coap_hook hook;
    unsigned down, up, drop_down, drop_up;
    uint8_t kept[1500];
    size_t kept_n;
};

static bool drop_first(struct coap_hook *hook, const struct coap_piece *d)
{
    struct drop *k = container_of(hook, struct drop, hook);
    if (d->down ? k->down++ < k->drop_down : k->up++ < k->drop_up) {
        memcpy(k->kept, d->bytes, d->n);
        k->kept_n = d->n;
        return false;
    }
    return true;
}

static void a_lost_datagram_is_sent_again(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    for (int up = 0; up <= 1; up++) {
        struct drop drop = {.hook.pass = drop_first, .drop_down = !up, .drop_up = up ? 1 : 0};
        raw_world(&w, &s, "{\"ackTimeout\": \"1s\", \"ackRandomFactor\": 1}");
        s.answer = answer_once;
        assert_int_equal(coap_conn_hook(w.client.conn, &drop.hook, &err), 0);
        assert_int_equal(get(&w, 1), 0);
        WAIT(&w, w.client.responses.n == 1);
        assert_int_equal(w.client.responses.at[0].status, 205);
        assert_int_equal(drop.down, 2);
        assert_int_equal(s.count, up ? 2 : 1);
        assert_int_equal(counter(&w, "coap_retransmissions"), 1);
        if (up) { // the same message: same id, same token
            assert_int_equal(s.n[0], s.n[1]);
            assert_memory_equal(s.got[0], s.got[1], s.n[0]);
        }
        raw_end(&w, &s);
    }
}

static void nobody_answers(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, "{\"ackTimeout\": \"1s\", \"ackRandomFactor\": 1, \"maxRetransmit\": 1, \"reconnect\": false}");
    assert_int_equal(publish(&w.client, "t", "x", 1, 1, 3, &err), 0);
    assert_int_equal(get(&w, 1), 0); // waits behind it: nstart is 1
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.why.text, "no acknowledgement after 1 retransmission"));
    assert_int_equal(w.client.done.at[0].code, ERR_TIMEOUT);
    assert_int_equal(w.client.responses.at[0].code, ERR_TIMEOUT);
    assert_int_equal(counter(&w, "coap_timeouts"), 1);
    assert_int_equal(s.count, 2);
    raw_end(&w, &s);
}

static void the_transmission_parameters_may_be_small(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    struct drop drop = {.hook.pass = drop_first, .drop_down = 3};
    (void)state;
    // With ACK_TIMEOUT of a second the deadline would come before the first retransmission.
    raw_world(&w, &s, "{\"ackTimeout\": \"60ms\", \"ackRandomFactor\": 1, \"timeout\": \"950ms\"}");
    s.answer = answer_once;
    assert_int_equal(coap_conn_hook(w.client.conn, &drop.hook, &err), 0);
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1);
    assert_int_equal(w.client.responses.at[0].status, 205);
    assert_int_equal(counter(&w, "coap_retransmissions"), 3);
    raw_end(&w, &s);
    raw_world(&w, &s, "{\"ackTimeout\": \"60ms\", \"maxRetransmit\": 0, \"reconnect\": false}");
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.why.text, "no acknowledgement after 0 retransmissions"));
    assert_int_equal(s.count, 1);
    raw_end(&w, &s);
}

static void a_deadline_ends_a_request(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, "{\"timeout\": \"300ms\"}");
    s.answer = NULL;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1);
    assert_int_equal(w.client.responses.at[0].code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.responses.at[0].text, "300 ms"));
    // Nothing was heard: the connection is given up, and comes back.
    WAIT(&w, w.client.offline == 1 && w.client.online == 2);
    s.answer = answer_once;
    assert_int_equal(get(&w, 2), 0);
    WAIT(&w, w.client.responses.n == 2);
    assert_int_equal(w.client.responses.at[1].status, 205);
    // A publish that waits for the next connection is sent then.
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT);
    WAIT(&w, w.client.offline == 2);
    assert_int_equal(publish(&w.client, "t", "x", 1, 1, 9, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    assert_int_equal(publish(&w.client, "t", "x", 1, 1, 9, &err), 0);
    WAIT(&w, w.client.done.n == 1);
    assert_false(w.client.done.at[0].failed);
    raw_end(&w, &s);
}

static void nothing_is_sent_for_a_device_that_has_gone(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, "{\"ackTimeout\": \"60ms\", \"ackRandomFactor\": 1, \"nstart\": 3}");
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(get(&w, i), 0);
    WAIT(&w, s.count == 6); // each once more
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT);
    WAIT(&w, w.client.offline == 1);
    unsigned before = s.count;
    int64_t until = loop_fresh_us(w.loop) + 300000;
    while (loop_fresh_us(w.loop) < until)
        loop_turn(w.loop, 20000);
    assert_int_equal(s.count, before);
    assert_int_equal(counter(&w, "coap_timeouts"), 0);
    raw_end(&w, &s);
}

static void nobody_listens(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, "{\"reconnect\": false}");
    raw_stop(&s);
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_REFUSED);
    assert_int_equal(w.client.responses.at[0].code, ERR_REFUSED);
    world_destroy(&w);
}

static void a_probe_waits_for_an_answer(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    char url[64];
    (void)state;
    world_create(&w);
    snprintf(url, sizeof url, "coap://127.0.0.1:%u", raw_start(&s, &w));
    w.target =
        make_target(&w, url, "{\"probe\": true, \"connectTimeout\": \"200ms\", \"reconnect\": {\"max\": \"10ms\"}}");
    client_create(&w, &w.client);
    assert_int_equal(OPS->conn_open(w.client.conn, &err), 0);
    WAIT(&w, w.client.offline == 1);
    assert_non_null(strstr(w.client.why.text, "no answer to a ping within 200 ms"));
    assert_true(w.client.retry);
    unsigned before = s.count;
    WAIT(&w, s.count > before);
    const uint8_t *b = s.got[s.count - 1];
    assert_int_equal(s.n[s.count - 1], 4); // an empty CON (4.1)
    assert_int_equal(b[0], 0x40);
    raw_send(&s, RST, 0, mid_of(b), b, 0, b, 0);
    WAIT(&w, w.client.online == 1);
    raw_end(&w, &s);
}

// ---- what a server may and may not send

static void answer_separately(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    if (b[1] == 0)
        return;
    raw_send(s, ACK, 0, mid_of(b), b, 0, b, 0);
    for (int i = 0; i < 3; i++) // our acknowledgement was lost, and again
        raw_send(s, CON, 0x45, 0x7777, b + 4, token_len(b), PAYLOAD, 3);
}

static void every_copy_of_a_confirmable_answer_is_acknowledged(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_separately;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, s.count == 4);
    assert_int_equal(w.client.responses.n, 1);
    for (unsigned i = 1; i < 4; i++) {
        static const uint8_t ack[] = {0x60, 0, 0x77, 0x77};
        assert_int_equal(s.n[i], 4);
        assert_memory_equal(s.got[i], ack, 4);
    }
    assert_int_equal(counter(&w, "coap_duplicates"), 2);
    raw_end(&w, &s);
}

static void answer_wrongly(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    static const uint8_t token[] = {1, 2, 3, 4};
    if (b[1] == 0)
        return;
    raw_send(s, CON, 0x45, 0x5555, token, 4, PAYLOAD, 3); // a token nobody has: reset (4.2)
    raw_send(s, ACK, 0x45, (uint16_t)(mid_of(b) + 1), token, 4, PAYLOAD, 3);
    answer_once(s, b, n);
}

static void a_wrong_token_is_reset_and_matches_nothing(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_wrongly;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1 && s.count == 2);
    assert_string_equal((char *)w.client.responses.at[0].payload, "hi");
    static const uint8_t reset[] = {0x70, 0, 0x55, 0x55};
    assert_int_equal(s.n[1], 4);
    assert_memory_equal(s.got[1], reset, 4);
    raw_end(&w, &s);
}

static void answer_reset(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    raw_send(s, RST, 0, mid_of(b), b, 0, b, 0);
}

static void a_reset_refuses_a_request(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_reset;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1);
    assert_int_equal(w.client.responses.at[0].code, ERR_REFUSED);
    assert_non_null(strstr(w.client.responses.at[0].text, "RST"));
    assert_int_equal(counter(&w, "coap_resets"), 1);
    assert_int_equal(w.client.offline, 0);
    raw_end(&w, &s);
}

static void answer_bad_options(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    if (b[1] == 0)
        return;
    // An unknown critical option (number 9999 is odd) in a CON answer: rejected (5.4.1).
    static const uint8_t critical[] = {0xe1, 0x26, 0x02, 'x', 0xff, 'n', 'o'};
    raw_send(s, CON, 0x45, 0x4444, b + 4, token_len(b), critical, sizeof critical);
    // An unknown elective one (10000) is ignored.
    static const uint8_t elective[] = {0xe1, 0x26, 0x03, 'x', 0xff, 'h', 'i'};
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), elective, sizeof elective);
}

static void critical_options_are_refused_elective_ones_ignored(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_bad_options;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1 && s.count == 2);
    assert_string_equal((char *)w.client.responses.at[0].payload, "hi");
    assert_non_null(strstr(w.client.responses.at[0].headers, "10000=0x78;"));
    static const uint8_t reset[] = {0x70, 0, 0x44, 0x44};
    assert_memory_equal(s.got[1], reset, 4);
    raw_end(&w, &s);
}

// What libcoap would answer wrongly, or obey (wire.h).
static void answer_what_is_no_coap(struct raw *s, const uint8_t *b, size_t n)
{
    if (b[1] == 0)
        return;
    uint8_t copy[64];
    memcpy(copy, b, n);
    copy[0] = 0x84; // version 2: not even a reset
    (void)!sendto(s->fd, copy, n, 0, (struct sockaddr *)&s->peer, sizeof s->peer);
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), "\xf0", 1); // an ACK is not answered with a reset (4.2)
    raw_send(s, CON, 0x45, 0x1111, b + 4, token_len(b), "\xf0", 1);    // a CON is, with its id
    raw_send(s, CON, 0xe4, 0x2222, b + 4, 0, "", 0);                   // a Release is for streams
    raw_send(s, ACK, 0x45, (uint16_t)(mid_of(b) + 1), b + 4, token_len(b), PAYLOAD, 3); // of another message (5.3.2)
    answer_once(s, b, n);
}

static void what_is_no_coap_is_rejected_as_the_standard_says(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_what_is_no_coap;
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, w.client.responses.n == 1 && s.count == 3);
    SETTLE(&w);
    assert_int_equal(s.count, 3);
    assert_memory_equal(s.got[1], "\x70\x00\x11\x11", 4);
    assert_memory_equal(s.got[2], "\x70\x00\x22\x22", 4);
    assert_int_equal(counter(&w, "coap_malformed"), 4);
    assert_int_equal(w.client.responses.at[0].status, 205);
    assert_int_equal(w.client.offline, 0);
    raw_end(&w, &s);
}

static void answer_refused(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    static const uint8_t critical[] = {0xe1, 0x26, 0x02, 'x'};
    static const uint8_t large[1490] = {0xff};
    if (b[1])
        raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), s->count == 1 ? critical : large,
                 s->count == 1 ? sizeof critical : sizeof large);
}

static void an_acknowledgement_that_cannot_be_read_fails_its_request(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_refused;
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(get(&w, i), 0);
        WAIT(&w, w.client.responses.n == i);
    }
    SETTLE(&w);
    assert_int_equal(s.count, 2); // no reset, nothing again
    assert_int_equal(w.client.responses.at[0].code, ERR_PROTOCOL);
    assert_non_null(strstr(w.client.responses.at[0].text, "option 9999"));
    assert_int_equal(w.client.responses.at[1].code, ERR_LIMIT);
    assert_non_null(strstr(w.client.responses.at[1].text, "more than 1471 bytes"));
    assert_int_equal(w.client.offline, 0);
    raw_end(&w, &s);
}

static void answer_garbage(struct raw *s, const uint8_t *b, size_t n)
{
    static uint64_t seed = 1;
    struct rng rng;
    uint8_t junk[400];
    if (b[1] == 0)
        return;
    rng_seed(&rng, seed++);
    for (int i = 0; i < 200; i++) {
        size_t len = 1 + rng_below(&rng, sizeof junk - 1);
        for (size_t k = 0; k < len; k++)
            junk[k] = (uint8_t)rng_u64(&rng);
        if (i % 2) { // nearly right ones
            size_t keep = 4 + token_len(b);
            memcpy(junk, b, len < keep ? len : keep);
            junk[0] = (uint8_t)(0x44 | rng_below(&rng, 4) << 4);
            junk[1] = (uint8_t)(i % 4 == 1 ? 0x5f : 0x80 + rng_below(&rng, 64));
        }
        (void)!sendto(s->fd, junk, len, 0, (struct sockaddr *)&s->peer, sizeof s->peer);
    }
    (void)n;
}

static void garbage_harms_nobody(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, "{\"timeout\": \"100ms\", \"reconnect\": {\"max\": \"1ms\"}}");
    s.answer = answer_garbage;
    for (uint32_t i = 1; i <= 5; i++) {
        unsigned before = w.client.responses.n;
        WAIT(&w, get(&w, i) == 0);
        WAIT(&w, w.client.responses.n > before);
    }
    s.answer = answer_once;
    s.count = 0;
    unsigned before = w.client.responses.n;
    WAIT(&w, get(&w, 9) == 0);
    WAIT(&w, w.client.responses.n > before);
    raw_end(&w, &s);
}

// ---- blocks (RFC 7959)

static void answer_block_out_of_order(struct raw *s, const uint8_t *b, size_t n)
{
    static const uint8_t third[] = {0xd1, 23 - 13, 0x28, 0xff}; // Block2 num 2, more, 16 bytes
    uint8_t rest[20];
    (void)n;
    memcpy(rest, third, 4);
    memset(rest + 4, 'x', 16);
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), rest, sizeof rest);
}

static void answer_short_block(struct raw *s, const uint8_t *b, size_t n)
{
    static const uint8_t rest[] = {0xd1, 23 - 13, 0x08, 0xff, 'x'}; // num 0, more, but one byte
    (void)n;
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), rest, sizeof rest);
}

static void answer_bert_block(struct raw *s, const uint8_t *b, size_t n)
{
    static const uint8_t rest[] = {0xd1, 23 - 13, 0x07, 0xff, 'x'};
    (void)n;
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), rest, sizeof rest);
}

static void answer_continue(struct raw *s, const uint8_t *b, size_t n)
{
    static const uint8_t rest[] = {0xd1, 27 - 13, 0x5e}; // Block1 num 5: not what was sent
    (void)n;
    raw_send(s, ACK, 0x5f, mid_of(b), b + 4, token_len(b), rest, sizeof rest);
}

static void changing(struct raw *s, const uint8_t *b, size_t n)
{
    uint8_t rest[] = {0x41, (uint8_t)s->count,
                      0xd1, 23 - 4 - 13,
                      0x08, 0xff,
                      'a',  'b',
                      'c',  'd',
                      'e',  'f',
                      'g',  'h',
                      'i',  'j',
                      'k',  'l',
                      'm',  'n',
                      'o',  'p'};
    if (b[n - 1] == 0x10) // asks for block 1: another version, its ETag says
        rest[4] = 0x18;
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, token_len(b), rest, sizeof rest);
}

static void broken_blocks_are_protocol_errors(void **state)
{
    static const struct {
        void (*answer)(struct raw *s, const uint8_t *b, size_t n);
        const char *word;
    } all[] = {{answer_block_out_of_order, "do not follow each other"},
               {answer_short_block, "do not follow each other"},
               {answer_bert_block, "malformed Block2"},
               {changing, "changes faster"}};
    (void)state;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct world w;
        struct raw s;
        raw_world(&w, &s, NULL);
        s.answer = all[i].answer;
        assert_int_equal(get(&w, 1), 0);
        WAIT(&w, w.client.responses.n == 1);
        if (!strstr(w.client.responses.at[0].text, all[i].word))
            print_message("%s\n", w.client.responses.at[0].text);
        assert_int_equal(w.client.responses.at[0].code, ERR_PROTOCOL);
        assert_non_null(strstr(w.client.responses.at[0].text, all[i].word));
        raw_end(&w, &s);
    }
    struct world w;
    struct raw s;
    struct error err;
    uint8_t body[3000] = {0};
    raw_world(&w, &s, NULL);
    s.answer = answer_continue;
    assert_int_equal(ask_with(&w.client, "PUT", "/a", body, sizeof body, NULL, 0, NULL, 1, &err), 0);
    WAIT(&w, w.client.responses.n == 1);
    assert_int_equal(w.client.responses.at[0].code, ERR_PROTOCOL);
    raw_end(&w, &s);
}

// ---- observe (RFC 7641)

static void notify(struct raw *s, unsigned type, uint16_t mid, uint32_t sequence, const char *text)
{
    uint8_t rest[32] = {0x62, (uint8_t)(sequence >> 8), (uint8_t)sequence, 0xff};
    size_t n = strlen(text);
    memcpy(rest + 4, text, n);
    raw_send(s, type, 0x45, mid, s->got[0] + 4, 4, rest, 4 + n);
}

static void answer_observe(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    if (b[1] == 1)
        notify(s, ACK, mid_of(b), 10, "ten");
}

static void old_notifications_are_not_delivered(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, NULL);
    s.answer = answer_observe;
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 1, 1, &err), 0);
    WAIT(&w, w.client.messages.n == 1);
    s.answer = NULL;
    assert_int_equal(s.got[0][8], 0x60); // Observe: 0, as an empty value (2)
    notify(&s, NON, 1, 12, "twelve");
    notify(&s, NON, 2, 11, "eleven"); // overtaken (3.4)
    notify(&s, NON, 3, 12, "twelve");
    notify(&s, CON, 4, 13, "thirteen");
    WAIT(&w, w.client.messages.n == 3);
    SETTLE(&w);
    assert_int_equal(w.client.messages.n, 3);
    assert_string_equal((char *)w.client.messages.at[1].payload, "twelve");
    assert_string_equal((char *)w.client.messages.at[2].payload, "thirteen");
    assert_int_equal(w.client.messages.at[1].qos, 0);
    assert_int_equal(w.client.messages.at[2].qos, 1);
    static const uint8_t ack[] = {0x60, 0, 0, 4};
    assert_memory_equal(s.got[s.count - 1], ack, 4);
    assert_int_equal(counter(&w, "coap_duplicates"), 2);
    // Deregistered: Observe 1 with the same token (3.6); what comes later is reset.
    s.answer = answer_once;
    assert_int_equal(OPS->unsubscribe(w.client.conn, "a", 2, &err), 0);
    WAIT(&w, w.client.done.n == 2);
    assert_memory_equal(s.got[s.count - 1] + 4, s.got[0] + 4, 4);
    assert_int_equal(s.got[s.count - 1][8], 0x61);
    assert_int_equal(s.got[s.count - 1][9], 1);
    unsigned before = s.count;
    notify(&s, CON, 5, 14, "fourteen");
    WAIT(&w, s.count > before);
    static const uint8_t reset[] = {0x70, 0, 0, 5};
    assert_memory_equal(s.got[before], reset, 4);
    raw_end(&w, &s);
}

static void answer_observe_short(struct raw *s, const uint8_t *b, size_t n)
{
    (void)n;
    // Max-Age 0: it is to be renewed 5 to 15 s later.
    static const uint8_t rest[] = {0x61, 10, 0x80, 0xff, 'x'};
    raw_send(s, ACK, 0x45, mid_of(b), b + 4, 4, rest, sizeof rest);
}

static void an_observation_is_renewed_after_max_age(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, "{\"observe\": {\"reregister\": \"100ms\"}}");
    s.answer = answer_observe_short;
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 1, 1, &err), 0);
    WAIT(&w, w.client.messages.n == 1);
    WAIT(&w, s.count == 2 || w.client.offline);
    assert_memory_equal(s.got[1] + 4, s.got[0] + 4, 5); // same token, Observe 0 (3.3.1)
    raw_end(&w, &s);
}

static void subscriptions_outlive_the_connection(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    (void)state;
    raw_world(&w, &s, "{\"timeout\": \"200ms\", \"reconnect\": {\"max\": \"10ms\"}}");
    s.answer = answer_observe;
    assert_int_equal(OPS->subscribe(w.client.conn, "a", 1, 1, &err), 0);
    WAIT(&w, w.client.messages.n == 1);
    s.answer = NULL;
    assert_int_equal(get(&w, 5), 0);
    WAIT(&w, w.client.offline == 1 && w.client.online == 2);
    s.count = 0;
    s.answer = answer_observe;
    WAIT(&w, w.client.messages.n == 2);
    assert_int_equal(w.client.done.n, 1);
    raw_end(&w, &s);
}

// ---- the seam

static void a_hook_reorders_and_freezing_cuts_off(void **state)
{
    struct world w;
    struct raw s;
    struct error err;
    struct drop drop = {.hook.pass = drop_first, .drop_down = 0, .drop_up = 1};
    (void)state;
    raw_world(&w, &s, "{\"nstart\": 2, \"ackTimeout\": \"1s\", \"ackRandomFactor\": 1}");
    s.answer = answer_once;
    assert_int_equal(coap_conn_hook(w.client.conn, &drop.hook, &err), 0);
    assert_int_equal(get(&w, 1), 0);
    WAIT(&w, drop.kept_n > 0);
    assert_int_equal(get(&w, 2), 0);
    WAIT(&w, w.client.responses.n == 1); // the second overtakes the first
    assert_int_equal(w.client.responses.at[0].token, 2);
    assert_int_equal(coap_conn_pass(w.client.conn, false, drop.kept, drop.kept_n, &err), 0);
    assert_int_equal(w.client.responses.n, 2);
    assert_int_equal(w.client.responses.at[1].token, 1);
    assert_int_equal(coap_conn_pass(w.client.conn, false, drop.kept, drop.kept_n, &err), 0); // doubled
    assert_int_equal(w.client.responses.n, 2);
    assert_int_equal(coap_conn_pass(w.client.conn, true, drop.kept, 0, &err), -1);
    assert_int_equal(coap_conn_hook(w.client.conn, NULL, &err), 0);
    OPS->conn_freeze(w.client.conn, true);
    unsigned before = s.count;
    assert_int_equal(get(&w, 3), 0);
    SETTLE(&w);
    assert_int_equal(s.count, before);
    OPS->conn_freeze(w.client.conn, false);
    WAIT(&w, w.client.responses.n == 3); // by its retransmission
    raw_end(&w, &s);
}

static void a_keep_alive_finds_a_dead_server(void **state)
{
    struct world w;
    struct raw s;
    (void)state;
    raw_world(&w, &s, "{\"keepAlive\": \"1s\", \"reconnect\": false}");
    s.answer = answer_reset;
    WAIT(&w, s.count == 1);
    SETTLE(&w);
    s.answer = NULL;
    WAIT(&w, w.client.offline == 1);
    assert_int_equal(w.client.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.why.text, "keep-alive"));
    raw_end(&w, &s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_what_the_standard_says),
        cmocka_unit_test(a_lost_datagram_is_sent_again),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(the_transmission_parameters_may_be_small),
        cmocka_unit_test(a_deadline_ends_a_request),
        cmocka_unit_test(nothing_is_sent_for_a_device_that_has_gone),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_probe_waits_for_an_answer),
        cmocka_unit_test(every_copy_of_a_confirmable_answer_is_acknowledged),
        cmocka_unit_test(a_wrong_token_is_reset_and_matches_nothing),
        cmocka_unit_test(a_reset_refuses_a_request),
        cmocka_unit_test(critical_options_are_refused_elective_ones_ignored),
        cmocka_unit_test(what_is_no_coap_is_rejected_as_the_standard_says),
        cmocka_unit_test(an_acknowledgement_that_cannot_be_read_fails_its_request),
        cmocka_unit_test(garbage_harms_nobody),
        cmocka_unit_test(broken_blocks_are_protocol_errors),
        cmocka_unit_test(old_notifications_are_not_delivered),
        cmocka_unit_test(an_observation_is_renewed_after_max_age),
        cmocka_unit_test(subscriptions_outlive_the_connection),
        cmocka_unit_test(a_hook_reorders_and_freezing_cuts_off),
        cmocka_unit_test(a_keep_alive_finds_a_dead_server),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
