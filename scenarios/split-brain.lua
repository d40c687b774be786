-- Half of a platform disappears for each half of the fleet: "north" reaches the broker but not the settings service, "south" the service
-- but not the broker. Meanwhile somebody changes the same setting on both sides. Two truths; and when the network heals?
-- The rule of these devices: the higher version wins, and of two equal ones the service's. Everyone applies the newest setting it knows,
-- and says so to both sides as soon as they can be reached.
-- Look at: the two expectations. First each side sees its own value in its own half and nothing of the other; then both see one value
-- everywhere. After the heal MQTT takes longest: its TCP connection resends after 0.2, 0.4, 0.8 … s, so a partition of 5 s may last for
-- 5 more seconds. Devices that would rather reconnect have a shorter keep_alive.
-- Try: -p rule=first, devices that keep what they heard of first: the second expectation fails.
-- Run it:  iotix-run scenarios/split-brain.lua
local iotix = require "iotix"
local chaos = iotix.chaos

local p = iotix.params {
  devices = { type = "integer", default = 15, help = "of each half" },
  heals = { type = "duration", default = "8s", help = "when the partitions end" },
  within = { type = "duration", default = "20s", help = "and how long it may take from then on" },
  rule = { type = "string", default = "service", help = "which of two equal versions wins: service, or the first one" },
}
local service = iotix.coap { url = iotix.env("SERVICE", "coap://embedded"), timeout = "1s" }
local halves = { "north", "south" }

local function newer(a, b)
  if a.version ~= b.version then return a.version > b.version end
  return p.rule == "service" and a.by == "service" and b.by ~= "service"
end

local function device(dev)
  local mine, told, shown = { version = 1, by = "factory", value = 20 }, nil, nil
  local api = assert(dev:open(service))
  assert(dev:connect())
  local function learn(setting)
    if type(setting) == "table" and setting.version and newer(setting, mine) then mine = setting end
  end
  assert(dev:subscribe("fleet/setting", { qos = 1 }, function(m) learn(m.json) end))
  for _ in dev:every("500ms", { jitter = "100ms" }) do
    if shown ~= mine then -- to the broker: QoS 1 waits on the way while there is no way
      assert(dev:publish("state", mine, { retain = true }))
      shown = mine
    end
    local answer = api:get("/setting")
    if answer and answer.ok then learn(answer:json()) end
    if told ~= mine then -- to the service: again until it has answered
      local setting = mine
      local put = api:put("/shadow/" .. dev.id, setting)
      if put and put.ok then told = setting end
    end
  end
end

-- Reaches both sides. Changes the setting on each of them while they are apart, and looks at what each side knows of the devices.
local function operator(dev)
  local api = assert(dev:open(service))
  local broker = {}
  assert(dev:connect())
  for _, half in ipairs(halves) do
    assert(dev:subscribe(half .. "/+/state", { qos = 1 }, function(m) broker[m.topic:match("/(.-)/")] = m.json end))
  end
  iotix.spawn(function()
    dev:sleep(4 - iotix.elapsed())
    assert(dev:publish("fleet/setting", { version = 2, by = "broker", value = 18 }, { qos = 1, retain = true, wait = true }))
    assert(assert(api:put("/setting", { version = 2, by = "service", value = 24 })).ok)
  end)
  local views = { -- what a side knows of a device
    broker = function(id) return broker[id] end,
    service = function(id)
      local answer = api:get("/shadow/" .. id)
      return answer and answer.ok and answer:json()
    end,
  }
  for _ in dev:every("500ms") do
    local view = {}
    for side, of in pairs(views) do
      for _, half in ipairs(halves) do
        for i = 1, p.devices do
          local known = of(half .. "-" .. i)
          local key = side .. "_" .. half .. "_" .. (known and known.value or "nothing")
          view[key] = (view[key] or 0) + 1
        end
      end
    end
    dev:publish("view", view) -- { broker_north_18 = 15, broker_south_20 = 15, service_north_20 = 15, service_south_24 = 15 }
  end
end

local groups = { iotix.group { name = "operator", behaviour = operator } }
for _, half in ipairs(halves) do groups[#groups + 1] = iotix.group { name = half, count = p.devices, qos = 1, behaviour = device } end

return iotix.scenario {
  name = "split-brain",
  groups = groups,
  timeline = {
    chaos.partition { name = "north-without-service", group = "north", protocols = { "coap" }, from = "3s", to = p.heals },
    chaos.partition { name = "south-without-broker", group = "south", protocols = { "mqtt" }, from = "3s", to = p.heals },
  },
  thresholds = {
    messages_dropped = "count == 0",
    ["coap_timeouts{group:north}"] = "count > 0", -- the partition is real,
    ["coap_timeouts{group:south}"] = "count == 0", -- and nobody loses the side that it can reach
    ["reconnects{group:north,protocol:mqtt}"] = "count == 0",
  },
  test = function(run)
    local function all(m, ...)
      for _, key in ipairs { ... } do
        if not (m.json and m.json[key] == p.devices) then return false end
      end
      return true
    end
    iotix.expect.message {
      label = "apart there are two truths", topic = "operator/+/view", within = "10s",
      where = function(m) return all(m, "broker_north_18", "broker_south_20", "service_north_20", "service_south_24") end,
    }
    run:at(p.heals)
    iotix.expect.message {
      label = "together there is one", topic = "operator/+/view", within = p.within,
      where = function(m) return all(m, "broker_north_24", "broker_south_24", "service_north_24", "service_south_24") end,
    }
  end,
}
