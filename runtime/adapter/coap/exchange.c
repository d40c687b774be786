#include "adapter/coap/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "core/units.h"

// libcoap's own, not in its public headers: what waits for an acknowledgement of this token is not sent again.
void coap_cancel_all_messages(coap_context_t *context, coap_session_t *session, const uint8_t *token, size_t n);

static void on_timer(struct timer *timer, void *loop);

// --- life ---------------------------------------------------------------------------------------------------------

static void append(struct coap_exchanges *list, struct coap_exchange *x)
{
    x->next = NULL;
    x->prev = list->tail;
    if (list->tail)
        list->tail->next = x;
    else
        list->head = x;
    list->tail = x;
    list->n++;
}

static void take(struct coap_exchanges *list, struct coap_exchange *x)
{
    if (x->prev)
        x->prev->next = x->next;
    else
        list->head = x->next;
    if (x->next)
        x->next->prev = x->prev;
    else
        list->tail = x->prev;
    x->next = x->prev = NULL;
    list->n--;
}

uint32_t coap_new_token(struct coap_conn *c)
{
    uint32_t token;
    bool used;
    do {
        token = (uint32_t)rng_u64(&c->rng);
        used = token == 0;
        for (const struct coap_exchange *x = c->exchanges.head; x && !used; x = x->next)
            used = x->wire == token || x->observed == token;
    } while (used);
    return token;
}

// One block of memory: the exchange, its fields, their bytes, the body, the filter.
struct coap_exchange *coap_exchange_new(struct coap_conn *c, const struct coap_request *r, struct error *err)
{
    struct coap_target *t = c->target;
    const struct coap_fields *f = &t->fields;
    size_t n = sizeof(struct coap_exchange) + f->n * sizeof(struct coap_field) + r->body_len;
    size_t filter = r->filter ? strlen(r->filter) + 1 : 0;
    if (c->exchanges.n >= t->options.queue_max) {
        error_set(err, ERR_LIMIT, "%u requests and observations are under way or wait already (queueMax)",
                  t->options.queue_max);
        return NULL;
    }
    if (r->body_len > COAP_BODY_MAX) {
        error_set(err, ERR_LIMIT, "a CoAP request carries at most %u bytes, not %zu", COAP_BODY_MAX, r->body_len);
        return NULL;
    }
    for (unsigned i = 0; i < f->n; i++)
        n += f->at[i].len;
    struct coap_exchange *x = calloc(1, n + filter);
    if (!x) {
        error_set(err, ERR_NO_MEMORY, "no memory for a request");
        return NULL;
    }
    x->fields = (struct coap_field *)(x + 1);
    uint8_t *to = (uint8_t *)(x->fields + f->n);
    for (unsigned i = 0; i < f->n; i++) {
        x->fields[i] = f->at[i];
        x->fields[i].bytes = to;
        memcpy(to, f->at[i].bytes, f->at[i].len);
        to += f->at[i].len;
    }
    x->n_fields = f->n;
    if (r->body_len)
        memcpy(to, r->body, r->body_len);
    x->body = to;
    x->body_len = (uint32_t)r->body_len;
    if (filter)
        x->filter = memcpy(to + r->body_len, r->filter, filter);
    x->conn = c;
    x->kind = (uint8_t)r->kind;
    x->code = (uint8_t)r->code;
    x->con = r->con;
    x->token = r->token;
    x->szx = (uint8_t)(r->szx >= 0 ? r->szx : (int)t->options.block_szx);
    x->timeout_us = r->timeout_us > 0 ? r->timeout_us : t->options.timeout_us;
    x->begun_us = loop_fresh_us(t->env.loop);
    loop_lag(t->env.loop, x->begun_us, &x->lag);
    x->max_age = 60; // RFC 7252, 5.10.5
    if (x->kind == EXCHANGE_PUBLISH)
        c->n_pending++;
    append(&c->exchanges, x);
    return x;
}

void coap_exchange_landed(struct coap_exchange *x)
{
    if (x->flying) {
        x->flying = false;
        x->conn->n_flying--;
    }
    x->wire = 0;
}

static void forget(struct coap_exchange *x)
{
    if (x->kind == EXCHANGE_PUBLISH)
        x->conn->n_pending--;
    coap_exchange_landed(x);
    loop_timer_stop(x->conn->target->env.loop, &x->timer);
    if (x->in)
        buf_destroy(x->in);
    free(x->in);
    free(x);
}

