-- What a broker is asked to do for devices. Every step is a group of its own, all run at once; an error of a device fails the run,
-- and one that came to its end logs "done" and says so on the broker; the observer, paho, ends the run when it has heard all.
--   -e VERSION=3.1.1|5   -e MAX_QOS=0..2   -e WITHOUT=STEP,STEP   what the broker does not have, see matrix.lua
local iotix = require "iotix"
local bench = require "bench"

local version, max_qos, connection = bench.version, bench.max_qos, bench.connection
local groups, devices = {}, {}

--- A step: `count` devices that connect as `options` say, do `steps` and disconnect.
local function step(name, count, options, ...)
  local steps = { ... }
  if bench.without(name) then return end
  for i = 1, count do devices[#devices + 1] = name .. "-" .. i end
  groups[#groups + 1] = iotix.group {
    name = name, count = count, launch = { strategy = "immediate" }, on_error = "fail", connection = connection(options),
    behaviour = function(dev)
      assert(dev:connect { timeout = "10s" })
      for _, fn in ipairs(steps) do fn(dev) end
      dev:log("done")
      assert(dev:publish(bench.done .. "/" .. dev.id, "done", { qos = 1, retain = true, wait = true }))
      dev:disconnect()
    end,
  }
end

local no_unsubscribe = bench.without "unsubscribe"
local function unsubscribe(dev, filter)
  if not no_unsubscribe then assert(dev:unsubscribe(filter)) end
end

local function each_qos(dev)
  local base = "t/" .. dev.id
  local box = bench.inbox(dev, base .. "/+/data", { qos = max_qos })
  for qos = 0, max_qos do
    for i = 1, 3 do
      local text = string.format("qos %d number %d", qos, i)
      assert(dev:publish(base .. "/q" .. qos .. "/data", text, { qos = qos, wait = qos > 0 }))
      local m = box.wait()
      if m.payload ~= text or m.topic ~= base .. "/q" .. qos .. "/data" or m.qos ~= qos or m.retain then
        error(("expected %s, got %s %s, QoS %d"):format(text, m.topic, m.payload, m.qos))
      end
    end
  end
  unsubscribe(dev, base .. "/+/data")
  -- A subscription of a lower QoS lowers what comes.
  box = bench.inbox(dev, base .. "/low", { qos = 0 })
  assert(dev:publish(base .. "/low", "x", { qos = max_qos, wait = true }))
  if box.wait().qos ~= 0 then error("a subscription of QoS 0 got more") end
  unsubscribe(dev, base .. "/low")
end

local function burst(dev)
  local base, n = "burst/" .. dev.id, 60
  local box = bench.inbox(dev, base, { qos = max_qos })
  for i = 1, n do assert(dev:publish(base, tostring(i), { qos = max_qos })) end
  for i = 1, n do
    local m = box.wait()
    if m.payload ~= tostring(i) then error("message " .. i .. " of a burst was " .. m.payload) end
  end
end

local function large(dev)
  local base = "large/" .. dev.id
  local box, text = bench.inbox(dev, base, { qos = 1 }), ("0123456789abcdef"):rep(4096)
  assert(dev:publish(base, text, { qos = 1, wait = true }))
  if box.wait().payload ~= text then error("64 KB came back changed") end
end

local function retained(dev)
  local topic = "retained/" .. dev.id
  assert(dev:publish(topic, "kept", { qos = 1, retain = true, wait = true }))
  bench.settle() -- a broker may answer before it has stored it
  local m = bench.inbox(dev, topic, { qos = 1 }).wait()
  if m.payload ~= "kept" or not m.retain then error("the retained message came without its flag") end
  assert(dev:publish(topic, "", { qos = 1, retain = true, wait = true }))
  unsubscribe(dev, topic)
end

local function reconnect(dev)
  dev:disconnect()
  bench.settle() -- a broker may see a new connection before the end of the old one, and end both
  assert(dev:connect { timeout = "10s" })
  each_qos(dev)
end

step("plain", 10, { keep_alive = "5s" }, each_qos, large, retained, reconnect)
step("burst", 2, {}, burst)

-- The broker keeps the subscription and what came while the device was away.
local session_options = { clean_session = false, client_id = "session-${index}-" .. version, session_expiry = version == "5" and "1m" or nil }
step("session", 2, session_options, function(dev)
  local topic, seen = "session/" .. dev.id, {}
  dev:on("message", function(m) seen[#seen + 1] = m.payload end)
  assert(dev:subscribe(topic, { qos = 1 }))
  local mate = assert(dev:open(connection { client_id = "${deviceId}-mate" }))
  dev:disconnect("abrupt")
  bench.settle()
  assert(mate:publish(topic, "while away", { qos = 1, wait = true }))
  bench.settle()
  assert(dev:connect { timeout = "10s" })
  bench.wait_for("what was published while away", function() return seen[1] end)
  if seen[1] ~= "while away" then error("after being away came " .. seen[1]) end
end)

-- The will comes when a connection breaks, and does not when it ends with DISCONNECT ("polite_end").
local impolite = bench.without "polite_end"
step("will", 2, {}, function(dev)
  local topic = "will/" .. dev.id
  local box = bench.inbox(dev, topic .. "/+", { qos = 1 })
  local function mortal(name)
    local will = { topic = topic .. "/" .. name, payload = "gone " .. name, qos = 1 }
    return assert(dev:open(connection { client_id = "${deviceId}-" .. name, will = will }))
  end
  if not impolite then mortal("polite"):close() end
  mortal("abrupt"):close("abrupt")
  local m = box.wait()
  if m.topic ~= topic .. "/abrupt" or m.payload ~= "gone abrupt" then error("the will that came was " .. m.topic .. " " .. m.payload) end
end)

-- Nothing is said for longer than the broker waits: PINGREQ has to keep the connection.
step("keepalive", 2, { keep_alive = "1s", reconnect = false }, function(dev)
  local lost
  dev:on("disconnect", function() lost = true end)
  iotix.sleep("2500ms")
  if lost then error("the broker ended an idle connection") end
  assert(dev:publish("keepalive/" .. dev.id, "x", { qos = 1, wait = true }))
end)

if version == "5" then require("broker5")(step) end
bench.check_without()

return iotix.scenario {
  name = "broker", groups = groups, stop_timeout = "3s", seed = 1,
  test = function()
    for _, id in ipairs(devices) do -- one by one: RabbitMQ has no retained messages for wildcards
      iotix.expect.message { topic = bench.done .. "/" .. id, within = "30s", qos = 1, label = id .. " came to its end" }
    end
  end,
}
