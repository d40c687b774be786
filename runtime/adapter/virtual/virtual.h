// The adapter of virtual time: no network. A connection is online one tick (1 ms) after it was opened, a publish is
// handed to env.capture at once, and whatever a device waits for (an acknowledgement, a subscription, the end of a
// connection) is answered one tick later, so that no loop of a behaviour can make time stand still. Subscriptions
// succeed and hear nothing.
//
// It takes any URL and any options; it is not among adapter_names: whoever runs in virtual time puts it in the place of
// the others. Topics are checked as MQTT's are.
//
// Events are delivered at the end of a turn (hook priority 20), after the timers and the Lua tasks of that turn: what a
// device sees, and in which order, does not depend on the other devices of its target.
#pragma once
#include "adapter/adapter.h"

#define VIRTUAL_REPLY_US 1000
#define VIRTUAL_WAITING_MAX 1000 // events under way of one connection; beyond, what asks for one more is ERR_LIMIT

extern const struct adapter_ops virtual_adapter;
