// The options of an MQTT target: iotix.mqtt{...} or the connection of a device model, as a JSON object.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "adapter/mqtt/codec5.h"
#include "adapter/mqtt/session.h"
#include "adapter/pacer.h"

#define MQTT_NEVER UINT32_MAX // session expiry: never

struct mqtt_options {
    int64_t connect_timeout_us;
    int64_t reconnect_initial_us, reconnect_max_us;
    int64_t timeout_us; // of requests
    double reconnect_factor;
    uint32_t reconnect_attempts; // consecutive failed ones; 0 unlimited
    uint8_t version;             // protocol level: 4 is 3.1.1, 5
    bool reconnect;
    bool reconnect_jitter; // full jitter: uniform in [0, delay)
    bool clean_session;    // of version 5: Clean Start
    bool will_retain;
    uint8_t will_qos;
    uint16_t keep_alive; // s, 0 = off
    uint32_t max_packet; // bytes of an incoming packet
    struct mqtt_queue_limits queue;
    struct pacer_config pacer;
    // Version 5.
    bool follow_redirect, topic_aliases;
    uint16_t receive_maximum, topic_alias_maximum;
    uint32_t session_expiry;    // s, MQTT_NEVER
    const char *response_topic; // base of the connections' own response topics; NULL: the server's, or the default
    const char *auth_method;    // NULL: no enhanced authentication
    struct mqtt5_properties connect5, will5; // of CONNECT and of the will, all but the authentication data
    json_t *json;                            // what the texts point into
    struct adapter_property *user, *will_user;
};

// Keys, all optional (durations: a string with a unit, or a number of seconds; sizes: "256KB" or a number of bytes):
//   version "3.1.1" (or 4), "5"   keepAlive 60 (whole seconds, 0 = off)   cleanSession true    connectTimeout "10s"
//   reconnect true | false | { initial = "1s", max = "60s", factor = 2, jitter = true, attempts = 0 (unlimited) }
//   inflight 20 (1..10000)        queue { max = 100 messages, bytes = "256KB", full = "reject" | "drop_oldest" }
//   willQos 0                     willRetain false                        maxPacket "1MB"      timeout "30s"
//   connectWindow, connectRate, connectPacing: pacer.h   source: source.h    tls, websocket: transport.h
// Version 5 only:
//   sessionExpiry (whole seconds | "never"; default 0, "never" with cleanSession false)   receiveMaximum 65535
//   topicAliasMaximum 0 (aliases the server may use)      topicAliases false (use the server's for every topic)
//   userProperties { NAME = TEXT or a list of TEXT }      requestResponseInfo false      requestProblemInfo true
//   followRedirect true           authMethod TEXT         responseTopic "iotix/responses" (the client id is appended)
//   willDelay 0  willExpiry  willContentType  willResponseTopic  willCorrelation  willUserProperties
// options may be NULL or JSON null: the defaults. -1: an unknown key (the valid ones are named) or a bad value; nothing
// is to be destroyed then. The values of tls, websocket and source are not looked at here.
int mqtt_options_parse(const json_t *options, struct mqtt_options *out, struct error *err) WARN_UNUSED_RESULT;
void mqtt_options_destroy(struct mqtt_options *o);

// Private to options*.c.
int mqtt_option_seconds(const char *key, const json_t *v, uint32_t max, uint32_t *out, struct error *err);
typedef int mqtt_option_fn(const char *key, const json_t *v, struct mqtt_options *o, struct error *err);
struct mqtt_option {
    const char *key;
    mqtt_option_fn *parse; // NULL: looked at elsewhere
};
extern const struct mqtt_option mqtt_options5[]; // those of version 5; key NULL at the end
// Makes connect5 of what was parsed.
void mqtt_options5_finish(struct mqtt_options *o);
