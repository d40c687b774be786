// What comes from a server: answers, their blocks, notifications, resets. Everything here runs inside libcoap.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/exchange.h"
#include "adapter/coap/serve.h"
#include "adapter/coap/wire.h"

#define RESTARTS_MAX 3u // of a body that changes while it is fetched

static struct coap_conn *conn_of(coap_session_t *session)
{
    return coap_session_get_type(session) == COAP_SESSION_TYPE_CLIENT ? coap_session_get_app_data(session) : NULL;
}

static uint32_t token_of(const coap_pdu_t *pdu)
{
    coap_bin_const_t token = coap_pdu_get_token(pdu);
    return token.length == 4 ? coap_uint(token.s, 4) : 0;
}

// Kept in one place: an observation knows two tokens while a large notification is fetched.
static struct coap_exchange *find(struct coap_conn *c, uint32_t token)
{
    for (struct coap_exchange *x = c->exchanges.head; x && token; x = x->next)
        if (x->state != EXCHANGE_FAILED &&
            ((x->state == EXCHANGE_SENT && x->wire == token) || (x->observed == token && x->kind != EXCHANGE_CANCEL)))
            return x;
    return NULL;
}

static bool option(const coap_pdu_t *pdu, coap_option_num_t number, const uint8_t **bytes, size_t *n)
{
    coap_opt_iterator_t at;
    coap_opt_t *o = coap_check_option(pdu, number, &at);
    *bytes = o ? coap_opt_value(o) : NULL;
    *n = o ? coap_opt_length(o) : 0;
    return o != NULL;
}

struct block {
    uint32_t num;
    bool more;
    unsigned szx;
};

// -1: not a block (RFC 7959, 2.2: size exponent 7 is BERT of TCP, which is not asked for).
static int block_of(const coap_pdu_t *pdu, coap_option_num_t number, struct block *out)
{
    const uint8_t *bytes;
    size_t n;
    if (!option(pdu, number, &bytes, &n))
        return 0;
    uint32_t v = coap_uint(bytes, n);
    *out = (struct block){.num = v >> 4, .more = v & 8, .szx = v & 7};
    return n > 3 || out->szx == 7 ? -1 : 1;
}

unsigned coap_read_headers(struct coap_target *t, const coap_pdu_t *pdu, struct adapter_property out[COAP_FIELDS_MAX])
{
    struct buf *text = &t->text;
    uint32_t starts[COAP_FIELDS_MAX][3];
    coap_opt_iterator_t at;
    coap_opt_t *o;
    unsigned n = 0;
    buf_clear(text);
    coap_option_iterator_init(pdu, &at, COAP_OPT_ALL);
    while ((o = coap_option_next(&at)) && n < COAP_FIELDS_MAX) {
        if (at.number == COAP_OPTION_BLOCK1 || at.number == COAP_OPTION_BLOCK2 || at.number == COAP_OPTION_URI_PATH ||
            at.number == COAP_OPTION_URI_QUERY)
            continue;
        const char *name = coap_option_name(at.number);
        starts[n][0] = text->len;
        if (name ? buf_append_str(text, name) : buf_append_int(text, at.number))
            break;
        starts[n][1] = text->len;
        if (coap_option_text(at.number, coap_opt_value(o), coap_opt_length(o), text))
            break;
        starts[n++][2] = text->len;
    }
    for (unsigned i = 0; i < n; i++) // only now: text has moved while it grew
        out[i] = (struct adapter_property){(const char *)text->data + starts[i][0], starts[i][1] - starts[i][0],
                                           (const char *)text->data + starts[i][1], starts[i][2] - starts[i][1]};
    return n;
}

// --- telling ------------------------------------------------------------------------------------------------------

static void done(struct coap_conn *c, uint32_t token, int qos, const struct error *why)
{
    if (token && !(c->flags & COAP_DOOMED) && c->events->on_done)
        c->events->on_done(c->owner, token, qos, why);
}

