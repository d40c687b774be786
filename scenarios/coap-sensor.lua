-- 50 sensors that post their readings over CoAP (models/coap-sensor.json), against a CoAP server that iotix-run starts.
-- Run it:  iotix-run scenarios/coap-sensor.lua
local iotix = require "iotix"

local field = iotix.group {
  name = "field", model = "coap-sensor", count = 50,
  launch = { strategy = "linear", rate = 50 },
}

return iotix.scenario {
  name = "coap-sensor",
  duration = "5s",
  coap = iotix.env("COAP", "embedded"),
  groups = { field },
  thresholds = {
    ["messages_sent{group:field}"] = "count > 20",
    ["publish_latency{group:field}"] = "p95 < 500ms",
    publish_errors = "rate < 1%",
  },
}
