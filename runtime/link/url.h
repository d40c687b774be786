// URLs of targets: scheme://[user[:password]@]host[:port][/path]. No percent-decoding surprises: userinfo is decoded,
// the rest is kept. "host", "host:port" and "[v6]:port" without a scheme take the default scheme.
#pragma once
#include <stdint.h>
#include "core/error.h"

struct url {
    char scheme[16]; // lower case
    char host[256];  // without brackets
    uint16_t port; // given, or the scheme's default (mqtt 1883, mqtts 8883, ws 80, wss 443, coap 5683, coaps 5684, http
                   // 80, https 443)
    char path[256]; // "" or "/..."
    char user[256];
    char password[256];
};
// NUL, control characters, spaces, port 0 or > 65535, empty host are errors that quote the text, redacted.
int url_parse(const char *text, const char *default_scheme, struct url *out, struct error *err) WARN_UNUSED_RESULT;
// The same with a default port for schemes that have none above; 0: none.
int url_parse_port(const char *text, const char *default_scheme, uint16_t default_port, struct url *out,
                   struct error *err) WARN_UNUSED_RESULT;
// Without user and password, for people: "mqtt://host:1883". A query, which may carry a token or a signature, becomes
// ?***.
char *url_display(const struct url *u, char *dst, size_t size);
// The same for any text, a broken URL as well: what stands before the last @ becomes ***, a query too. For error texts.
char *url_redact(const char *text, char *dst, size_t size);
