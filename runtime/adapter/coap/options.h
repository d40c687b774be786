// The JSON options of a target, checked.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "adapter/pacer.h"
#include "core/error.h"
#include "link/link.h"

#define COAP_BODY_MAX (1u << 20) // bytes of a request or served body, and the default of maxResponse

#define COAP_DIRECTORY_HOLE "${deviceId}" // of `endpoint`: stands for the client id

struct coap_directory_options {
    char path[256]; // "" and no `discover`: no directory
    bool discover;  // ask /.well-known/core?rt=core.rd for it
    char host[256]; // of an absolute URL; "": the target
    uint16_t port;
    char endpoint[64]; // name to register by, with COAP_DIRECTORY_HOLE; "": the client id
    char sector[64];
    uint32_t lifetime_s;
};

struct coap_options {
    int64_t connect_timeout_us, timeout_us, serve_timeout_us;
    bool reconnect, reconnect_jitter;
    int64_t reconnect_initial_us, reconnect_max_us;
    double reconnect_factor;
    uint32_t reconnect_attempts; // 0: no limit
    // Transmission parameters, RFC 7252 section 4.8
    int64_t ack_timeout_us;
    double ack_random_factor;
    uint32_t max_retransmit, nstart, probing_rate;
    bool confirmable;      // requests that say nothing themselves
    uint32_t block_szx;    // 0..6: blocks of 16 << szx bytes
    uint32_t max_response; // bytes of a body put together out of blocks
    uint32_t queue_max;    // exchanges that wait or are under way, observations included
    bool probe;            // UDP: online when the server has answered an empty CON
    int64_t keep_alive_us; // a ping after so long without a sign of the server; 0: none
    uint8_t publish_code;  // method of publish()
    int publish_format;    // Content-Format, -1: none
    bool reregister;       // observations, when Max-Age has passed
    int64_t grace_us;      // and this time more; -1: 5 to 15 s
    struct link_addr listen;
    bool mint; // tls.mint: each device has a certificate
    struct coap_directory_options directory;
    struct pacer_config pacer;
    const json_t *source, *tls; // of the object given; NULL: absent
};

// reliable: coap+tcp and coaps+tcp, where parameters of the datagram transport are errors.
int coap_options_parse(const json_t *options, bool reliable, struct coap_options *out,
                       struct error *err) WARN_UNUSED_RESULT;
