// Whether a connection may come about over a device's path, asked before a socket is opened that the path does not open
// by itself (a link's it does): lookups and connects that fail by a fault, or take their time.
#pragma once
#include "core/loop.h"
#include "link/path.h"

struct gate;

// NULL: it may, now (also without memory: better without faults than not at all). Else `opened` follows from the loop,
// once: why NULL: now it may; else it fails. Never, when nobody answers: the owner's deadline is what ends that.
struct gate *gate_new(struct loop *loop, struct path_port *port, void (*opened)(void *arg, const struct error *why),
                      void *arg);
// The same for a datagram socket, which has no port.
struct gate *gate_new_datagram(struct loop *loop, struct path *path, const struct path_peer *peer,
                               void (*opened)(void *arg, const struct error *why), void *arg);
void gate_delete(struct gate *g); // also inside `opened`; NULL: nothing
