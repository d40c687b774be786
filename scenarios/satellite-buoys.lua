-- Buoys behind a geostationary satellite, 600 ms a round trip, and a storm that makes it worse for some seconds. Half of them send each
-- reading as it comes, half of them ten in one message. A station on shore, on a good network, counts what arrives.
-- Look at: connect_latency (TCP and MQTT take a round trip each before the first byte of use); publish_latency, which no bandwidth mends;
-- bytes_sent of the two groups, the same readings in both; link_retransmitted: what the losses cost on TCP is time, not data.
-- Try: -p batch=2, or TLS, which adds a round trip: broker = "mqtts://embedded" in the scenario.
-- Run it:  iotix-run scenarios/satellite-buoys.lua
local iotix = require "iotix"
local chaos, gen = iotix.chaos, iotix.gen

local p = iotix.params {
  buoys = { type = "integer", default = 20, help = "of each of the two groups" },
  readings = { type = "integer", default = 30, help = "of each buoy, five a second" },
  batch = { type = "integer", default = 10, help = "readings in a message of the group that batches" },
}
local expected = p.buoys * p.readings

local function buoy(size)
  return function(dev)
    local wave, held = gen.ou { mean = 1.5, reversion = 0.5, volatility = 0.4, min = 0 }, {}
    assert(dev:connect({ timeout = "20s" }))
    for n in dev:every("200ms") do
      held[#held + 1] = { n = n, height = math.floor(wave() * 100) / 100 }
      if #held >= size or n >= p.readings then
        assert(dev:publish("waves", { readings = held }))
        held = {}
      end
      if n >= p.readings then break end
    end
    dev:sleep("1h")
  end
end

-- Each reading once, whatever arrives twice or in another order.
local function station(dev)
  local seen, count = {}, { single = 0, batching = 0 }
  assert(dev:connect())
  for group in pairs(count) do
    assert(dev:subscribe(group .. "/+/waves", { qos = 1 }, function(m)
      local id = m.topic:match("/([^/]+)/")
      for _, reading in ipairs(m.json and m.json.readings or {}) do
        local key = id .. "#" .. reading.n
        if not seen[key] then seen[key], count[group] = true, count[group] + 1 end
      end
    end))
  end
  for _ in dev:every("250ms") do dev:publish("log", count) end
end

local function buoys(name, size)
  return iotix.group { name = name, count = p.buoys, qos = 1, behaviour = buoy(size),
    connection = iotix.mqtt { broker = iotix.env("BROKER", "embedded"), keep_alive = "120s" },
    launch = { strategy = "ramp", over = "1s" } }
end

return iotix.scenario {
  name = "satellite-buoys",
  groups = {
    iotix.group { name = "shore", behaviour = station, memory = "8MB" },
    buoys("single", 1), buoys("batching", p.batch),
  },
  timeline = {
    chaos.link("satellite-link", { groups = { "single", "batching" } }),
    chaos.link({ loss = "10%", up = { bandwidth = "128kbit" } },
      { name = "rain", groups = { "single", "batching" }, from = "4s", to = "6s" }),
  },
  thresholds = {
    messages_dropped = "count == 0",
    ["connect_latency{group:single}"] = { "min > 1.1s", "p95 < 6s" }, -- two round trips at least: the link is what it should be
    ["publish_latency{group:single}"] = { "p50 < 1s", "p95 < 5s" },
    ["publish_latency{group:batching}"] = "p95 < 5s",
    ["bytes_sent{group:single}"] = "count > " .. expected * 45,
    ["bytes_sent{group:batching}"] = "count < " .. expected * 45 + p.buoys * 200,
  },
  test = function()
    iotix.expect.message {
      label = "every reading of every buoy is on shore", topic = "shore/+/log", within = "40s",
      where = function(m) return m.json and m.json.single == expected and m.json.batching == expected end,
    }
  end,
}
