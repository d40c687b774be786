#include "adapter/coap/wire.h"

#include <string.h>

#define TYPE_OF(b) ((b) >> 4 & 3u)
enum { TYPE_CON, TYPE_NON, TYPE_ACK, TYPE_RST };
#define MARKER 0xffu
#define CODE_CSM 0xe1u // 7.01

// --- options ------------------------------------------------------------------------------------------------------

// Lengths, and whether there may be several (RFC 7252, 5.10; 7641, 7959, 7967, 8768, 9175).
struct known {
    uint16_t number, min, max;
    bool repeatable;
};

static const struct known *known(uint32_t number)
{
    static const struct known all[] = {
        {1, 0, 8, true},     {3, 1, 255, false}, {4, 1, 8, true},      {5, 0, 0, false},    {6, 0, 3, false},
        {7, 0, 2, false},    {8, 0, 255, true},  {11, 0, 255, true},   {12, 0, 2, false},   {14, 0, 4, false},
        {15, 0, 255, true},  {16, 1, 1, false},  {17, 0, 2, false},    {20, 0, 255, true},  {23, 0, 3, false},
        {27, 0, 3, false},   {28, 0, 4, false},  {35, 1, 1034, false}, {39, 1, 255, false}, {60, 0, 4, false},
        {252, 1, 40, false}, {258, 0, 1, false}, {292, 0, 8, true}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].number == number)
            return &all[i];
    return NULL;
}

// Whether it may stand there: critical ones that are not known may not, elective ones that are not are no matter.
static bool allowed(uint32_t number, uint32_t length, bool again)
{
    const struct known *k = known(number);
    if (!k)
        return !(number & 1);
    return length >= k->min && length <= k->max && (!again || k->repeatable);
}

static unsigned extra_bytes(unsigned nibble)
{
    return nibble == 13 ? 1 : nibble == 14 ? 2 : 0;
}

struct option {
    uint32_t delta, length;
    const uint8_t *value;
};

// The option at bytes. How long it is with its header; 0: it is none.
static size_t read_option(const uint8_t *bytes, size_t n, struct option *out)
{
    unsigned delta = bytes[0] >> 4, length = bytes[0] & 15;
    size_t at = 1, more = extra_bytes(delta) + extra_bytes(length);
    if (delta == 15 || length == 15 || n < 1 + more)
        return 0;
    uint32_t *const values[] = {&out->delta, &out->length};
    const unsigned nibbles[] = {delta, length};
    for (int i = 0; i < 2; i++) {
        *values[i] = nibbles[i];
        if (nibbles[i] == 13)
            *values[i] = 13u + bytes[at];
        else if (nibbles[i] == 14)
            *values[i] = 269u + ((uint32_t)bytes[at] << 8 | bytes[at + 1]);
        at += extra_bytes(nibbles[i]);
    }
    out->value = bytes + at;
    return out->length <= n - at ? at + out->length : 0;
}

static size_t put_number(uint8_t *at, uint32_t v, unsigned *nibble)
{
    if (v < 13) {
        *nibble = v;
        return 0;
    }
    if (v < 269) {
        *nibble = 13;
        at[0] = (uint8_t)(v - 13);
        return 1;
    }
    *nibble = 14;
    at[0] = (uint8_t)((v - 269) >> 8);
    at[1] = (uint8_t)(v - 269);
    return 2;
}

// Written over the message itself: leaving an option out makes at least as much room as a larger delta needs.
static uint8_t *put_option(uint8_t *to, const struct option *o)
{
    unsigned delta, length;
    uint8_t header[5];
    size_t n = 1 + put_number(header + 1, o->delta, &delta);
    n += put_number(header + n, o->length, &length);
    header[0] = (uint8_t)(delta << 4 | length);
    memmove(to + n, o->value, o->length);
    memcpy(to, header, n);
    return to + n + o->length;
}

// --- datagrams ----------------------------------------------------------------------------------------------------

static const char bad_words[] = "critical, and unknown, of a wrong length, or there twice (RFC 7252, 5.4)";

static enum coap_verdict broken(struct coap_checked *out, unsigned type, const char *why)
{
    out->why = why;
    return type == TYPE_CON ? COAP_REJECTED : COAP_IGNORED;
}

static enum coap_verdict bad_option(struct coap_checked *out, unsigned type, uint32_t number)
{
    out->why = bad_words;
    out->option = (uint16_t)number;
    return type == TYPE_ACK ? COAP_REFUSED : COAP_REJECTED;
}

static const char *header_fault(const uint8_t *b, size_t n, unsigned type)
{
    unsigned class = b[1] >> 5, token_len = b[0] & 15;
    if (token_len > 8 || 4 + token_len > n)
        return "a token longer than 8 bytes or than the message (RFC 7252, 3)";
    if (b[1] == 0)
        return n == 4 && type != TYPE_NON ? NULL : "an empty message that is not empty, or not confirmable (4.1, 4.3)";
    if (class == 1 || class >= 6)
        return "a code of a reserved class (RFC 7252, 12.1)";
    if (type == TYPE_RST || (type == TYPE_ACK && class == 0))
        return "a reset that is not empty, or an acknowledgement that asks (RFC 7252, 4.2)";
    return NULL;
}

