-- Twelve thermostats that switch their heating by conditions and take a new target (models/thermostat.json).
-- Run it:  iotix-run scenarios/thermostat.lua
local iotix = require "iotix"

local rooms = iotix.group {
  name = "rooms", model = "thermostat", count = 12,
  launch = { strategy = "linear", rate = 12 },
}

return iotix.scenario {
  name = "thermostat",
  duration = "20s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { rooms },
  test = function(run)
    run:group("rooms"):wait("online", 12, "10s")
    iotix.expect.message {
      label = "below the target the heating goes on",
      topic = "rooms/+/telemetry", within = "15s",
      where = function(m) return m.json and m.json.heating == true end,
    }
    iotix.expect.message {
      label = "room 5 takes a new target",
      topic = "rooms/rooms-5/telemetry", within = "5s",
      trigger = function() run:group("rooms"):command(5, "setTarget", { celsius = 23 }) end,
      where = function(m) return m.json and m.json.target == 23 end,
    }
  end,
}
