-- More and more devices: how does the broker take it? Run it:  iotix-run ramp.lua
-- Larger:  iotix-run ramp.lua -n 10k -d 5m        the launch rate:  -p rate=500
local iotix, gen = require "iotix", require "iotix.gen"

local param = iotix.params {
  rate = { type = "number", default = 50, help = "Devices that are launched a second" },
}

local meters = iotix.group {
  name = "meters",
  count = 500,
  launch = { strategy = "linear", rate = param.rate },
  behaviour = function(dev)
    local power = gen.uniform { min = 100, max = 3500 }
    assert(dev:connect())
    for _ in dev:every("2s", { jitter = "1s" }) do
      dev:publish("telemetry", { power = power() }, { qos = 1 })
    end
  end,
}

return iotix.scenario {
  name = "ramp",
  duration = "30s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { meters },
  thresholds = {
    connect_latency = "p95 < 1s",
    connect_errors = "rate < 1%",
    publish_latency = { "p95 < 500ms", "p99 < 2s" },
  },
}