void coap_exchange_delete(struct coap_exchange *x)
{
    take(&x->conn->exchanges, x);
    forget(x);
}

void coap_exchanges_clear(struct coap_conn *c)
{
    while (c->exchanges.head)
        coap_exchange_delete(c->exchanges.head);
}

size_t coap_exchanges_footprint(const struct coap_conn *c)
{
    size_t n = 0;
    for (const struct coap_exchange *x = c->exchanges.head; x; x = x->next) {
        n += sizeof *x + x->n_fields * sizeof(struct coap_field) + x->body_len;
        n += x->in ? sizeof *x->in + x->in->size : 0;
    }
    return n;
}

// --- messages -----------------------------------------------------------------------------------------------------

int coap_fill(coap_pdu_t *pdu, const struct coap_field *fields, unsigned n, const void *payload, size_t payload_len,
              struct error *err)
{
    bool fits = true;
    for (unsigned i = 0; i < n && fits; i++)
        fits = coap_add_option(pdu, fields[i].number, fields[i].len, fields[i].bytes) != 0;
    if (fits && payload_len)
        fits = coap_add_data(pdu, payload_len, payload) != 0;
    return fits ? 0
                : error_set(err, ERR_LIMIT, "options and payload do not fit in one CoAP message (%zu bytes of payload)",
                            payload_len);
}

static coap_pdu_t *new_pdu(struct coap_conn *c, bool con, unsigned code, const uint8_t *token, size_t token_len,
                           struct error *err)
{
    coap_pdu_t *pdu = coap_pdu_init(con ? COAP_MESSAGE_CON : COAP_MESSAGE_NON, (coap_pdu_code_t)code,
                                    coap_new_message_id(c->session), coap_session_max_pdu_size(c->session));
    if (pdu && coap_add_token(pdu, token_len, token))
        return pdu;
    if (pdu)
        coap_delete_pdu(pdu);
    error_set(err, ERR_NO_MEMORY, "no memory for a CoAP message");
    return NULL;
}

static void add_block(struct coap_fields *f, unsigned option, uint32_t num, bool more, unsigned szx)
{
    (void)coap_fields_add_uint(f, option, num << 4 | (more ? 8u : 0) | szx, NULL);
}

// Whether the body goes in blocks: over UDP when it is larger than one; over TCP when it is larger than a message.
static bool in_blocks(const struct coap_exchange *x)
{
    struct coap_conn *c = x->conn;
    size_t block = 16u << x->szx;
    if (!coap_target_reliable(c->target))
        return x->body_len > block;
    return x->body_len > block && (size_t)x->body_len + 512 > coap_session_max_pdu_size(c->session);
}

static bool observes(const struct coap_exchange *x)
{
    return x->kind == EXCHANGE_OBSERVE || x->kind == EXCHANGE_SUBSCRIBE;
}

