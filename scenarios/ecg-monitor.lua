-- 20 bedside monitors: a waveform of 250 samples a second as raw bytes, and the heart rate as JSON (models/ecg-monitor.json).
-- Run it:  iotix-run scenarios/ecg-monitor.lua
local iotix = require "iotix"

local ward = iotix.group {
  name = "ward", model = "ecg-monitor", count = 20,
  launch = { strategy = "linear", rate = 20 },
}

return iotix.scenario {
  name = "ecg-monitor",
  duration = "10s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { ward },
  thresholds = { publish_latency = "p95 < 200ms", ["messages_sent{group:ward}"] = "count > 200" },
  test = function(run)
    run:group("ward"):wait("online", 20, "10s")
    iotix.expect.message {
      label = "a second of waveform is 250 samples of 16 bits",
      topic = "ward/+/waveform/lead2", within = "5s",
      where = function(m) return #m.payload == 500 end,
    }
    iotix.expect.message {
      label = "hearts beat", topic = "ward/+/vitals", within = "5s",
      where = function(m) return m.json and m.json.heartRate >= 40 and m.json.heartRate <= 180 end,
    }
  end,
}
