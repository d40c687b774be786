-- 50 trackers that post where they are to a web service (models/http-tracker.json), here one that iotix-run starts.
-- Run it:  iotix-run scenarios/http-tracker.lua
local iotix = require "iotix"

local containers = iotix.group {
  name = "containers", model = "http-tracker", count = 50,
  launch = { strategy = "linear", rate = 50 },
}

return iotix.scenario {
  name = "http-tracker",
  duration = "5s",
  http = iotix.env("HTTP", "embedded"),
  groups = { containers },
  thresholds = {
    ["messages_sent{group:containers}"] = "count > 20",
    ["publish_latency{group:containers}"] = "p95 < 500ms",
    publish_errors = "rate < 1%",
  },
}