static void refused(const coap_pdu_t *pdu, const uint8_t *body, size_t n, struct error *err)
{
    unsigned code = coap_pdu_get_code(pdu);
    const char *words = coap_response_phrase((unsigned char)code);
    error_set(err, ERR_REFUSED, "%u.%02u%s%s%s%.*s", code >> 5, code & 31, words ? " " : "", words ? words : "",
              n ? ": " : "", (int)(n > 120 ? 120 : n), body ? (const char *)body : "");
}

static void tell_publish(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n)
{
    struct coap_conn *c = x->conn;
    struct coap_target *t = c->target;
    struct error err;
    uint32_t token = x->token;
    bool con = x->con, accepted = coap_pdu_get_code(pdu) >> 5 == 2;
    int64_t latency = loop_fresh_us(t->env.loop) - x->begun_us;
    const struct lag lag = x->lag;
    coap_exchange_delete(x);
    if (con && accepted) {
        counter_add(t->series.messages_acked, 1);
        trend_add_lagged(t->series.publish_latency, t->series.publish_latency_raw, latency, &lag);
    }
    if (con || !accepted)
        rate_add(t->series.publish_errors, !accepted);
    if (!accepted) {
        refused(pdu, body, n, &err);
        coap_count_reason(t, COAP_MESSAGES_DROPPED, ERR_REFUSED);
    }
    done(c, token, -1, accepted ? NULL : &err);
}

// more: the exchange goes on as an observation.
static void tell_response(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n, bool more)
{
    struct adapter_property headers[COAP_FIELDS_MAX];
    struct coap_conn *c = x->conn;
    struct coap_target *t = c->target;
    int64_t now = loop_fresh_us(t->env.loop);
    bool first = !x->seen, notification = x->seen;
    struct adapter_response r = {.status = coap_status(coap_pdu_get_code(pdu)),
                                 .payload = body,
                                 .payload_len = n,
                                 .headers = headers,
                                 .latency_us = notification ? 0 : now - x->begun_us,
                                 .attempts = 1,
                                 .more = more};
    uint32_t token = x->token;
    r.n_headers = coap_read_headers(t, pdu, headers);
    if (first) {
        rate_add(t->series.request_errors, r.status >= 400);
        trend_add_lagged(t->series.request_latency, t->series.request_latency_raw, r.latency_us, &x->lag);
    }
    if (more) {
        x->seen = true;
        coap_exchange_observe(x);
    } else {
        coap_exchange_delete(x);
    }
    if (!(c->flags & COAP_DOOMED) && c->events->on_response)
        c->events->on_response(c->owner, token, &r, NULL);
}

static void tell_message(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n)
{
    struct coap_conn *c = x->conn;
    const uint8_t *bytes;
    const char *format = NULL;
    size_t len;
    if (option(pdu, COAP_OPTION_CONTENT_FORMAT, &bytes, &len))
        format = coap_format_name(coap_uint(bytes, len));
    struct adapter_meta meta = {.content_type = format, .content_type_len = format ? strlen(format) : 0};
    struct adapter_message m = {.topic = x->filter,
                                .topic_len = strlen(x->filter),
                                .payload = body,
                                .payload_len = n,
                                .qos = coap_pdu_get_type(pdu) != COAP_MESSAGE_NON,
                                .meta = format ? &meta : NULL};
    counter_add(c->target->series.messages_received, 1);
    if (!(c->flags & COAP_DOOMED) && c->events->on_message)
        c->events->on_message(c->owner, &m);
}

