-- Four groups of vehicles on four kinds of mobile networks. Every device has a network of its own: what a profile says goes for each
-- of them, not for all together.
--   cars    LTE; a third of them come to the edge of the coverage for a while
--   scooters 3G, with 5 of 40 in an underground garage
--   trains  LTE through tunnels: a measured course of round trip, loss and rate, repeated
--   meters  in a cellar, with a profile of our own and losses in bursts
-- Look at: publish_latency by group (thresholds), then "chaos" in the summary: what acted when, on how many devices. Nothing of QoS 1 is
-- lost by a bad network, it comes late; what devices hold meanwhile is their queue, and a tunnel longer than it holds loses readings.
-- Try: -p devices=500; --seed 7 (other devices are chosen); more loss: edit `cellar`.
-- Run it:  iotix-run scenarios/cellular-fleet.lua
local iotix = require "iotix"
local chaos = iotix.chaos

local p = iotix.params {
  devices = { type = "integer", default = 40, help = "of each group" },
  readings = { type = "integer", default = 12, help = "of each device, two a second" },
}

-- The product's train-tunnel has a tunnel of 25 s in every three minutes. Ten seconds are enough to see it: the same at 18 times the speed.
local function hurried(name, times)
  for _, profile in ipairs(chaos.profiles()) do
    if profile.name == name then
      local rows = {}
      for i, row in ipairs(profile.fault.trace.rows) do rows[i] = { row[1] / times, row[2], row[3], row[4] } end
      return { trace = { rows = rows, ["repeat"] = true } }
    end
  end
end

local cellar = chaos.profile {
  name = "cellar", description = "Behind two concrete ceilings: slow, with losses in bursts",
  source = "An estimate. Put what you have measured here, and where.",
  rtt = "400ms", bandwidth = "64kbit", loss = { burst = { p = 0.03, r = 0.7 } }, -- 4 %, seldom alone
}

local function report(dev)
  assert(dev:connect())
  for n in dev:every("500ms", { jitter = "50ms" }) do
    assert(dev:publish("position", { n = n }))
    if n >= p.readings then break end
  end
  assert(dev:publish("arrived", { n = p.readings }, { wait = true, retain = true }))
  dev:sleep("1h")
end

local groups, names = {}, { "cars", "scooters", "trains", "meters" }
for i, name in ipairs(names) do
  groups[i] = iotix.group { name = name, count = p.devices, qos = 1, behaviour = report, launch = { strategy = "linear", rate = 100 } }
end

return iotix.scenario {
  name = "cellular-fleet",
  broker = iotix.env("BROKER", "embedded"),
  groups = groups,
  timeline = {
    chaos.link("lte", { groups = { "cars", "trains" } }),
    chaos.link("poor-cellular", { group = "cars", fraction = "33%", from = "3s", to = "7s" }),
    chaos.link("3g", { group = "scooters" }),
    chaos.partition { name = "garage", group = "scooters", fraction = "12.5%", from = "2s", to = "5s" },
    chaos.link(hurried("train-tunnel", 18), { name = "train-tunnel", group = "trains" }),
    chaos.link(cellar, { group = "meters" }),
  },
  thresholds = {
    messages_acked = "count == " .. 4 * p.devices * (p.readings + 1), -- late, but nothing is lost
    messages_dropped = "count == 0",
    ["publish_latency{group:cars}"] = { "p50 < 300ms", "p95 < 6s" },
    ["publish_latency{group:scooters}"] = "p50 < 600ms",
    ["publish_latency{group:meters}"] = "p95 < 6s",
    ["connect_latency{group:meters}"] = "min > 750ms", -- TCP and CONNECT, a round trip each: the network really was slow
  },
  test = function()
    for _, name in ipairs(names) do
      iotix.expect.message {
        label = "all " .. name .. " have had everything acknowledged", topic = name .. "/+/arrived", count = p.devices, within = "60s",
        where = function(m) return m.json and m.json.n == p.readings end,
      }
    end
  end,
}
