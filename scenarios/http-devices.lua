-- Meters that report to a web service every second and take commands at an endpoint of their own (a webhook), as the behaviour says.
-- Run it:  iotix-run scenarios/http-devices.lua
local iotix = require "iotix"
local gen = iotix.gen

local meters = iotix.group {
  name = "meters", count = 50,
  launch = { strategy = "linear", rate = 50 },
  connection = iotix.http {
    url = iotix.env("SERVICE", "http://embedded"),
    retries = { max = 3, initial = "200ms", max_delay = "2s" },
    jwt = { algorithm = "HS256", key = "a shared secret", claims = { sub = "${deviceId}", aud = "meters" }, ttl = "10m" },
  },
  behaviour = function(dev)
    local power = gen.walk { start = 300, step = 25, min = 0, max = 3000 }
    local interval = 1
    assert(dev:connect())

    -- POST http://HOST:PORT/DEVICE/interval with {"seconds":5}
    assert(dev:serve("/interval", function(request)
      local seconds = request.json and request.json.seconds
      if type(seconds) ~= "number" or seconds < 0.1 then return nil, "seconds: a number of 0.1 or more" end
      interval = seconds
      return { interval = interval }
    end))
    assert(dev:put("/hooks/" .. dev.id, { url = dev:served_at() })) -- where the service finds it

    while true do
      dev:sleep(interval)
      local answer, why, code = dev:post("/readings", { meter = dev.id, watts = power() })
      if not answer then
        dev:log("warn", "no answer: " .. why .. " (" .. code .. ")")
      elseif answer.status == 429 then
        interval = interval * 2
      end
    end
  end,
}

return iotix.scenario {
  name = "http-devices",
  duration = "4s",
  groups = { meters },
  thresholds = {
    ["requests{group:meters}"] = "count > 100",
    request_errors = "rate < 1%",
    ["request_latency{group:meters}"] = "p95 < 500ms",
  },
}