int coap_exchange_send(struct coap_exchange *x, struct error *err)
{
    struct coap_conn *c = x->conn;
    struct coap_fields *f = &c->target->fields;
    uint32_t got = x->in ? x->in->len : 0;
    const uint8_t *payload = got ? NULL : x->body;
    size_t payload_len = got ? 0 : x->body_len;
    coap_fields_clear(f);
    for (unsigned i = 0; i < x->n_fields; i++)
        (void)coap_fields_add(f, x->fields[i].number, x->fields[i].bytes, x->fields[i].len, NULL);
    if (!got && observes(x))
        (void)coap_fields_add_uint(f, COAP_OPTION_OBSERVE, 0, NULL);
    if (!got && x->kind == EXCHANGE_CANCEL)
        (void)coap_fields_add_uint(f, COAP_OPTION_OBSERVE, 1, NULL);
    if (got) {
        add_block(f, COAP_OPTION_BLOCK2, got >> (x->szx + 4), false, x->szx);
    } else if (in_blocks(x)) {
        uint32_t block = 16u << x->szx, left = x->body_len - x->body_sent;
        add_block(f, COAP_OPTION_BLOCK1, x->body_sent >> (x->szx + 4), left > block, x->szx);
        if (!x->body_sent)
            (void)coap_fields_add_uint(f, COAP_OPTION_SIZE1, x->body_len, NULL);
        payload += x->body_sent;
        payload_len = left > block ? block : left;
    } else if (x->szx < 6 && x->szx != c->target->options.block_szx) {
        add_block(f, COAP_OPTION_BLOCK2, 0, false, x->szx); // early negotiation (RFC 7959, 2.4)
    }
    if (!coap_pipe_room(c, c->session))
        return error_set(err, ERR_LIMIT, "the server takes nothing: what was sent before still waits");
    if (f->n == COAP_FIELDS_MAX)
        return error_set(err, ERR_LIMIT, "a CoAP request has fewer than %u options here", COAP_FIELDS_MAX);
    if (x->observed && !got)
        x->wire = x->observed;
    else
        x->wire = coap_new_token(c);
    uint8_t token[4] = {(uint8_t)(x->wire >> 24), (uint8_t)(x->wire >> 16), (uint8_t)(x->wire >> 8), (uint8_t)x->wire};
    coap_pdu_t *pdu = new_pdu(c, x->con, x->code, token, sizeof token, err);
    if (!pdu)
        return -1;
    if (coap_fill(pdu, f->at, f->n, payload, payload_len, err) < 0) {
        coap_delete_pdu(pdu);
        return -1;
    }
    if (!got && observes(x))
        x->observed = x->wire;
    x->state = EXCHANGE_SENT;
    x->sent_us = loop_fresh_us(c->target->env.loop);
    if (x->con && !x->flying) {
        x->flying = true;
        c->n_flying++;
    }
    if (!timer_pending(&x->timer) && !(c->flags & COAP_FROZEN))
        loop_timer_start(c->target->env.loop, &x->timer, x->timeout_us, on_timer);
    x->mid = coap_send(c->session, pdu);
    if (x->mid != COAP_INVALID_MID)
        return 0;
    coap_exchange_landed(x);
    return error_set(err, ERR_IO, "libcoap cannot send the message");
}

// The first message of an exchange, as far as nstart allows.
static int start(struct coap_exchange *x, struct error *err)
{
    struct coap_conn *c = x->conn;
    if (c->state != COAP_ONLINE || c->lost || (x->con && c->n_flying >= c->target->options.nstart))
        return 0;
    if (!x->attempts++ && x->kind == EXCHANGE_PUBLISH)
        counter_add(c->target->series.messages_sent, 1);
    return coap_exchange_send(x, err);
}

void coap_exchanges_pump(struct coap_conn *c)
{
    struct error err;
    for (struct coap_exchange *x = c->exchanges.head, *next; x; x = next) {
        next = x->next;
        if (x->state != EXCHANGE_QUEUED || start(x, &err) == 0)
            continue;
        x->state = EXCHANGE_FAILED; // told by the hook: this may be inside a call of the owner
        x->failure = (uint8_t)err.code;
        coap_target_due(c->target, c);
    }
}

int coap_ping(struct coap_conn *c, struct error *err)
{
    bool reliable = coap_target_reliable(c->target);
    coap_pdu_t *pdu = reliable ? coap_pdu_init(COAP_MESSAGE_CON, COAP_SIGNALING_CODE_PING, 0, 1)
                               : coap_pdu_init(COAP_MESSAGE_CON, 0, coap_new_message_id(c->session), 0);
    if (!pdu)
        return error_set(err, ERR_NO_MEMORY, "no memory for a CoAP message");
    c->ping_mid = coap_send(c->session, pdu);
    return c->ping_mid == COAP_INVALID_MID ? error_set(err, ERR_IO, "libcoap cannot send a ping") : 0;
}

// --- ends ---------------------------------------------------------------------------------------------------------

static void tell_done(struct coap_conn *c, uint32_t token, const struct error *why)
{
    if (token && !(c->flags & COAP_DOOMED) && c->events->on_done)
        c->events->on_done(c->owner, token, -1, why);
}

// The observation is established and its subscribe was answered.
static bool established(const struct coap_exchange *x)
{
    return x->kind == EXCHANGE_SUBSCRIBE && x->told;
}

// x is out of the list.
static void end(struct coap_exchange *x, const struct error *why)
{
    struct coap_conn *c = x->conn;
    struct coap_target *t = c->target;
    uint32_t token = x->token;
    bool told = x->told, answered = x->seen;
    enum coap_kind kind = (enum coap_kind)x->kind;
    if (kind == EXCHANGE_DIRECTORY)
        coap_directory_failed(x, why);
    forget(x);
    switch (kind) {
    case EXCHANGE_PUBLISH:
        coap_count_reason(t, COAP_MESSAGES_DROPPED, why->code);
        rate_add(t->series.publish_errors, true);
        tell_done(c, token, why);
        break;
    case EXCHANGE_SUBSCRIBE:
    case EXCHANGE_CANCEL:
        tell_done(c, told ? 0 : token, why);
        break;
    case EXCHANGE_REQUEST:
    case EXCHANGE_OBSERVE:
        if (!answered) // an observation that had answers was counted with the first
            rate_add(t->series.request_errors, true);
        if (!(c->flags & COAP_DOOMED) && c->events->on_response)
            c->events->on_response(c->owner, token, NULL, why);
        break;
    case EXCHANGE_DIRECTORY:
        break;
    }
}

