// The output of many sockets in one system call, through io_uring. Private to the room; one a process.
#pragma once
#include <stdint.h>
#include "core/error.h"

#define SUBMIT_MAX 256u // sends at once

struct submit;
// NULL: ERR_UNSUPPORTED where the kernel, or who guards it (seccomp, sysctl), does not let us. To be made and used in
// one thread; it does not survive a fork.
struct submit *submit_new(struct error *err);
void submit_delete(struct submit *s);

struct submit_send {
    int fd;
    const uint8_t *bytes;
    uint32_t n;
    int32_t result; // out: bytes that the kernel took, or -errno; -EAGAIN: its buffer is full
};
// All of them, at most SUBMIT_MAX, each as send(MSG_NOSIGNAL | MSG_DONTWAIT) would. Never waits for a peer. -1 with
// ERR_IO: the ring does not work any more; `result` of those that did not get through is -EAGAIN.
int submit_sends(struct submit *s, struct submit_send *sends, unsigned n, struct error *err) WARN_UNUSED_RESULT;
