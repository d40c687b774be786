-- 200 temperature sensors and 20 valves on a private broker: the smallest scenario that shows everything.
-- Run it:  iotix-run scenarios/quickstart.lua
local iotix = require "iotix"

-- A model alone drives its devices: telemetry every second, no Lua needed.
local sensors = iotix.group {
  name = "sensors", model = "temperature-sensor", count = 200,
  launch = { strategy = "linear", rate = 100 },
}

-- A behaviour is a coroutine of its own for every device.
local valves = iotix.group {
  name = "valves", count = 20, qos = 1,
  behaviour = function(dev)
    local position = 0
    assert(dev:connect())
    dev:on("command", function(cmd)
      if type(cmd.params.position) ~= "number" then return { ok = false, error = "position is missing" } end
      dev:sleep("200ms") -- a valve takes its time; the other devices do not wait for it
      position = cmd.params.position
      dev:publish("state", { position = position })
      return { ok = true }
    end)
    for _ in dev:every("2s", { jitter = "200ms" }) do
      dev:publish("state", { position = position })
    end
  end,
}

return iotix.scenario {
  name = "quickstart",
  duration = "12s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { sensors, valves },
  thresholds = {
    publish_latency = "p95 < 200ms",
    connect_errors = "rate < 1%",
    ["messages_sent{group:sensors}"] = "count > 1000",
  },
  test = function(run)
    run:group("sensors"):wait("online", 200, "10s")
    iotix.expect.message {
      label = "valve 7 moves when it is told to",
      topic = run:group("valves"):topic(7, "state"), within = "3s",
      trigger = function() run:group("valves"):command(7, "move", { position = 42 }) end,
      where = function(m) return m.json and m.json.position == 42 end,
    }
    iotix.expect(run:group("sensors"):count("online"), "sensors online").at_least(200)
  end,
}
