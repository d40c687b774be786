// Bytes of a stream to MQTT packets. Survives every split; a packet that lies whole in what was fed is handed on in
// place. Only a packet that is cut at the end of the bytes is kept in a buffer, and only until its rest has come.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"

struct mqtt_parser {
    struct buf *partial; // the beginning of a packet; NULL at rest
};

// first: first byte of the fixed header, its type and flags checked. The body is valid during the call. Returns 0 to go
// on, 1 to stop (the connection is gone), -1 for a violation (err set).
typedef int mqtt_packet_fn(void *arg, uint8_t first, const uint8_t *body, size_t n, struct error *err);

// max_packet: cap of a packet's size with its header (a larger one is announced: ERR_LIMIT before its body is stored).
// Returns 0 when all was taken, 1 when fn stopped, -1 for malformed bytes (ERR_PROTOCOL names the section).
// fn may call mqtt_parser_reset, but must then return 1 or -1.
int mqtt_parser_feed(struct mqtt_parser *p, const uint8_t *bytes, size_t n, uint32_t max_packet, mqtt_packet_fn *fn,
                     void *arg, struct error *err) WARN_UNUSED_RESULT;
// The same for version 5: AUTH is a packet, and a remaining length not of the shortest form is malformed (1.5.5-1).
// *reason: for the DISCONNECT, set when the parser itself finds the violation (0x81, or 0x95 at max_packet).
int mqtt5_parser_feed(struct mqtt_parser *p, const uint8_t *bytes, size_t n, uint32_t max_packet, mqtt_packet_fn *fn,
                      void *arg, uint8_t *reason, struct error *err) WARN_UNUSED_RESULT;
// Forgets what is half there.
void mqtt_parser_reset(struct mqtt_parser *p);
size_t mqtt_parser_footprint(const struct mqtt_parser *p);
