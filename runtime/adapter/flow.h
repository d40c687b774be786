// Connections for adapters that bring no client of their own: plugins, adapters in Lua, iotix.link. An endpoint is one
// server as one group sees it: its addresses, TLS, source addresses, and who may connect when. A flow is one connection
// to it, TCP (with TLS where asked for) or UDP, that can be opened again after it closed.
//
// No event is delivered inside a call; none after flow_delete. Functions may be called inside events, flow_delete too.
#pragma once
#include "adapter/plugin_abi.h"

#define FLOW_CONNECT_TIMEOUT_US ((int64_t)10000000) // option connectTimeout

// The keys it reads, NULL-terminated: for the check of all keys.
extern const char *const endpoint_keys[];
// An unknown key of options is an error that names those of `own` (may be NULL) and of endpoints.
int endpoint_check_keys(const json_t *options, const char *const *own, struct error *err) WARN_UNUSED_RESULT;
// Options are read as the ABI says: tls {…} (link/transport.h), source (link/source.h), connectTimeout (default 10 s;
// from its turn to open, or flow_ready), connectWindow, connectRate, connectPacing (pacer.h). Nothing of config is
// kept.
struct endpoint *endpoint_new(const struct adapter_env *env, const struct iotix_endpoint *config, struct error *err);
void endpoint_delete(struct endpoint *e); // every flow must be deleted before

// events must outlive the flow; owner is what they get. identity: asked for FIELD_TLS_* and FIELD_PSK_* with
// identity_owner at a TLS handshake; may be NULL.
struct flow *flow_new(struct endpoint *e, const struct iotix_flow_events *events, void *owner,
                      const struct adapter_identity *identity, void *identity_owner, struct error *err);
void flow_delete(struct flow *f); // closes abruptly; NULL: nothing
// on_open or on_close follows. ERR_STATE: it is open or opening.
int flow_open(struct flow *f, struct error *err) WARN_UNUSED_RESULT;
// The protocol's handshake has succeeded: the attempt is over, the next one gets its turn. Nothing without `handshake`.
void flow_ready(struct flow *f);
bool flow_is_open(const struct flow *f);
// As link_send and datagram_send: queued for the end of the turn; ERR_STATE, ERR_LIMIT.
int flow_send(struct flow *f, const void *bytes, size_t n, struct error *err) WARN_UNUSED_RESULT;
// flush: what is queued is written, then FIN; else RST. No event follows. Idempotent.
void flow_close(struct flow *f, bool flush);
void flow_pause(struct flow *f, bool paused); // neither reads nor writes
void flow_hold(struct flow *f, bool hold);    // a stream that does not read; it goes on writing
// The network of the device that the flow belongs to, whatever state it is in; NULL: none from the next open on. A
// reference is held. Connects of streams and lookups of both kinds pass through it, too.
void flow_path(struct flow *f, struct path *path);
size_t flow_unsent(const struct flow *f);
size_t flow_footprint(const struct flow *f);
