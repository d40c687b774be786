-- Five cameras whose pictures are made in Lua (models/camera.json and models/camera.lua).
-- Run it:  iotix-run scenarios/camera.lua
local iotix = require "iotix"

local yard = iotix.group { name = "yard", model = "camera", count = 5 }

return iotix.scenario {
  name = "camera",
  duration = "10s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { yard },
  test = function(run)
    run:group("yard"):wait("online", 5, "10s")
    iotix.expect.message {
      label = "a frame is a picture of 64 x 48 pixels",
      topic = "yard/+/frame", within = "5s",
      where = function(m) return m.payload:sub(1, 12) == "P5 64 48 255" and #m.payload == 13 + 64 * 48 end,
    }
    iotix.expect.message {
      label = "camera 2 makes a snapshot when it is told to",
      topic = "yard/yard-2/response", within = "5s",
      trigger = function() run:group("yard"):command(2, "snapshot", { quality = 90 }) end,
      where = function(m) return m.json and m.json.ok == true and m.json.result.quality == 90 end,
    }
  end,
}