void coap_exchange_fail(struct coap_exchange *x, const struct error *why)
{
    take(&x->conn->exchanges, x);
    end(x, why);
}

static void wait_again(struct coap_exchange *x)
{
    loop_timer_stop(x->conn->target->env.loop, &x->timer);
    coap_exchange_landed(x);
    x->state = EXCHANGE_QUEUED;
    x->body_sent = 0;
    x->observed = 0;
    x->seen = false;
    x->sequence_us = 0;
    if (x->in)
        buf_clear(x->in);
}

void coap_exchanges_drop(struct coap_conn *c, const struct error *why, bool all)
{
    struct coap_exchanges kept = {NULL, NULL, 0};
    for (unsigned n = c->exchanges.n; n && c->exchanges.head; n--) {
        struct coap_exchange *x = c->exchanges.head;
        take(&c->exchanges, x);
        if (!all && (x->kind == EXCHANGE_PUBLISH || established(x))) {
            wait_again(x);
            append(&kept, x);
        } else {
            end(x, why);
        }
    }
    while (kept.tail) { // in front of what came meanwhile
        struct coap_exchange *x = kept.tail;
        take(&kept, x);
        x->next = c->exchanges.head;
        if (x->next)
            x->next->prev = x;
        else
            c->exchanges.tail = x;
        c->exchanges.head = x;
        c->exchanges.n++;
    }
}

// Nothing of the server since it was sent: it is not this request that is refused, the server is gone.
static bool silent(const struct coap_exchange *x)
{
    return x->con && x->conn->heard_us < x->sent_us && !coap_target_reliable(x->conn->target);
}

static void time_out(struct coap_exchange *x, const struct error *why)
{
    struct coap_conn *c = x->conn;
    bool lost = silent(x) && c->state == COAP_ONLINE;
    counter_add(c->target->series.timeouts, 1);
    if (established(x)) // its renewal; the next connection or the next try will do
        wait_again(x);
    else
        coap_exchange_fail(x, why);
    if (lost && c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED))
        coap_conn_fail(c, why, true);
}

static void on_timer(struct timer *timer, void *loop)
{
    struct coap_exchange *x = container_of(timer, struct coap_exchange, timer);
    struct coap_conn *c = x->conn;
    struct error err;
    char limit[32];
    (void)loop;
    coap_conn_enter(c);
    if (x->state == EXCHANGE_OBSERVING) { // Max-Age has passed: is it still registered (RFC 7641, 3.3.1)?
        x->state = EXCHANGE_QUEUED;
        x->renewing = true;
    } else if (x->state != EXCHANGE_FAILED) {
        if (x->wire && c->session) {
            uint8_t token[4] = {(uint8_t)(x->wire >> 24), (uint8_t)(x->wire >> 16), (uint8_t)(x->wire >> 8),
                                (uint8_t)x->wire};
            coap_cancel_all_messages(c->pool->ctx, c->session, token, sizeof token);
        }
        error_set(&err, ERR_TIMEOUT, "no answer within %s", duration_format(x->timeout_us, limit, sizeof limit));
        time_out(x, &err);
    }
    if (c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED))
        coap_exchanges_pump(c);
    coap_conn_leave(c);
}

static void explain(const struct coap_exchange *x, struct error *err)
{
    if (x->failure == ERR_TIMEOUT)
        error_set(err, ERR_TIMEOUT, "no acknowledgement after %u retransmission%s",
                  x->conn->target->options.max_retransmit, x->conn->target->options.max_retransmit == 1 ? "" : "s");
    else if (x->failure == ERR_REFUSED)
        error_set(err, ERR_REFUSED, "the server answered with a reset (RST)");
    else if (x->unread && x->refused)
        error_set(err, (enum error_code)x->failure, "the answer is not read: option %u is %s", x->refused, x->unread);
    else if (x->unread)
        error_set(err, (enum error_code)x->failure, "the answer is not read: %s", x->unread);
    else
        error_set(err, (enum error_code)x->failure, "libcoap could not send it");
}

