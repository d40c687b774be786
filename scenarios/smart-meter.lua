-- 100 electricity meters that replay a household's day, each beginning at another hour (models/smart-meter.json).
-- Run it:  iotix-run scenarios/smart-meter.lua
local iotix = require "iotix"

local street = iotix.group {
  name = "street", model = "smart-meter", count = 100,
  launch = { strategy = "linear", rate = 100 },
}

return iotix.scenario {
  name = "smart-meter",
  duration = "12s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { street },
  thresholds = { ["messages_sent{group:street}"] = "count > 500" },
  test = function(run)
    run:group("street"):wait("online", 100, "10s")
    iotix.expect.message {
      label = "the current follows from power and voltage",
      topic = "meters/street/+", within = "5s",
      where = function(m)
        local v = m.json
        return v and v.power_w and v.current_a and math.abs(v.current_a - v.power_w / v.voltage_v) < 0.2
      end,
    }
    iotix.expect.message {
      label = "a meter says what is wrong with a command",
      topic = "street/street-1/response", within = "3s",
      trigger = function() run:publish("meters/street/street-1/disconnect", { reason = "holiday" }) end,
      where = function(m) return m.json and m.json.ok == false and m.json.code == "range" end,
    }
  end,
}
