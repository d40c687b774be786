-- Ten valves that take commands without a line of Lua: parameters are checked, states kept, answers sent (models/valve-actuator.json).
-- Run it:  iotix-run scenarios/valve-actuator.lua
local iotix = require "iotix"

local valves = iotix.group { name = "valves", model = "valve-actuator", count = 10 }

return iotix.scenario {
  name = "valve-actuator",
  duration = "12s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { valves },
  test = function(run)
    local group = run:group("valves")
    group:wait("online", 10, "10s")
    iotix.expect.message {
      label = "valve 3 takes a position",
      topic = "valves/valves-3/response", within = "3s",
      trigger = function() group:command(3, "setPosition", { position = 42 }) end,
      where = function(m) return m.json and m.json.ok == true and m.json.position == 42 end,
    }
    iotix.expect.message {
      label = "and says where it stands",
      topic = "valves/valves-3/telemetry", within = "8s",
      where = function(m) return m.json and m.json.position == 42 end,
    }
    iotix.expect.message {
      label = "a position beyond its range is refused",
      topic = "valves/valves-4/response", within = "3s",
      trigger = function() group:command(4, "setPosition", { position = 400 }) end,
      where = function(m) return m.json and m.json.ok == false and m.json.parameter == "position" end,
    }
  end,
}