void coap_exchanges_work(struct coap_conn *c)
{
    struct coap_exchange *x = c->exchanges.head;
    while (x && c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED)) {
        struct error err;
        if (x->state != EXCHANGE_FAILED) {
            x = x->next;
            continue;
        }
        explain(x, &err);
        if (err.code == ERR_TIMEOUT)
            time_out(x, &err);
        else
            coap_exchange_fail(x, &err);
        x = c->exchanges.head; // the owner may have done anything
    }
    if (c->state == COAP_ONLINE && !(c->flags & COAP_DOOMED))
        coap_exchanges_pump(c);
}

void coap_exchanges_freeze(struct coap_conn *c, bool frozen)
{
    struct loop *loop = c->target->env.loop;
    for (struct coap_exchange *x = c->exchanges.head; x; x = x->next)
        if (frozen)
            loop_timer_stop(loop, &x->timer);
        else if (x->state == EXCHANGE_SENT)
            loop_timer_start(loop, &x->timer, x->timeout_us, on_timer);
        else if (x->state == EXCHANGE_OBSERVING)
            loop_timer_start(loop, &x->timer, (int64_t)x->max_age * 1000000, on_timer);
}

void coap_exchange_observe(struct coap_exchange *x)
{
    struct coap_conn *c = x->conn;
    coap_exchange_landed(x);
    x->state = EXCHANGE_OBSERVING;
    x->renewing = false;
    loop_timer_stop(c->target->env.loop, &x->timer);
    if (!c->target->options.reregister)
        return;
    // By default 5 to 15 s behind Max-Age, so that devices that were told together do not ask together.
    int64_t grace = c->target->options.grace_us, max_age = x->max_age > 86400 ? 86400 : x->max_age;
    if (grace < 0)
        grace = (int64_t)((5 + 10 * rng_unit(&c->rng)) * 1e6);
    loop_timer_start(c->target->env.loop, &x->timer, max_age * 1000000 + grace, on_timer);
}

// --- adapter_ops --------------------------------------------------------------------------------------------------

// A new exchange goes out at once if it may. NULL: it was not accepted.
static struct coap_exchange *begin(struct coap_conn *c, const struct coap_request *r, struct error *err)
{
    struct coap_exchange *x = coap_exchange_new(c, r, err);
    if (!x || start(x, err) == 0)
        return x;
    coap_exchange_delete(x);
    return NULL;
}

static int refuse_meta(const struct adapter_meta *m, struct error *err)
{
    const char *what = m->response_topic ? "a response topic"
                       : m->correlation  ? "correlation data"
                       : m->n_user       ? "user properties"
                       : m->has_expiry   ? "a message expiry"
                       : m->payload_text ? "a payload format indicator"
                                         : NULL;
    return what ? error_set(err, ERR_UNSUPPORTED, "CoAP messages have no place for %s", what) : 0;
}

static int publish_fields(struct coap_conn *c, const struct adapter_message *m, struct error *err)
{
    struct coap_target *t = c->target;
    const struct adapter_meta *meta = m->meta;
    int format = t->options.publish_format;
    coap_fields_clear(&t->fields);
    if (!m->topic_len)
        return error_set(err, ERR_INVALID, "an empty topic");
    if (coap_fields_add_path(&t->fields, t->url.path, m->topic, m->topic_len, err) < 0 ||
        (meta && refuse_meta(meta, err) < 0))
        return -1;
    if (meta && meta->content_type) {
        format = coap_format_number(meta->content_type, meta->content_type_len);
        if (format < 0)
            return error_set(err, ERR_INVALID, "content type \"%.*s\" has no CoAP content format",
                             (int)(meta->content_type_len > 80 ? 80 : meta->content_type_len), meta->content_type);
    }
    return format < 0 ? 0 : coap_fields_add_uint(&t->fields, COAP_OPTION_CONTENT_FORMAT, (uint32_t)format, err);
}

