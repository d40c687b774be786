-- What a broker is asked to do for a device, one step after the other; an error of a device fails the run, and one that came
-- to its end logs "done".
local iotix = require "iotix"

local version = iotix.env("VERSION", "3.1.1")
local max_qos = tonumber(iotix.env("MAX_QOS", "2"))
local sessions = iotix.env("SESSIONS", "yes") == "yes"

-- Messages that come in, in order; wait() gives the next.
local function inbox(dev, filter, qos)
  local box = { first = 1, last = 0 }
  assert(dev:subscribe(filter, { qos = qos }, function(m)
    box.last = box.last + 1
    box[box.last] = m
  end))
  function box.wait()
    for _ = 1, 500 do
      if box.first <= box.last then
        box.first = box.first + 1
        return box[box.first - 1]
      end
      iotix.sleep("10ms")
    end
    error("nothing came to " .. filter)
  end
  return box
end

local function each_qos(dev)
  local base = "t/" .. dev.id
  local box = inbox(dev, base .. "/+/data", max_qos)
  for qos = 0, max_qos do
    for i = 1, 3 do
      local text = string.format("qos %d number %d", qos, i)
      assert(dev:publish(base .. "/q" .. qos .. "/data", text, { qos = qos, wait = qos > 0 }))
      local m = box.wait()
      if m.payload ~= text or m.topic ~= base .. "/q" .. qos .. "/data" then
        error("expected " .. text .. ", got " .. m.topic .. " " .. m.payload)
      end
    end
  end
  assert(dev:unsubscribe(base .. "/+/data"))
end

local function large(dev)
  local base = "large/" .. dev.id
  local box, text = inbox(dev, base, 1), ("0123456789abcdef"):rep(4096)
  assert(dev:publish(base, text, { qos = 1, wait = true }))
  if box.wait().payload ~= text then error("a large payload came back changed") end
end

local function retained(dev)
  local topic = "retained/" .. dev.id
  assert(dev:publish(topic, "kept", { qos = 1, retain = true, wait = true }))
  iotix.sleep("200ms") -- a broker may answer before it has stored it
  local m = inbox(dev, topic, 1).wait()
  if m.payload ~= "kept" or not m.retain then error("the retained message came without its flag") end
  assert(dev:publish(topic, "", { qos = 1, retain = true, wait = true }))
end

-- What only version 5 has.
local function version5(dev)
  local topic = "five/" .. dev.id
  local box = inbox(dev, topic, 1)
  for _ = 1, 3 do
    assert(dev:publish(topic, "x", { qos = 1, wait = true, user = { unit = "°C" }, content_type = "text/plain", payload_text = true,
      response_topic = topic .. "/answer", correlation = "\1\2", expiry = "1m", alias = true }))
    local m = box.wait()
    if m.user.unit ~= "°C" or m.content_type ~= "text/plain" or m.response_topic ~= topic .. "/answer" or m.correlation ~= "\1\2" then
      error("properties came back changed")
    end
  end
  assert(dev:subscribe(topic .. "/question", { qos = 1, no_local = false }, function(m) return "answer to " .. m.payload end))
  local r = assert(dev:request { topic = topic .. "/question", payload = "why", timeout = "5s" })
  if r.body ~= "answer to why" then error("the answer was " .. tostring(r.body)) end
  assert(dev:subscribe("$share/all/shared/" .. dev.group, { qos = 1 }, function() end))
  assert(dev:publish("shared/" .. dev.group, "work", { qos = 1, wait = true }))
  local ok, message, code = dev:subscribe("own/" .. dev.id, { qos = 1, no_local = true }, function() error("no local") end)
  if not ok then error(message .. " " .. code) end
  assert(dev:publish("own/" .. dev.id, "mine", { qos = 1, wait = true }))
end

local plain = iotix.group {
  name = "plain", count = 10, launch = { strategy = "immediate" }, on_error = "fail",
  connection = iotix.mqtt { version = version, keep_alive = "5s" },
  behaviour = function(dev)
    assert(dev:connect { timeout = "10s" })
    each_qos(dev)
    large(dev)
    retained(dev)
    if version == "5" then version5(dev) end
    dev:disconnect()
    iotix.sleep("200ms") -- a broker may see a new connection before the end of the old one, and end both
    assert(dev:connect { timeout = "10s" })
    each_qos(dev)
    dev:log("done")
  end,
}

-- The broker keeps the subscription and what came while the device was away.
local session = iotix.group {
  name = "session", count = 2, launch = { strategy = "immediate" }, on_error = "fail",
  connection = iotix.mqtt { version = version, clean_session = false, client_id = "session-${index}-" .. version,
    session_expiry = version == "5" and "1m" or nil },
  behaviour = function(dev)
    local topic, mate = "session/" .. dev.index, "session/" .. (dev.index == 1 and 2 or 1)
    local seen = {}
    dev:on("message", function(m) seen[#seen + 1] = m.payload end)
    assert(dev:connect { timeout = "10s" })
    assert(dev:subscribe(topic, { qos = 1 }))
    iotix.sleep("200ms") -- both are subscribed
    if dev.index == 1 then
      dev:disconnect("abrupt")
      iotix.sleep("600ms")
      assert(dev:connect { timeout = "10s" })
      for _ = 1, 500 do
        if #seen > 0 then break end
        iotix.sleep("10ms")
      end
      if seen[1] ~= "while away" then error("what was published while away did not come") end
    else
      iotix.sleep("300ms")
      assert(dev:publish(mate, "while away", { qos = 1, wait = true }))
    end
    dev:log("done")
  end,
}

return iotix.scenario {
  name = "broker", groups = sessions and { plain, session } or { plain }, stop_timeout = "3s", seed = 1, duration = "5s",
}
