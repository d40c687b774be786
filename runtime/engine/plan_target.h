// Which server a group speaks to, and what the run itself must start for it.
#pragma once
#include "engine/plan.h"

// URL schemes of which the run can start a target, in this order; NULL at the end. A set of them is a mask.
extern const char *const target_schemes[];
enum {
    TARGET_MQTT = 1 << 0,
    TARGET_MQTTS = 1 << 1,
    TARGET_WS = 1 << 2,
    TARGET_WSS = 1 << 3,
    TARGET_HTTP = 1 << 4,
    TARGET_HTTPS = 1 << 5,
    TARGET_COAP = 1 << 6,
    TARGET_COAPS = 1 << 7,
    TARGET_COAP_TCP = 1 << 8,
    TARGET_COAPS_TCP = 1 << 9,
    TARGET_BROKER = TARGET_MQTT | TARGET_MQTTS | TARGET_WS | TARGET_WSS,
    TARGET_ANY_HTTP = TARGET_HTTP | TARGET_HTTPS,
    TARGET_ANY_COAP = TARGET_COAP | TARGET_COAPS | TARGET_COAP_TCP | TARGET_COAPS_TCP,
    TARGET_TLS = TARGET_MQTTS | TARGET_WSS | TARGET_HTTPS | TARGET_COAPS | TARGET_COAPS_TCP
};
// "mqtt" for mqtt, mqtts, ws, wss and what has no scheme; "http"; "coap"; of any other scheme the scheme. Never NULL;
// dst: at least 16 bytes.
const char *url_protocol(const char *url, char *dst, size_t size);
// The scheme's bit if the host is `embedded` (or the whole is "embedded": as mqtt), 0 if it is another, or a scheme
// that nobody can start (then *unknown, which may be NULL, is set).
unsigned url_embedded(const char *url, bool *unknown);

// Whether each of its devices has a socket of its own to be asked at: CoAP, and its model has commands.
bool plan_group_serves(const struct plan *p, const struct plan_group *g);

// A URL or "embedded", as an author writes a target.
int plan_check_url(const char *url, struct error *err) WARN_UNUSED_RESULT;
// Reads "http", "coap" and "embedded" of the plan.
int plan_parse_targets(struct plan *p, struct error *err) WARN_UNUSED_RESULT;
// The group's URL and options, of the group, its model, or the scenario. After model_path and `will` were read; json is
// the group's, and gets what strings of its config point to.
int plan_parse_url(struct plan *p, struct plan_group *g, json_t *json, const json_t *will,
                   struct error *err) WARN_UNUSED_RESULT;