static void tell_subscription(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n, bool more)
{
    struct coap_conn *c = x->conn;
    struct error err;
    uint32_t token = x->told ? 0 : x->token;
    if (!more) {
        if (coap_pdu_get_code(pdu) >> 5 == 2)
            error_set(&err, ERR_REFUSED, "\"%.80s\" cannot be observed: the server answers without Observe", x->filter);
        else
            refused(pdu, body, n, &err);
        coap_exchange_delete(x);
        done(c, token, -1, &err);
        return;
    }
    if (!x->told)
        trend_add(c->target->series.subscribe_latency, loop_fresh_us(c->target->env.loop) - x->begun_us);
    x->told = x->seen = true;
    coap_exchange_observe(x);
    uint32_t observed = x->observed;
    done(c, token, 1, NULL);
    if (find(c, observed) == x) // still there after what the owner did
        tell_message(x, pdu, body, n);
}

static void tell(struct coap_exchange *x, const coap_pdu_t *pdu, const uint8_t *body, size_t n)
{
    const uint8_t *bytes;
    size_t len;
    bool good = coap_pdu_get_code(pdu) >> 5 == 2;
    bool more = good && x->notifying;
    struct coap_conn *c = x->conn;
    uint32_t token = x->token;
    if (option(pdu, COAP_OPTION_MAXAGE, &bytes, &len))
        x->max_age = coap_uint(bytes, len);
    if (!x->seen) // once an exchange: its blocks and notifications are no answers of their own
        coap_count_response(c->target, coap_pdu_get_code(pdu));
    switch ((enum coap_kind)x->kind) {
    case EXCHANGE_PUBLISH:
        tell_publish(x, pdu, body, n);
        break;
    case EXCHANGE_REQUEST:
        tell_response(x, pdu, body, n, false);
        break;
    case EXCHANGE_OBSERVE:
        tell_response(x, pdu, body, n, more);
        break;
    case EXCHANGE_SUBSCRIBE:
        tell_subscription(x, pdu, body, n, more);
        break;
    case EXCHANGE_CANCEL:
        coap_exchange_delete(x);
        done(c, token, -1, NULL);
        break;
    case EXCHANGE_DIRECTORY:
        coap_directory_answer(x, pdu, body, n);
        break;
    }
}

// --- blocks -------------------------------------------------------------------------------------------------------

static void fail(struct coap_exchange *x, enum error_code code, const char *text)
{
    struct error err;
    error_set(&err, code, "%s", text);
    coap_exchange_fail(x, &err);
}

static void send_next(struct coap_exchange *x)
{
    struct error err;
    loop_timer_stop(x->conn->target->env.loop, &x->timer); // each block has its time
    if (coap_exchange_send(x, &err) < 0)
        coap_exchange_fail(x, &err);
}

// An answer to a block of the request's body. True: it was dealt with.
static bool body_goes_on(struct coap_exchange *x, const coap_pdu_t *pdu)
{
    unsigned code = coap_pdu_get_code(pdu);
    struct block b = {0};
    int has = block_of(pdu, COAP_OPTION_BLOCK1, &b);
    uint32_t size = 16u << x->szx;
    if (code == COAP_RESPONSE_CODE_CONTINUE) {
        if (has <= 0 || b.num != x->body_sent >> (x->szx + 4) || x->body_len - x->body_sent <= size) {
            fail(x, ERR_PROTOCOL, "2.31 Continue to a block that was not sent (RFC 7959, 2.9.1)");
            return true;
        }
        x->body_sent += size;
        if (b.szx < x->szx)
            x->szx = (uint8_t)b.szx;
        send_next(x);
        return true;
    }
    if (code == COAP_RESPONSE_CODE_REQUEST_TOO_LARGE && has > 0 && b.szx < x->szx && x->body_len > 16u << b.szx &&
        !x->body_sent) {
        x->szx = (uint8_t)b.szx; // RFC 7959, 2.9.3: in smaller blocks
        send_next(x);
        return true;
    }
    if (code == COAP_RESPONSE_CODE_INCOMPLETE && x->body_sent && x->restarts++ < 1) {
        x->body_sent = 0;
        send_next(x);
        return true;
    }
    return false;
}

