// What the two example plugins share: one message is one line,
//
//     HELLO client-id        the first line of a connection; the server answers OK, or NO reason (TCP only)
//     PUB topic payload      from the device
//     PUB7 topic payload     the same with a number, for QoS 1 and 2: the server answers ACK 7
//     MSG topic payload      to the device
//
// Lines end with \n; topic and payload hold no line feed, the topic no blank.
#pragma once
#include <adapter/plugin_abi.h>
#include <string.h>

#define LINE_MAX_BYTES 65536u

// A topic that the protocol can carry.
static inline bool line_topic(const char *topic, size_t n)
{
    return n && !memchr(topic, ' ', n) && !memchr(topic, '\n', n);
}