enum coap_verdict coap_wire_datagram(uint8_t *bytes, size_t *n, struct coap_checked *out)
{
    memset(out, 0, sizeof *out);
    if (*n < 4 || bytes[0] >> 6 != 1) {
        out->why = "shorter than a header, or of another version (RFC 7252, 3)";
        return COAP_IGNORED;
    }
    unsigned type = TYPE_OF(bytes[0]);
    out->mid = (uint16_t)(bytes[2] << 8 | bytes[3]);
    out->code = bytes[1];
    const char *why = header_fault(bytes, *n, type);
    if (why)
        return broken(out, type, why);
    bool answer = out->code >> 5 >= 2;
    out->token_len = bytes[0] & 15;
    memcpy(out->token, bytes + 4, out->token_len);
    if (*n > COAP_DATAGRAM_MAX) {
        out->why = "a datagram of more than 1471 bytes";
        return type == TYPE_ACK ? COAP_REFUSED : COAP_REJECTED;
    }
    const uint8_t *at = bytes + 4 + out->token_len, *end = bytes + *n;
    uint8_t *to = bytes + 4 + out->token_len;
    uint32_t number = 0, dropped = 0; // deltas of options that were left out
    while (at < end && *at != MARKER) {
        struct option o;
        size_t size = read_option(at, (size_t)(end - at), &o);
        if (!size || (number += o.delta) > 0xffff)
            return broken(out, type, "an option that is none, or longer than the message (RFC 7252, 3.1)");
        bool again = o.delta == 0 && at != bytes + 4 + out->token_len;
        at += size;
        if (!allowed(number, o.length, again) && number & 1) {
            if (answer)
                return bad_option(out, type, number);
        } else if (!allowed(number, o.length, again)) {
            dropped += o.delta;
            continue;
        }
        o.delta += dropped;
        dropped = 0;
        to = put_option(to, &o);
    }
    if (at < end && end - at == 1)
        return broken(out, type, "a payload marker without a payload (RFC 7252, 3)");
    memmove(to, at, (size_t)(end - at));
    *n = (size_t)(to - bytes) + (size_t)(end - at);
    return COAP_GOOD;
}

// --- streams ------------------------------------------------------------------------------------------------------

enum { AT_TOKEN, AT_OPTION, AT_DELTA, AT_LENGTH, AT_VALUE, AT_PAYLOAD };

static size_t header_size(uint8_t first)
{
    static const uint8_t extra[] = {1, 2, 4}; // nibbles 13, 14, 15
    unsigned nibble = first >> 4;
    return nibble < 13 ? 2 : 2u + extra[nibble - 13];
}

// Options and payload, as the header says (RFC 8323, 3.2).
static uint64_t announced(const uint8_t *h)
{
    switch (h[0] >> 4) {
    case 13:
        return 13u + h[1];
    case 14:
        return 269u + ((uint64_t)h[1] << 8 | h[2]);
    case 15:
        return 65805u + ((uint64_t)h[1] << 24 | (uint64_t)h[2] << 16 | (uint64_t)h[3] << 8 | h[4]);
    default:
        return h[0] >> 4;
    }
}

static int begin(struct coap_stream *s, const uint8_t *h, size_t size, struct error *err)
{
    uint64_t length = announced(h);
    struct coap_checked *m = &s->message;
    unsigned class = h[size - 1] >> 5;
    memset(m, 0, sizeof *m);
    m->code = h[size - 1];
    m->token_len = h[0] & 15;
    if (!s->begun && m->code != CODE_CSM)
        return error_set(err, ERR_PROTOCOL, "the first message is %u.%02u and not a CSM (RFC 8323, 5.3)", class,
                         m->code & 31u);
    if (m->token_len > 8)
        return error_set(err, ERR_PROTOCOL, "a token of %u bytes; there are at most 8 (RFC 8323, 3.2)", m->token_len);
    if (class == 1 || class == 6)
        return error_set(err, ERR_PROTOCOL, "a message with the code %u.%02u of a reserved class (RFC 7252, 12.1)",
                         class, m->code & 31u);
    if (length > s->cap)
        return error_set(err, ERR_PROTOCOL, "a message of %llu bytes, larger than the %u that our CSM allows",
                         (unsigned long long)length, s->cap);
    if (m->code == 0 && (length || m->token_len))
        return error_set(err, ERR_PROTOCOL, "an empty message that is not empty (RFC 8323, 3.4)");
    s->begun = s->inside = true;
    s->left = (uint32_t)length + m->token_len;
    s->state = m->token_len ? AT_TOKEN : AT_OPTION;
    s->skip = m->token_len;
    s->number = 0;
    s->n_words = s->n_token = 0;
    return 0;
}

