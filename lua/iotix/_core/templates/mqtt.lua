-- Sensors that report and lamps that obey: telemetry, commands, a last will, and a test that looks at the broker from outside.
-- Run it:  iotix-run mqtt.lua          against your broker:  iotix-run mqtt.lua -b mqtt://host:1883
local iotix, gen = require "iotix", require "iotix.gen"

local param = iotix.params {
  sensors = { type = "integer", default = 50, help = "How many sensors" },
  interval = { type = "duration", default = "1s", help = "Time between two readings of a sensor" },
}

local sensors = iotix.group {
  name = "sensors",
  count = param.sensors,
  launch = { strategy = "linear", rate = 50 }, -- devices a second
  connection = iotix.mqtt {
    will = { topic = "sensors/${deviceId}/status", payload = "offline", retain = true },
  },
  behaviour = function(dev)
    local humidity = gen.normal { mean = 45, stddev = 3 }
    assert(dev:connect())
    dev:publish("status", "online", { retain = true })
    for _ in dev:every(param.interval, { jitter = "100ms" }) do
      dev:publish("telemetry", { humidity = humidity() }, { qos = 1 })
    end
  end,
}

local lamps = iotix.group {
  name = "lamps",
  count = 5,
  behaviour = function(dev)
    assert(dev:connect())
    assert(dev:subscribe("set", function(message) -- stays when this function has returned
      dev:publish("state", message.payload, { qos = 1 })
    end))
  end,
}

return iotix.scenario {
  name = "mqtt",
  duration = "15s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { sensors, lamps },
  thresholds = {
    publish_latency = "p95 < 500ms",
    connect_errors = "rate < 1%",
  },
  test = function(run)
    run:at("5s")
    iotix.expect.message { topic = "sensors/+/telemetry", within = "5s" }
    iotix.expect(run:group("lamps"):count("online")).at_least(5)
  end,
}
