// The options of an MQTT target: iotix.mqtt{...} or the connection of a device model, as a JSON object.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "adapter/mqtt/session.h"
#include "link/link.h"

#define MQTT_MAX_SOURCES 16u

struct mqtt_options {
    int64_t connect_timeout_us;
    int64_t reconnect_initial_us, reconnect_max_us;
    double reconnect_factor;
    uint32_t reconnect_attempts; // consecutive failed ones; 0 unlimited
    bool reconnect;
    bool reconnect_jitter; // full jitter: uniform in [0, delay)
    bool clean_session;
    bool will_retain;
    uint8_t will_qos;
    uint16_t keep_alive; // s, 0 = off
    uint32_t connect_window;
    uint32_t max_packet; // bytes of an incoming packet
    struct mqtt_queue_limits queue;
    struct link_addr sources[MQTT_MAX_SOURCES]; // to bind, in turn
    unsigned n_sources;
};

// Keys, all optional (durations: a string with a unit, or a number of seconds; sizes: "256KB" or a number of bytes):
//   version "3.1.1" or 4          keepAlive 60 (whole seconds, 0 = off)   cleanSession true    connectTimeout "10s"
//   reconnect true | false | { initial = "1s", max = "60s", factor = 2, jitter = true, attempts = 0 (unlimited) }
//   inflight 20 (1..10000)        queue { max = 100 messages, bytes = "256KB", full = "reject" | "drop_oldest" }
//   connectWindow 64              source (IP address to bind, or a list   willQos 0            willRetain false
//                                 of up to 16, taken in turn)
//   maxPacket "1MB"
// options may be NULL or JSON null: the defaults. -1: an unknown key (the valid ones are named) or a bad value.
int mqtt_options_parse(const json_t *options, struct mqtt_options *out, struct error *err) WARN_UNUSED_RESULT;
