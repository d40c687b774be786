// TLS of an observer: what paho is told, from the same settings as the devices' connections have.
#pragma once
#include <jansson.h>
#include <MQTTAsync.h>
#include "core/error.h"
#include "engine/plan.h"

struct observer_tls;
// settings: options `tls` of link/transport.h and, beside them, "cert" and "key" (PEM text or paths), "psk_identity"
// and "psk_key" (hex); NULL: the system's CAs. Of them count ca, verify, serverName, alpn, maxVersion 1.2, ciphers,
// mint (it gets a certificate of its own), cert and key, the pre-shared key. host: of the URL. ERR_UNSUPPORTED: a
// serverName that is not the host: paho would verify the host; a pre-shared key that is a pattern. ERR_NOT_FOUND: a
// file that is not there.
struct observer_tls *observer_tls_new(const json_t *settings, const char *host, struct error *err);
void observer_tls_delete(struct observer_tls *t); // NULL is fine
// Fills in all but the callback. Valid as long as t lives.
void observer_tls_options(const struct observer_tls *t, MQTTAsync_SSLOptions *out);

// The settings of the plan's first group that speaks to the same server (scheme, host and port); NULL: nobody does, or
// it has none. Certificates that differ from device to device (patterns) are not in them. The caller's reference.
json_t *observer_tls_settings(const struct plan *plan, const char *url);
