-- Two fleets of the same size lose their connections. One comes back as badly written firmware does: all at once. The other
-- waits a random time first. Every connect is a full TLS handshake, the dear part of a storm.
-- Look at: the two lines of the log with the peak of connects a second, and connect_latency of each group among the thresholds: in the
-- storm a handshake waits behind all others, spread out it hardly notices them.
-- Try: -p spread=500ms (hardly better than none), -p devices=1000, your own platform: -e BROKER=mqtts://broker.example:8883
-- Run it:  iotix-run scenarios/reconnect-storm.lua
local iotix = require "iotix"
local chaos = iotix.chaos

local p = iotix.params {
  devices = { type = "integer", default = 300, help = "of each of the two fleets" },
  spread = { type = "duration", default = "4s", help = "the jitter of those that know better" },
}

local function report(dev)
  assert(dev:connect())
  for n in dev:every("2s") do
    dev:publish("state", { n = n }) -- QoS 0: refused while the device is away
  end
end

local function fleet(name)
  return iotix.group {
    name = name, count = p.devices, behaviour = report,
    launch = { strategy = "ramp", over = "3s" },
    connection = iotix.mqtt {
      broker = iotix.env("BROKER", "mqtts://embedded"),
      tls = { resume = false },         -- a broker that was restarted knows no sessions either
      connect_window = p.devices,       -- devices in the field do not wait for each other
    },
  }
end

-- The highest rise of the number of devices online within a second, from now until all are back.
local function peak(run, name)
  local group, seen, highest, away = run:group(name), {}, 0, false
  while not away or group:count("online") < p.devices or #seen < 8 do
    local online = group:count("online")
    away = away or online < p.devices / 2
    seen[#seen + 1] = online
    for back = math.max(1, #seen - 4), #seen - 1 do
      if away then highest = math.max(highest, online - seen[back]) end
    end
    if #seen > 120 then run:fail(name .. ": not all devices are back") end
    iotix.sleep("250ms")
  end
  highest = math.max(highest, p.devices - seen[math.max(1, #seen - 3)])
  run:log("info", ("%s: up to %d connects a second"):format(name, highest))
  return highest
end

return iotix.scenario {
  name = "reconnect-storm",
  groups = { fleet("at-once"), fleet("spread") },
  timeline = {
    chaos.storm { name = "storm", group = "at-once", from = "5s", reconnect_delay = "1s" },
    chaos.storm { name = "storm-with-jitter", group = "spread", from = "8s", reconnect_delay = "1s", jitter = p.spread },
  },
  thresholds = {
    ["connect_latency{group:spread}"] = "p95 < 500ms",
    ["connect_latency{group:at-once}"] = "p95 < 10s", -- to see it beside the other
    connect_errors = "rate < 1%",
    ["reconnects{group:at-once}"] = "count == " .. p.devices,
    ["reconnects{group:spread}"] = "count == " .. p.devices,
  },
  test = function(run)
    for _, name in ipairs { "at-once", "spread" } do
      iotix.expect(run:group(name):wait("online", p.devices, "20s"), name .. ": online before the storm").equals(p.devices)
    end
    run:at("5s")
    local without = peak(run, "at-once")
    run:at("8s")
    local with = peak(run, "spread")
    iotix.expect(with, "peak of connects a second with jitter, against " .. without .. " without").below(without * 0.75)
  end,
}