static int malformed(struct error *err, const char *what)
{
    return error_set(err, ERR_PROTOCOL, "a malformed message: %s (RFC 7252, 3.1)", what);
}

// The header of an option is complete.
static int option_known(struct coap_stream *s, struct error *err)
{
    unsigned class = s->message.code >> 5;
    if (s->number > 0xffff)
        return malformed(err, "an option with a number beyond 65535");
    if (s->length > s->left)
        return malformed(err, "an option longer than the message");
    if (class == 7 && s->number & 1)
        return error_set(err, ERR_PROTOCOL,
                         "the critical option %u, which is unknown, in the signalling message 7.%02u (RFC 8323, 5.2)",
                         s->number, s->message.code & 31u);
    if (class >= 2 && class < 6 && s->number & 1 && !allowed(s->number, s->length, s->again) && !s->message.option) {
        s->message.option = (uint16_t)s->number;
        s->message.why = bad_words;
    }
    s->state = s->length ? AT_VALUE : AT_OPTION;
    s->skip = s->length;
    return 0;
}

// A byte that is no part of a value.
static int look(struct coap_stream *s, uint8_t b, struct error *err)
{
    unsigned delta = b >> 4, length = b & 15;
    switch (s->state) {
    case AT_DELTA:
        s->number += s->delta_need == 2 ? (uint32_t)b << 8 : b;
        s->delta_need--;
        break;
    case AT_LENGTH:
        s->length += s->length_need == 2 ? (uint32_t)b << 8 : b;
        s->length_need--;
        break;
    default: // AT_OPTION
        if (b == MARKER) {
            if (!s->left)
                return malformed(err, "a payload marker without a payload");
            s->state = AT_PAYLOAD;
            s->skip = s->left;
            return 0;
        }
        if (delta == 15 || length == 15)
            return malformed(err, "an option that is none");
        s->again = !delta && s->number;
        s->delta_need = (uint8_t)extra_bytes(delta);
        s->length_need = (uint8_t)extra_bytes(length);
        s->number += delta == 14 ? 269 : delta;
        s->length = length == 14 ? 269 : length;
        break;
    }
    s->state = s->delta_need ? AT_DELTA : AT_LENGTH;
    if (s->delta_need || s->length_need)
        return 0;
    return option_known(s, err);
}

static void passed(struct coap_stream *s, const uint8_t *bytes, size_t n)
{
    struct coap_checked *m = &s->message;
    for (size_t i = 0; i < n && s->state == AT_TOKEN && s->n_token < 8; i++)
        m->token[s->n_token++] = bytes[i];
    for (size_t i = 0; i < n && s->state == AT_PAYLOAD && m->code >> 5 == 7 && s->n_words < COAP_STREAM_WORDS; i++)
        s->words[s->n_words++] = (char)(bytes[i] < ' ' || bytes[i] > '~' ? '?' : bytes[i]);
    s->skip -= (uint32_t)n;
    if (!s->skip)
        s->state = AT_OPTION;
}

// Goes through what there is of the message. How many bytes; -1: err.
static ptrdiff_t inside(struct coap_stream *s, const uint8_t *bytes, size_t n, struct error *err)
{
    size_t at = 0;
    while (s->left && at < n) {
        size_t step = s->skip < n - at ? s->skip : n - at;
        s->left -= (uint32_t)(step ? step : 1);
        if (step) {
            passed(s, bytes + at, step);
            at += step;
        } else if (look(s, bytes[at++], err) < 0) {
            return -1;
        }
    }
    return (ptrdiff_t)at;
}

static int ended(struct coap_stream *s, const struct coap_stream_events *events, struct error *err)
{
    if (s->state == AT_DELTA || s->state == AT_LENGTH)
        return malformed(err, "it ends within an option");
    s->inside = false;
    s->words[s->n_words] = '\0';
    if (events->message)
        events->message(events->arg, &s->message, s->words);
    return 0;
}

ptrdiff_t coap_stream_next(struct coap_stream *s, const uint8_t *bytes, size_t n,
                           const struct coap_stream_events *events, struct error *err)
{
    size_t at = 0;
    s->n_held = 0;
    while (at < n) {
        if (!s->inside) {
            size_t size = header_size(bytes[at]);
            if (n - at < size) {
                s->n_held = (uint8_t)(n - at);
                memcpy(s->held, bytes + at, n - at);
                return (ptrdiff_t)at;
            }
            if (begin(s, bytes + at, size, err) < 0)
                return -1;
            at += size;
        }
        ptrdiff_t read = inside(s, bytes + at, n - at, err);
        if (read < 0 || (!s->left && ended(s, events, err) < 0))
            return -1;
        at += (size_t)read;
    }
    return (ptrdiff_t)at;
}
