-- Three proxies of physical probes (models/physical-probe.json). Here the probes are simulated too, so that the example runs as it
-- stands; with real ones leave the group "probes" out and give -b the broker that they publish to.
-- Run it:  iotix-run scenarios/physical-probe.lua
local iotix, gen = require "iotix", require "iotix.gen"

local probes = iotix.group {
  name = "probes", count = 3,
  topics = "plant/probe-${index}",
  behaviour = function(dev)
    local vibration = gen.normal { mean = 2.1, stddev = 0.4, min = 0 }
    assert(dev:connect())
    for _ in dev:every("500ms") do dev:publish("vibration", { mm_s = vibration() }) end
  end,
}

local proxies = iotix.group { name = "proxies", model = "physical-probe", count = 3 }

return iotix.scenario {
  name = "physical-probe",
  duration = "10s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { probes, proxies },
  thresholds = { ["messages_proxied{source:physical}"] = "count > 20" },
  test = function(run)
    run:group("probes"):wait("online", 3, "10s")
    iotix.expect.message {
      label = "what a probe says comes out of its proxy unchanged",
      topic = "proxies/+/telemetry/vibration", within = "6s",
      where = function(m) return m.json and m.json.mm_s end,
    }
    run:at("8s")
    iotix.expect(run:group("proxies"):count("online"), "proxies online").at_least(3)
  end,
}