static bool same_version(struct coap_exchange *x, const coap_pdu_t *pdu, bool first)
{
    const uint8_t *etag;
    size_t n;
    (void)option(pdu, COAP_OPTION_ETAG, &etag, &n);
    if (n > sizeof x->etag)
        n = 0;
    if (first) {
        x->etag_len = (uint8_t)n;
        if (n)
            memcpy(x->etag, etag, n);
        return true;
    }
    return n == x->etag_len && (!n || memcmp(x->etag, etag, n) == 0);
}

static bool keep_block(struct coap_exchange *x, const uint8_t *bytes, size_t n)
{
    if (!x->in) {
        if (!(x->in = calloc(1, sizeof *x->in)))
            return false;
        buf_create(x->in, x->conn->target->options.max_response);
    }
    return buf_append(x->in, bytes, n) == 0;
}

// A block of an answer. True: it was dealt with; false: the body is complete in x->in.
static bool answer_goes_on(struct coap_exchange *x, const coap_pdu_t *pdu, const struct block *b, const uint8_t *bytes,
                           size_t n)
{
    uint32_t got = x->in ? x->in->len : 0;
    uint64_t offset = (uint64_t)b->num << (b->szx + 4);
    if (offset < got)
        return true; // one that was there already
    if (offset > got || (b->more && n != 16u << b->szx)) {
        fail(x, ERR_PROTOCOL, "the blocks of the answer do not follow each other (RFC 7959, 2.4)");
        return true;
    }
    if (!same_version(x, pdu, !got)) {
        if (x->restarts++ >= RESTARTS_MAX) {
            fail(x, ERR_PROTOCOL, "the resource changes faster than its blocks can be fetched (ETag)");
            return true;
        }
        buf_clear(x->in);
        send_next(x);
        return true;
    }
    if (!keep_block(x, bytes, n)) {
        fail(x, ERR_LIMIT, "the answer is larger than maxResponse");
        return true;
    }
    if (!b->more)
        return false;
    x->szx = (uint8_t)b->szx;
    send_next(x);
    return true;
}

// RFC 7641, 3.4: is it newer than what was seen?
static bool fresh(struct coap_exchange *x, const coap_pdu_t *pdu)
{
    const uint8_t *bytes;
    size_t n;
    if (!option(pdu, COAP_OPTION_OBSERVE, &bytes, &n))
        return true;
    uint32_t v1 = x->sequence, v2 = coap_uint(bytes, n) & 0xffffff;
    int64_t now = loop_fresh_us(x->conn->target->env.loop);
    bool newer = !x->sequence_us || now > x->sequence_us + 128 * (int64_t)1000000 ||
                 (v1 < v2 && v2 - v1 < (1u << 23)) || (v1 > v2 && v1 - v2 > (1u << 23));
    if (newer || x->renewing) {
        x->sequence = v2;
        x->sequence_us = now;
        return true;
    }
    return false;
}

static void on_answer(struct coap_exchange *x, const coap_pdu_t *pdu)
{
    struct coap_conn *c = x->conn;
    const uint8_t *bytes = NULL;
    struct block b;
    size_t n = 0;
    size_t len;
    const uint8_t *unused;
    (void)coap_get_data(pdu, &n, &bytes);
    coap_exchange_landed(x);
    if (x->body_len && body_goes_on(x, pdu))
        return;
    int has = block_of(pdu, COAP_OPTION_BLOCK2, &b);
    if (has < 0) {
        fail(x, ERR_PROTOCOL, "a malformed Block2 option (RFC 7959, 2.2)");
        return;
    }
    // Blocks behind the first of a notification have no Observe, and tokens of their own (RFC 7959, 2.6).
    if (x->observed && token_of(pdu) == x->observed) {
        x->notifying = option(pdu, COAP_OPTION_OBSERVE, &unused, &len);
        if (!fresh(x, pdu)) {
            counter_add(c->target->series.duplicates, 1);
            if (x->state == EXCHANGE_SENT)
                coap_exchange_observe(x);
            return;
        }
        if (x->in)
            buf_clear(x->in); // what was being fetched is out of date
    }
    if (has && coap_pdu_get_code(pdu) >> 5 == 2) {
        if (answer_goes_on(x, pdu, &b, bytes, n))
            return;
        // The owner may delete x: the body is handed over outside of it.
        struct buf body = *x->in;
        buf_create(x->in, body.cap);
        tell(x, pdu, body.data, body.len);
        buf_destroy(&body);
        return;
    }
    tell(x, pdu, bytes, n);
}

