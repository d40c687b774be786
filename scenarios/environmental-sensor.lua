-- 50 sensors of outdoor air, whose model builds on that of the temperature sensor (models/environmental-sensor.json).
-- Run it:  iotix-run scenarios/environmental-sensor.lua
local iotix = require "iotix"

local stations = iotix.group {
  name = "stations", model = "environmental-sensor", count = 50,
  launch = { strategy = "linear", rate = 50 },
}

return iotix.scenario {
  name = "environmental-sensor",
  duration = "12s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { stations },
  thresholds = { ["messages_sent{group:stations}"] = "count > 300", connect_errors = "rate < 1%" },
  test = function(run)
    run:group("stations"):wait("online", 50, "10s")
    iotix.expect.message {
      label = "a message has what the model adds and what it inherits",
      topic = "stations/+/telemetry", within = "5s",
      where = function(m) return m.json and m.json.co2 and m.json.dewPoint and m.json.temperature and m.json.status ~= nil end,
    }
  end,
}
