// Proxies: devices that stand for physical ones. What the physical device publishes goes out on the proxy's own topic,
// byte for byte; what is commanded to the proxy is passed on. A physical device publishes to an MQTT broker, has a CoAP
// resource that is observed, or calls a webhook. Values, behaviors and behaviours are not a proxy's: what
// it says was measured.
//
// Which devices of a group are proxies: all, when its model is of type proxy; otherwise the last ones, as many as
// group_config.proxies says: the group is mixed. A binding is
//   {"topic": filter, "broker": URL, "commands": topic, "qos": 0, "source": "mqtt", "silentAfterMs": 60000}
//   {"source": "coap", "url": of the resource, "silentAfterMs": 60000}
//   {"source": "http", "path": "/", "listen": "127.0.0.1:0", "silentAfterMs": 60000}
// as the model's `proxy`; in group_config.proxies also "id" (pattern of the device's id) and, in place of
// "silentAfterMs", "silent_after" in microseconds. Texts are patterns: ${deviceId}, ${groupId}, ${index}, and
// ${proxyIndex}, from 1 on. group_config.proxies is a list of bindings, one a device, or one with "count": n for n of
// them.
//
// Telemetry goes to the model's topicPattern, or BASE/telemetry, with what the + and # of the filter matched behind it
// (of a webhook: what stands behind its path),
// the QoS of the group, never retained. Commands: BASE/command goes to COMMANDS, BASE/commands/NAME to COMMANDS/NAME.
#pragma once
#include "device/device.h"

enum proxy_via { PROXY_MQTT, PROXY_COAP, PROXY_HTTP };

// What a physical device that is at no broker is reached by. Texts are the caller's.
struct proxy_place {
    enum proxy_via via;
    const char *name;   // of the device: the webhook's URL is http://LISTEN/NAME/PATH
    const char *url;    // PROXY_COAP: of the resource
    const char *listen; // PROXY_HTTP: "127.0.0.1:0"
    const char *path;   // PROXY_HTTP: "/" or "/…"
};

// Pointers are valid during the call only. topic: without a broker what stands behind the webhook's path ("" or "/…").
// received_us: loop time at which it arrived. false: it was not taken (the proxy is offline).
typedef bool proxy_message_fn(void *ctx, const char *topic, const void *payload, size_t n, int64_t received_us);

// How physical devices are reached; implemented by whoever makes the fleet. url: of a broker, NULL: the run's.
struct proxy_ops {
    // fn(ctx) hears everything that is published under the filter, from the loop and never inside a call; connections
    // are made when they are needed, and again when they are lost. A ticket > 0; 0: it can never work (bad URL, a
    // scheme that cannot be observed).
    uint64_t (*subscribe)(void *arg, const char *url, const char *filter, int qos, proxy_message_fn *fn, void *ctx,
                          struct error *err);
    void (*unsubscribe)(void *arg, uint64_t ticket); // fn is not called any more; also from inside fn
    // -1: not connected (ERR_STATE), too much under way (ERR_LIMIT), bad topic (ERR_INVALID).
    int (*publish)(void *arg, const char *url, const char *topic, const void *payload, size_t n, int qos,
                   struct error *err);
    // A device at no broker, as subscribe; unsubscribe ends it. May be NULL.
    uint64_t (*attach)(void *arg, const struct proxy_place *place, proxy_message_fn *fn, void *ctx, struct error *err);
};

// What is wrong with a model's `proxy` object, without a place in front.
int proxy_check(const json_t *proxy, struct error *err) WARN_UNUSED_RESULT;
// The same for group_config.proxies of a group of so many devices.
int proxies_check(const json_t *proxies, uint64_t count, struct error *err) WARN_UNUSED_RESULT;
// Whether a device is one.
bool device_is_proxy(const struct device *d);

// --- for the rest of the room; all but the first two are for proxies only

int proxies_new(struct group *g, const json_t *proxies, struct error *err) WARN_UNUSED_RESULT; // 0: no proxies
void proxies_delete(struct group *g);                                                          // all are stopped
void proxies_report(struct group *g);                                                          // gauges
// Appends the id that its binding gives it; 1: it gives none.
int proxy_name(const struct device *d, struct buf *out);
int proxy_launch(struct device *d, struct error *err) WARN_UNUSED_RESULT;
void proxy_online(struct device *d); // binds
void proxy_offline(struct device *d, bool will_retry);
bool proxy_command(struct device *d, const struct adapter_message *m); // whether the message was one
void proxy_stop(struct device *d);                                     // unbinds
size_t proxy_footprint(const struct device *d);
