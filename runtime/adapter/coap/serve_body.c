// Bodies in blocks on the server's side (RFC 7959): answers that are cut, requests that are put together.
#include <stdlib.h>
#include <string.h>

#include "adapter/coap/serve_impl.h"

struct stored *stored_new(unsigned code, const struct coap_field *fields, unsigned n, const uint8_t *payload,
                          size_t payload_len)
{
    size_t size = sizeof(struct stored) + n * sizeof(struct coap_field) + payload_len;
    for (unsigned i = 0; i < n; i++)
        size += fields[i].len;
    struct stored *m = malloc(size);
    if (!m)
        return NULL;
    m->code = code;
    m->n_fields = n;
    m->fields = (struct coap_field *)(m + 1);
    uint8_t *to = (uint8_t *)(m->fields + n);
    for (unsigned i = 0; i < n; i++) {
        m->fields[i] = fields[i];
        m->fields[i].bytes = to;
        if (fields[i].len)
            memcpy(to, fields[i].bytes, fields[i].len);
        to += fields[i].len;
    }
    if (payload_len)
        memcpy(to, payload, payload_len);
    m->payload = to;
    m->payload_len = payload_len;
    return m;
}

static size_t uint_bytes(uint32_t v, uint8_t out[4])
{
    size_t n = v > 0xffffff ? 4 : v > 0xffff ? 3 : v > 0xff ? 2 : v ? 1 : 0;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    return n;
}

static bool put(coap_pdu_t *pdu, unsigned number, uint32_t value)
{
    uint8_t bytes[4];
    size_t n = uint_bytes(value, bytes);
    return coap_add_option(pdu, (coap_option_num_t)number, n, bytes) != 0;
}

// One block of a stored answer. Options in order of their numbers: Block2 and Size2 are put where they belong by
// libcoap.
static void put_slice(const struct stored *m, uint32_t num, unsigned szx, coap_pdu_t *pdu)
{
    size_t block = (size_t)16 << szx, offset = (size_t)num << (szx + 4);
    if (offset >= m->payload_len) {
        coap_pdu_set_code(pdu, COAP_RESPONSE_CODE_BAD_REQUEST); // RFC 7959, 2.4
        return;
    }
    size_t left = m->payload_len - offset, n = left < block ? left : block;
    coap_pdu_set_code(pdu, (coap_pdu_code_t)m->code);
    for (unsigned i = 0; i < m->n_fields; i++)
        (void)coap_add_option(pdu, m->fields[i].number, m->fields[i].len, m->fields[i].bytes);
    (void)put(pdu, COAP_OPTION_BLOCK2, num << 4 | (left > block ? 8u : 0) | szx);
    if (num == 0)
        (void)put(pdu, COAP_OPTION_SIZE2, (uint32_t)m->payload_len);
    (void)coap_add_data(pdu, n, m->payload + offset);
}

bool body_slice(struct coap_server *s, uint64_t key, uint32_t num, unsigned szx, bool reliable, coap_pdu_t *pdu)
{
    (void)reliable;
    int64_t now = loop_now_us(s->conn->target->env.loop);
    for (unsigned i = 0; i < COAP_SERVER_BODIES; i++) {
        struct body *b = &s->bodies[i];
        if (!b->answer || b->key != key || now - b->at_us > EXCHANGE_LIFETIME_US)
            continue;
        b->at_us = now;
        put_slice(b->answer, num, szx, pdu);
        return true;
    }
    return false;
}

static struct body *body_slot(struct coap_server *s, uint64_t key)
{
    struct body *oldest = &s->bodies[0];
    for (unsigned i = 0; i < COAP_SERVER_BODIES; i++) {
        struct body *b = &s->bodies[i];
        if (!b->answer || b->key == key)
            return b;
        if (b->at_us < oldest->at_us)
            oldest = b;
    }
    return oldest;
}

// Bytes that options and payload take at most.
static size_t size_of(const struct coap_fields *f, size_t payload)
{
    size_t n = 8 + 1 + payload + 16; // token, marker, Block2 and Size2
    for (unsigned i = 0; i < f->n; i++)
        n += 5u + f->at[i].len;
    return n;
}

