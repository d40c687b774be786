// The MQTT 3.1.1 client for simulated devices (OASIS standard of 29 October 2014): table of the adapter interface.
// Options of target_new: see options.h. What is counted: see target.h.
#pragma once
#include "adapter/adapter.h"

extern const struct adapter_ops mqtt_adapter;