// A message that expects nothing: no exchange is kept, its answer is known by its token of two bytes.
static int publish_plain(struct coap_conn *c, const struct adapter_message *m, struct error *err)
{
    struct coap_target *t = c->target;
    uint16_t token = c->next_token++;
    if (!coap_pipe_room(c, c->session))
        return error_set(err, ERR_LIMIT, "the server takes nothing: what was sent before still waits");
    coap_pdu_t *pdu = new_pdu(c, false, t->options.publish_code, (const uint8_t *)&token, sizeof token, err);
    if (!pdu)
        return -1;
    if (coap_fill(pdu, t->fields.at, t->fields.n, m->payload, m->payload_len, err) < 0) {
        coap_delete_pdu(pdu);
        return -1;
    }
    if (coap_send(c->session, pdu) == COAP_INVALID_MID)
        return error_set(err, ERR_IO, "libcoap cannot send the message");
    counter_add(t->series.messages_sent, 1);
    return 0;
}

static int publish(struct coap_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct coap_target *t = c->target;
    bool online = c->state == COAP_ONLINE && !c->lost;
    bool coming = c->state == COAP_WAITING || c->state == COAP_CONNECTING || c->state == COAP_BACKOFF || c->lost;
    if (!online && !(m->qos && coming))
        return error_set(err, ERR_STATE, "not connected");
    if (publish_fields(c, m, err) < 0)
        return -1;
    if (!m->qos && m->payload_len <= (coap_target_reliable(t) ? 1024u : 16u << t->options.block_szx))
        return publish_plain(c, m, err);
    struct coap_request r = {.kind = EXCHANGE_PUBLISH,
                             .code = t->options.publish_code,
                             .con = m->qos > 0,
                             .token = m->qos ? token : 0,
                             .szx = -1,
                             .body = m->payload,
                             .body_len = m->payload_len};
    return begin(c, &r, err) ? 0 : -1;
}

int coap_publish(struct adapter_conn *conn, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    int rc = publish(c, m, token, err);
    if (rc < 0 || !m->qos)
        rate_add(c->target->series.publish_errors, rc < 0);
    return rc;
}

int coap_subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct coap_target *t = c->target;
    (void)qos; // the server chooses between CON and NON
    if (c->state != COAP_ONLINE || c->lost)
        return error_set(err, ERR_STATE, "not connected");
    if (strpbrk(filter, "+#") || strncmp(filter, "$share/", 7) == 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "\"%.80s\": CoAP observes one resource; it has no wildcards and no "
                         "shared subscriptions",
                         filter);
    coap_fields_clear(&t->fields);
    if (!filter[0])
        return error_set(err, ERR_INVALID, "an empty filter");
    if (coap_fields_add_path(&t->fields, t->url.path, filter, strlen(filter), err) < 0)
        return -1;
    struct coap_request r = {
        .kind = EXCHANGE_SUBSCRIBE, .code = COAP_METHOD_GET, .con = true, .token = token, .szx = -1, .filter = filter};
    return begin(c, &r, err) ? 0 : -1;
}

// An observation ends: the server is told (RFC 7641, 3.6), with the token of its registration.
static void deregister(struct coap_exchange *x)
{
    struct coap_conn *c = x->conn;
    struct coap_fields *f = &c->target->fields;
    uint32_t observed = x->observed;
    coap_fields_clear(f);
    for (unsigned i = 0; i < x->n_fields; i++)
        (void)coap_fields_add(f, x->fields[i].number, x->fields[i].bytes, x->fields[i].len, NULL);
    struct coap_request r = {.kind = EXCHANGE_CANCEL, .code = x->code, .con = true, .szx = -1};
    struct coap_exchange *cancel = observed && c->state == COAP_ONLINE ? coap_exchange_new(c, &r, NULL) : NULL;
    coap_exchange_delete(x);
    if (!cancel)
        return;
    cancel->observed = observed;
    coap_exchanges_pump(c);
}

int coap_unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    if (c->state != COAP_ONLINE || c->lost)
        return error_set(err, ERR_STATE, "not connected");
    struct coap_exchange *x = c->exchanges.head;
    while (x && !(x->kind == EXCHANGE_SUBSCRIBE && strcmp(x->filter, filter) == 0))
        x = x->next;
    if (!x)
        return error_set(err, ERR_NOT_FOUND, "\"%.80s\" is not observed", filter);
    if (!x->told)
        return error_set(err, ERR_STATE, "\"%.80s\" is being subscribed to", filter);
    // The answer of the deregistration is the unsubscribe's.
    uint32_t observed = x->observed;
    deregister(x);
    for (x = c->exchanges.tail; x && token; x = x->prev)
        if (x->kind == EXCHANGE_CANCEL && x->observed == observed)
            x->token = token;
    return 0;
}