coap_response_t coap_on_response(coap_session_t *session, const coap_pdu_t *sent, const coap_pdu_t *received,
                                 const coap_mid_t mid)
{
    struct coap_conn *c = conn_of(session);
    unsigned code = coap_pdu_get_code(received);
    (void)sent;
    if (!c)
        return COAP_RESPONSE_OK;
    if (coap_target_reliable(c->target))
        coap_conn_heard(c);
    if (coap_pdu_get_token(received).length == 2) { // of a publish that expects nothing
        coap_count_response(c->target, code);
        return COAP_RESPONSE_OK;
    }
    struct coap_exchange *x = find(c, token_of(received));
    if (x && coap_pdu_get_type(received) == COAP_MESSAGE_ACK && !coap_target_reliable(c->target) && x->mid != mid)
        x = NULL; // RFC 7252, 5.3.2: both are to match
    if (!x)       // reset (RFC 7252, 4.2 and RFC 7641, 3.6), but an acknowledgement is ignored in silence
        return coap_pdu_get_type(received) == COAP_MESSAGE_ACK ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL;
    coap_conn_enter(c);
    on_answer(x, received);
    if (c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED))
        coap_exchanges_pump(c);
    coap_conn_leave(c);
    return COAP_RESPONSE_OK;
}

void coap_answer_refused(struct coap_conn *c, const struct coap_checked *checked)
{
    uint32_t token = checked->token_len == 4 ? coap_uint(checked->token, 4) : 0;
    struct coap_exchange *x = find(c, token);
    if (!x || x->state != EXCHANGE_SENT || (!coap_target_reliable(c->target) && x->mid != checked->mid))
        return;
    x->state = EXCHANGE_FAILED;
    x->failure = checked->option ? ERR_PROTOCOL : ERR_LIMIT;
    x->refused = checked->option;
    x->unread = checked->why;
    coap_target_due(c->target, c);
}

void coap_on_nack(coap_session_t *session, const coap_pdu_t *sent, const coap_nack_reason_t reason,
                  const coap_mid_t mid)
{
    struct coap_conn *c = conn_of(session);
    bool reset = reason == COAP_NACK_RST;
    if (coap_session_get_type(session) != COAP_SESSION_TYPE_CLIENT || coap_pdu_get_code(sent) >> 5 >= 2) {
        coap_on_server_nack(session, sent, reason);
        return;
    }
    if (!c || (!reset && reason != COAP_NACK_TOO_MANY_RETRIES))
        return; // the connection's own error says it
    if (coap_pdu_get_code(sent) == 0) {
        if (mid != c->ping_mid)
            return;
        if (!reset)
            coap_conn_lose(c, ERR_TIMEOUT, "no answer to a ping");
        coap_conn_up(c); // where it is connecting, a reset is what was asked for (RFC 7252, 4.3)
        return;
    }
    if (reset)
        counter_add(c->target->series.resets, 1);
    struct coap_exchange *x = find(c, token_of(sent));
    if (!x || x->state != EXCHANGE_SENT || x->mid != mid)
        return;
    x->state = EXCHANGE_FAILED;
    x->failure = reset ? ERR_REFUSED : ERR_TIMEOUT;
    coap_target_due(c->target, c);
}

void coap_on_pong(coap_session_t *session, const coap_pdu_t *received, const coap_mid_t mid)
{
    struct coap_conn *c = conn_of(session);
    (void)received, (void)mid;
    if (c)
        coap_conn_heard(c);
}
