-- MQTT 5: controllers ask sensors and get their answers by response topic and correlation, with properties on the way.
-- Run it:  iotix-run scenarios/mqtt5-request-response.lua
local iotix = require "iotix"
local gen = iotix.gen

local mqtt5 = iotix.mqtt { version = "5", topic_aliases = true, user_properties = { simulator = "iotix" } }

-- What the function of a subscription returns is published to the message's response topic, with its correlation data.
local sensors = iotix.group {
  name = "sensors", count = 20, qos = 1, connection = mqtt5,
  launch = { strategy = "linear", rate = 100 },
  behaviour = function(dev)
    local temperature = gen.walk { start = 21, step = 0.2, min = 15, max = 30 }
    assert(dev:connect())
    assert(dev:subscribe("ask", function(question)
      local unit = question.user and question.user.unit or "C"
      local t = temperature()
      return { t = unit == "F" and t * 9 / 5 + 32 or t, unit = unit }
    end))
    dev:publish("ready", "1", { retain = true, expiry = "1m", content_type = "text/plain" })
    dev:sleep("1h")
  end,
}

local controllers = iotix.group {
  name = "controllers", count = 20, connection = mqtt5,
  launch = { strategy = "linear", rate = 100 },
  behaviour = function(dev)
    assert(dev:connect())
    dev:sleep("1s")
    for n in dev:every("500ms") do
      local answer, why = dev:request {
        topic = "sensors/sensors-" .. dev.index .. "/ask", payload = { n = n }, user = { unit = n % 2 == 0 and "F" or "C" },
        timeout = "2s",
      }
      if not answer then
        dev:log("warn", "no answer: " .. why)
      elseif answer:json().unit ~= (n % 2 == 0 and "F" or "C") then
        error("the answer of another question")
      end
    end
  end,
}

return iotix.scenario {
  name = "mqtt5-request-response",
  duration = "4s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { sensors, controllers },
  thresholds = {
    ["requests{group:controllers}"] = "count > 60",
    ["request_errors{group:controllers}"] = "rate < 1%",
    ["request_latency{group:controllers}"] = "p95 < 200ms",
  },
}
