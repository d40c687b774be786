-- The same load for a long time: does anything leak, drift or drop? Run it:  iotix-run soak.lua
-- A first look in a minute:  iotix-run soak.lua -d 1m
local iotix, gen = require "iotix", require "iotix.gen"

local trackers = iotix.group {
  name = "trackers",
  count = 200,
  launch = { strategy = "linear", rate = 50 },
  on_error = "restart", -- a device whose behaviour fails comes back
  behaviour = function(dev)
    local speed = gen.walk { start = 50, step = 5, min = 0, max = 120 }
    assert(dev:connect())
    for _ in dev:every("5s", { jitter = "1s" }) do
      dev:publish("position", { speed = speed() }, { qos = 1 })
    end
  end,
}

return iotix.scenario {
  name = "soak",
  duration = "1h",
  broker = iotix.env("BROKER", "embedded"),
  groups = { trackers },
  thresholds = {
    publish_latency = { "p99 < 1s", abort = true }, -- no need to wait for the end
    messages_dropped = "count < 1",
    script_errors = "count < 1",
  },
}
