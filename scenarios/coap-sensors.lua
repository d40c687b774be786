-- Sensors over CoAP: each is a server whose temperature others read and observe, reports its own to a collector without waiting for
-- acknowledgements, and watches the collector's clock.
-- Run it:  iotix-run scenarios/coap-sensors.lua
local iotix = require "iotix"
local gen = iotix.gen

local sensors = iotix.group {
  name = "sensors", count = 50,
  launch = { strategy = "linear", rate = 50 },
  connection = iotix.coap { url = iotix.env("COLLECTOR", "coap://embedded") },
  behaviour = function(dev)
    local temperature, current = gen.walk { start = 21, step = 0.3, min = 15, max = 30 }, 21
    assert(dev:connect())

    assert(dev:serve("/temperature", { observable = true, rt = "temperature-c", interface = "sensor" },
      function() return { t = current } end))

    local ticks = 0
    assert(dev:observe("/time", function(answer, why)
      if not answer then return dev:log("warn", "the clock is gone: " .. tostring(why)) end
      ticks = ticks + 1
    end))

    for n in dev:every("1s", { jitter = "100ms" }) do
      current = temperature()
      dev:notify("/temperature")
      dev:request { method = "POST", path = "/readings/" .. dev.id, payload = { t = current, n = n, ticks = ticks },
        confirmable = n % 10 == 0 }
    end
  end,
}

return iotix.scenario {
  name = "coap-sensors",
  duration = "4s",
  groups = { sensors },
  thresholds = {
    ["requests{group:sensors}"] = "count > 100",
    request_errors = "rate < 1%",
    ["request_latency{group:sensors}"] = "p95 < 500ms",
  },
}
