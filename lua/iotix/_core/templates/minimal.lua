-- Ten thermometers, each a reading a second, for ten seconds. Run it:  iotix-run minimal.lua
-- With no broker named, a private one is started and stopped with the run.
local iotix, gen = require "iotix", require "iotix.gen"

local thermometers = iotix.group {
  name = "thermometers",
  count = 10,
  behaviour = function(dev)
    local temperature = gen.walk { start = 21, step = 0.2, min = 15, max = 30 }
    assert(dev:connect())
    for _ in dev:every("1s") do
      dev:publish("telemetry", { temperature = temperature() }, { qos = 1 })
    end
  end,
}

return iotix.scenario {
  name = "minimal",
  duration = "10s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { thermometers },
  thresholds = { publish_latency = "p95 < 500ms" },
}