int body_answer(struct coap_conn *c, const coap_session_t *session, coap_pdu_t *pdu, uint64_t key, uint32_t num,
                unsigned szx, unsigned code, struct coap_fields *f, const uint8_t *payload, size_t n, struct error *err)
{
    bool reliable = coap_target_reliable(c->target);
    size_t room = coap_session_max_pdu_size(session), block = (size_t)16 << szx;
    bool whole = num == 0 && (reliable ? size_of(f, n) <= room : n <= block);
    if (size_of(f, whole ? n : block) > room)
        return error_set(err, ERR_LIMIT, "the options of the answer do not fit in one CoAP message");
    if (whole) {
        coap_pdu_set_code(pdu, (coap_pdu_code_t)code);
        return coap_fill(pdu, f->at, f->n, payload, n, err);
    }
    bool tagged = false;
    for (unsigned i = 0; i < f->n; i++)
        tagged |= f->at[i].number == COAP_OPTION_ETAG;
    uint64_t hash = hash_bytes(payload, n, key);
    if (!tagged && coap_fields_add(f, COAP_OPTION_ETAG, &hash, 4, err))
        return -1;
    struct body *b = body_slot(c->server, key);
    struct stored *answer = stored_new(code, f->at, f->n, payload, n);
    if (!answer)
        return error_set(err, ERR_NO_MEMORY, "no memory for an answer in blocks");
    free(b->answer);
    *b = (struct body){.answer = answer, .key = key, .at_us = loop_now_us(c->target->env.loop)};
    put_slice(answer, num, szx, pdu);
    // Later blocks are no notifications.
    unsigned kept = 0;
    for (unsigned i = 0; i < answer->n_fields; i++)
        if (answer->fields[i].number != COAP_OPTION_OBSERVE && answer->fields[i].number != COAP_OPTION_BLOCK1)
            answer->fields[kept++] = answer->fields[i];
    answer->n_fields = kept;
    return 0;
}

static struct upload *upload_slot(struct coap_server *s, const coap_session_t *session, uint64_t key, bool begin)
{
    struct upload *oldest = &s->uploads[0];
    for (unsigned i = 0; i < COAP_SERVER_UPLOADS; i++) {
        struct upload *u = &s->uploads[i];
        if (u->session == session && u->key == key)
            return u;
        if (!u->session || u->at_us < oldest->at_us)
            oldest = u;
    }
    return begin ? oldest : NULL;
}

enum upload_result upload_add(struct coap_server *s, const coap_session_t *session, uint64_t key, uint32_t value,
                              const uint8_t *bytes, size_t n, int64_t now_us, struct buf **whole)
{
    uint32_t num = value >> 4;
    unsigned szx = value & 7;
    bool more = value & 8;
    uint64_t offset = (uint64_t)num << (szx + 4);
    if (szx == 7 || (more && n != (size_t)16 << szx))
        return UPLOAD_BAD;
    struct upload *u = upload_slot(s, session, key, num == 0);
    if (!u || (num && now_us - u->at_us > EXCHANGE_LIFETIME_US))
        return UPLOAD_INCOMPLETE;
    if (num == 0) {
        buf_destroy(&u->bytes);
        buf_create(&u->bytes, COAP_BODY_MAX);
        u->session = session;
        u->key = key;
    }
    u->at_us = now_us;
    if (offset != u->bytes.len)
        return UPLOAD_INCOMPLETE; // RFC 7959, 2.9.2
    if (buf_append(&u->bytes, bytes, n) < 0) {
        u->session = NULL;
        buf_destroy(&u->bytes);
        return UPLOAD_TOO_LARGE;
    }
    if (more)
        return UPLOAD_CONTINUE;
    u->session = NULL; // its bytes stay for the call
    *whole = &u->bytes;
    return UPLOAD_DONE;
}

void bodies_clear(struct coap_server *s)
{
    for (unsigned i = 0; i < COAP_SERVER_BODIES; i++) {
        free(s->bodies[i].answer);
        s->bodies[i].answer = NULL;
    }
    for (unsigned i = 0; i < COAP_SERVER_UPLOADS; i++) {
        buf_destroy(&s->uploads[i].bytes);
        s->uploads[i].session = NULL;
    }
}
