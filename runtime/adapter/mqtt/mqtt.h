// The MQTT client for simulated devices, 3.1.1 (OASIS standard of 29 October 2014) and 5 (of 7 March 2019), over TCP,
// TLS and WebSocket: table of the adapter interface. Requests: see exchange.h.
// Options of target_new: see options.h. What is counted: see target.h.
#pragma once
#include "adapter/adapter.h"

extern const struct adapter_ops mqtt_adapter;