static int request_options(const json_t *options, struct coap_request *r, struct error *err)
{
    static const char *const valid[] = {"confirmable", "blockSize", NULL};
    const char *key;
    json_t *v;
    if (!options || json_is_null(options))
        return 0;
    json_object_foreach((json_t *)options, key, v)
    {
        if (strcmp(key, "confirmable") == 0) {
            if (!json_is_boolean(v))
                return error_set(err, ERR_INVALID, "confirmable: expected true or false");
            r->con = json_is_true(v);
        } else if (strcmp(key, "blockSize") == 0) {
            for (int szx = 0; szx <= 6; szx++)
                if (json_is_number(v) && json_number_value(v) == (16 << szx))
                    r->szx = szx;
            if (r->szx < 0)
                return error_set(err, ERR_INVALID, "blockSize: expected 16, 32, 64, 128, 256, 512 or 1024");
        } else {
            return error_unknown(err, "unknown option of a CoAP request", key, valid);
        }
    }
    return 0;
}

static int ask(struct coap_conn *c, const struct adapter_request *request, uint32_t token, struct error *err)
{
    struct coap_target *t = c->target;
    int code = request->method ? coap_method_code(request->method) : 0;
    if (!code)
        return error_set(err, ERR_UNSUPPORTED,
                         "CoAP has no method %.20s; valid: GET, POST, PUT, DELETE, FETCH, PATCH, iPATCH, OBSERVE",
                         request->method ? request->method : "(none)");
    struct coap_request r = {.kind = code == COAP_METHOD_OBSERVE ? EXCHANGE_OBSERVE : EXCHANGE_REQUEST,
                             .code = code,
                             .con = t->options.confirmable,
                             .token = token,
                             .szx = -1,
                             .timeout_us = request->timeout_us,
                             .body = request->payload,
                             .body_len = request->payload_len};
    if (code == COAP_METHOD_OBSERVE)
        r.code = request->payload_len ? COAP_METHOD_FETCH : COAP_METHOD_GET;
    if (c->state != COAP_ONLINE || c->lost)
        return error_set(err, ERR_STATE, "not connected");
    if ((r.code == COAP_METHOD_GET || r.code == COAP_METHOD_DELETE) && request->payload_len)
        return error_set(err, ERR_INVALID, "a CoAP %s has no payload; use FETCH or POST", request->method);
    if (memmem(request->path, request->path_len, "://", 3))
        return error_set(err, ERR_INVALID,
                         "expected a path like \"/a/b?x=1\"; another server has a connection of its "
                         "own");
    coap_fields_clear(&t->fields);
    if (request_options(request->options, &r, err) < 0 ||
        coap_fields_add_path(&t->fields, t->url.path, request->path, request->path_len, err) < 0 ||
        coap_fields_add_headers(&t->fields, request->headers, request->n_headers, true, err) < 0)
        return -1;
    struct coap_exchange *x = begin(c, &r, err);
    if (!x)
        return -1;
    if (!timer_pending(&x->timer)) // it waits for others; its time runs
        loop_timer_start(t->env.loop, &x->timer, x->timeout_us, on_timer);
    return 0;
}

int coap_ask(struct adapter_conn *conn, const struct adapter_request *request, uint32_t token, struct error *err)
{
    struct coap_conn *c = coap_conn_of(conn);
    counter_add(c->target->series.requests, 1);
    int rc = ask(c, request, token, err);
    if (rc < 0)
        rate_add(c->target->series.request_errors, true);
    return rc;
}

void coap_ask_cancel(struct adapter_conn *conn, uint32_t token)
{
    struct coap_conn *c = coap_conn_of(conn);
    struct coap_exchange *x = c->exchanges.head;
    while (x && !((x->kind == EXCHANGE_REQUEST || x->kind == EXCHANGE_OBSERVE) && x->token == token))
        x = x->next;
    if (!x)
        return;
    if (x->wire && c->session) {
        uint8_t wire[4] = {(uint8_t)(x->wire >> 24), (uint8_t)(x->wire >> 16), (uint8_t)(x->wire >> 8),
                           (uint8_t)x->wire};
        coap_cancel_all_messages(c->pool->ctx, c->session, wire, sizeof wire);
    }
    if (x->kind == EXCHANGE_OBSERVE) {
        deregister(x);
    } else {
        coap_exchange_delete(x);
        coap_exchanges_pump(c);
    }
}
