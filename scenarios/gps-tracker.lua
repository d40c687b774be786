-- 30 vehicles on a round through a city, with positions in CBOR (models/gps-tracker.json).
-- Run it:  iotix-run scenarios/gps-tracker.lua
local iotix = require "iotix"

local vans = iotix.group {
  name = "vans", model = "gps-tracker", count = 30,
  launch = { strategy = "linear", rate = 30 },
}

return iotix.scenario {
  name = "gps-tracker",
  duration = "10s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { vans },
  thresholds = { ["messages_sent{group:vans}"] = "count > 150" },
  test = function(run)
    run:group("vans"):wait("online", 30, "10s")
    iotix.expect.message {
      label = "a position in CBOR: a map with the key position",
      topic = "fleet/vans/+", within = "5s",
      where = function(m) return m.payload:find("position", 1, true) and m.payload:find("lat", 1, true) end,
    }
  end,
}
