#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/parser.h"

struct rules {
    uint32_t max_packet;
    uint8_t *reason; // NULL: version 3.1.1
};

static int broken(const struct rules *rules, uint8_t reason)
{
    if (rules->reason)
        *rules->reason = reason;
    return -1;
}

// Reads the fixed header of 2.2 (of 2.1 in version 5). Returns its length, 0 when more bytes are needed, -1 when it is
// malformed.
static int header_read(const uint8_t *p, size_t n, const struct rules *rules, size_t *remaining, struct error *err)
{
    if (n && (rules->reason ? mqtt5_header_check(p[0], rules->reason, err) : mqtt_first_byte_check(p[0], err)) < 0)
        return -1;
    *remaining = 0;
    for (size_t i = 1; i < n; i++) {
        if (i == 5)
            break;
        *remaining |= (size_t)(p[i] & 127) << (7 * (i - 1));
        if (p[i] & 128)
            continue;
        if (rules->reason && i > 1 && !p[i]) {
            error_set(err, ERR_PROTOCOL, "%s with a remaining length that is longer than needed (MQTT 5, 1.5.5-1)",
                      mqtt_type_name(p[0] >> 4));
            return broken(rules, MQTT5_MALFORMED_PACKET);
        }
        if (*remaining + i + 1 > rules->max_packet) {
            error_set(err, ERR_LIMIT, "%s of %zu bytes is over maxPacket (%u)", mqtt_type_name(p[0] >> 4),
                      *remaining + i + 1, rules->max_packet);
            return broken(rules, MQTT5_PACKET_TOO_LARGE);
        }
        return (int)i + 1;
    }
    if (n >= 5) {
        error_set(err, ERR_PROTOCOL, "%s with a remaining length of more than 4 bytes (MQTT %s)",
                  mqtt_type_name(p[0] >> 4), rules->reason ? "5, 1.5.5" : "2.2.3");
        return broken(rules, MQTT5_MALFORMED_PACKET);
    }
    return 0;
}

static void buf_delete(struct buf *b)
{
    if (!b)
        return;
    buf_destroy(b);
    free(b);
}

static int keep(struct mqtt_parser *p, const uint8_t *bytes, size_t n, uint32_t max_packet, struct error *err)
{
    if (!p->partial) {
        p->partial = malloc(sizeof *p->partial);
        if (!p->partial)
            return error_set(err, ERR_NO_MEMORY, "no memory for a packet");
        buf_create(p->partial, max_packet + 8);
    }
    if (buf_append(p->partial, bytes, n) < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory for a packet");
    return 0;
}

// Completes the packet that is half there with bytes from the front. Returns how many it took, -1 when malformed;
// *whole: the packet is complete.
static int64_t complete(struct mqtt_parser *p, const uint8_t *bytes, size_t n, const struct rules *rules,
                        int *header_len, bool *whole, struct error *err)
{
    size_t used = 0, remaining;
    *whole = false;
    for (;;) {
        *header_len = header_read(p->partial->data, p->partial->len, rules, &remaining, err);
        if (*header_len < 0)
            return -1;
        if (*header_len)
            break;
        if (used == n)
            return (int64_t)used;
        if (keep(p, bytes + used, 1, rules->max_packet, err) < 0)
            return -1;
        used++;
    }
    size_t missing = (size_t)*header_len + remaining - p->partial->len;
    size_t take = missing < n - used ? missing : n - used;
    if (take && keep(p, bytes + used, take, rules->max_packet, err) < 0)
        return -1;
    *whole = take == missing;
    return (int64_t)(used + take);
}

static int feed(struct mqtt_parser *p, const uint8_t *bytes, size_t n, const struct rules *rules, mqtt_packet_fn *fn,
                void *arg, struct error *err)
{
    if (p->partial && n) {
        int header_len;
        bool whole;
        int64_t used = complete(p, bytes, n, rules, &header_len, &whole, err);
        if (used < 0)
            return -1;
        if (!whole)
            return 0;
        struct buf *b = p->partial; // out of reach of mqtt_parser_reset in fn
        p->partial = NULL;
        int rc = fn(arg, b->data[0], b->data + header_len, b->len - (size_t)header_len, err);
        buf_delete(b);
        if (rc)
            return rc;
        bytes += used;
        n -= (size_t)used;
    }
    while (n) {
        size_t remaining;
        int header_len = header_read(bytes, n, rules, &remaining, err);
        if (header_len < 0)
            return -1;
        if (!header_len || n - (size_t)header_len < remaining)
            return keep(p, bytes, n, rules->max_packet, err);
        int rc = fn(arg, bytes[0], bytes + header_len, remaining, err);
        if (rc)
            return rc;
        bytes += (size_t)header_len + remaining;
        n -= (size_t)header_len + remaining;
    }
    return 0;
}

int mqtt_parser_feed(struct mqtt_parser *p, const uint8_t *bytes, size_t n, uint32_t max_packet, mqtt_packet_fn *fn,
                     void *arg, struct error *err)
{
    return feed(p, bytes, n, &(struct rules){.max_packet = max_packet}, fn, arg, err);
}

int mqtt5_parser_feed(struct mqtt_parser *p, const uint8_t *bytes, size_t n, uint32_t max_packet, mqtt_packet_fn *fn,
                      void *arg, uint8_t *reason, struct error *err)
{
    return feed(p, bytes, n, &(struct rules){.max_packet = max_packet, .reason = reason}, fn, arg, err);
}

void mqtt_parser_reset(struct mqtt_parser *p)
{
    buf_delete(p->partial);
    p->partial = NULL;
}

size_t mqtt_parser_footprint(const struct mqtt_parser *p)
{
    return p->partial ? sizeof *p->partial + p->partial->size : 0;
}
