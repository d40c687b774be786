-- The steps of broker.lua that only MQTT 5 has; broker5(step) declares them.
local iotix = require "iotix"
local bench = require "bench"

local connection, inbox = bench.connection, bench.inbox

local function properties(dev)
  local topic = "five/" .. dev.id
  local box = inbox(dev, topic, { qos = bench.max_qos })
  for qos = 0, bench.max_qos do
    assert(dev:publish(topic, "x", { qos = qos, wait = qos > 0, user = { { "unit", "°C" }, { "n", "1" }, { "n", "2" } }, content_type = "text/plain",
      payload_text = true, response_topic = topic .. "/answer", correlation = "\1\0\255", expiry = "1m" }))
    local m = box.wait()
    if m.user.unit ~= "°C" or m.user.n[1] ~= "1" or m.user.n[2] ~= "2" then error("user properties came back changed") end
    if m.content_type ~= "text/plain" or not m.payload_text or m.response_topic ~= topic .. "/answer" or m.correlation ~= "\1\0\255" then
      error("properties came back changed")
    end
    if not m.expiry or m.expiry > 60 or m.expiry < 50 then error("of a minute's expiry is left " .. tostring(m.expiry)) end
  end
end

local function requests(dev)
  local topic = "question/" .. dev.id
  assert(dev:subscribe(topic, { qos = 1 }, function(m) return "answer to " .. m.payload end))
  for i = 1, 5 do
    local r = assert(dev:request { topic = topic, payload = "why " .. i, timeout = "5s" })
    if r.body ~= "answer to why " .. i then error("the answer was " .. tostring(r.body)) end
  end
  local r, _, code = dev:request { topic = topic .. "/nobody", payload = "why", timeout = "300ms" }
  if r then error("nobody answered") end
  -- not_found: the broker says that nobody has subscribed (0x10)
  if code ~= "not_found" and code ~= "timeout" then error("a question to nobody ended with " .. tostring(code)) end
end

-- More topics than a broker may allow aliases; each again and again.
local function aliases(dev)
  local base = "alias/" .. dev.id
  local box = inbox(dev, base .. "/+", { qos = 1 })
  for _ = 1, 3 do
    for n = 1, 12 do
      assert(dev:publish(base .. "/" .. n, tostring(n), { qos = 1 }))
      local m = box.wait()
      if m.topic ~= base .. "/" .. n or m.payload ~= tostring(n) then error("an alias led to " .. m.topic) end
    end
  end
end

local function no_local(dev)
  local topic = "own/" .. dev.id
  local box = inbox(dev, topic, { qos = 1, no_local = true })
  local mate = assert(dev:open(connection { client_id = "${deviceId}-mate" }))
  assert(dev:publish(topic, "mine", { qos = 1, wait = true }))
  assert(mate:publish(topic, "another's", { qos = 1, wait = true }))
  local m = box.wait()
  if m.payload ~= "another's" then error("no local let through " .. m.payload) end
end

-- Retain As Published keeps the flag of live messages; Retain Handling 2 sends nothing at subscribing, 1 only to a new subscription.
local function retain_options(dev)
  local topic = "keep/" .. dev.id
  assert(dev:publish(topic, "old", { qos = 1, retain = true, wait = true }))
  bench.settle()
  local none = inbox(dev, topic, { qos = 1, retain_handling = 2, retain_as_published = true })
  assert(dev:publish(topic, "new", { qos = 1, retain = true, wait = true }))
  local m = none.wait()
  if m.payload ~= "new" or not m.retain then error("expected new with its flag, got " .. m.payload) end
  bench.settle()
  local mate = assert(dev:open(connection { client_id = "${deviceId}-mate" }))
  local once = inbox(mate, topic, { qos = 1, retain_handling = 1 })
  if once.wait().payload ~= "new" then error("the retained message did not come") end
  assert(mate:subscribe(topic, { qos = 1, retain_handling = 1 }))
  bench.settle()
  if once.has() > 0 then error("Retain Handling 1 sent it to a subscription that was there") end
  assert(dev:publish(topic, "", { qos = 1, retain = true, wait = true }))
end

-- The device ends the connection itself when the broker sends more than it may (0x93): no reconnect, all come, in order
-- ("receive_maximum_order").
local ordered = not bench.without "receive_maximum_order"
local function receive_maximum(qos)
  return function(dev)
    local topic, n = "few/" .. dev.id, 40
    local box = inbox(dev, topic, { qos = qos })
    local mate = assert(dev:open(connection { client_id = "${deviceId}-mate", inflight = 40 }))
    for i = 1, n do assert(mate:publish(topic, tostring(i), { qos = qos })) end
    local seen = {}
    for i = 1, n do
      local text = box.wait().payload
      if seen[text] then error("message " .. text .. " came twice") end
      seen[text] = true
      if ordered and text ~= tostring(i) then error("message " .. i .. " was " .. text) end
    end
  end
end

-- Each message goes to one member, and every member gets some ("shared_all").
local everyone = not bench.without "shared_all"
local function shared(dev)
  local topic, n, seen, each = "work/" .. dev.id, 60, {}, { 0, 0, 0 }
  for member = 1, 3 do
    local side = assert(dev:open(connection { client_id = "${deviceId}-" .. member }))
    assert(side:subscribe("$share/crew/" .. topic .. "/+", { qos = 1 }, function(m)
      seen[#seen + 1] = m.payload
      each[member] = each[member] + 1
    end))
  end
  for i = 1, n do assert(dev:publish(topic .. "/" .. i, tostring(i), { qos = 1, wait = true })) end
  bench.wait_for("all of the shared messages", function() return #seen >= n end)
  bench.settle()
  local once = {}
  for _, text in ipairs(seen) do
    if once[text] then error("message " .. text .. " was shared twice") end
    once[text] = true
  end
  for member = 1, 3 do
    if everyone and each[member] == 0 then error("member " .. member .. " of a shared subscription got nothing") end
  end
end

-- Two filters that overlap: a broker may send one message with both identifiers or one for each (3.3.4).
local function identifiers(dev)
  local topic, got = "id/" .. dev.id, {}
  local function note(m)
    for _, id in ipairs(m.subscription_ids or {}) do got[id] = true end
  end
  assert(dev:subscribe(topic .. "/+", { qos = 1, identifier = 7 }))
  assert(dev:subscribe(topic .. "/#", { qos = 1, identifier = 268435455 }))
  dev:on("message", note)
  assert(dev:publish(topic .. "/x", "x", { qos = 1, wait = true }))
  bench.wait_for("both subscription identifiers", function() return got[7] and got[268435455] end)
end

-- A session of one second is forgotten after two; the step "session" has one of a minute.
local function session_expiry(dev)
  local topic, seen = "expire/" .. dev.id, nil
  dev:on("message", function(m) seen = m.payload end)
  assert(dev:subscribe(topic, { qos = 1 }))
  local mate = assert(dev:open(connection { client_id = "${deviceId}-mate" }))
  dev:disconnect("abrupt")
  iotix.sleep("3500ms") -- a broker may look for such sessions once a second
  assert(mate:publish(topic, "x", { qos = 1, wait = true }))
  assert(dev:connect { timeout = "10s" })
  bench.settle()
  if seen then error("a session that has expired was served") end
end

-- A message of one second does not come to a session that is away for longer.
local function message_expiry(dev)
  local topic, seen = "old/" .. dev.id, nil
  dev:on("message", function(m) seen = seen or m end)
  assert(dev:subscribe(topic, { qos = 1 }))
  local mate = assert(dev:open(connection { client_id = "${deviceId}-mate" }))
  dev:disconnect("abrupt")
  bench.settle()
  assert(mate:publish(topic, "short", { qos = 1, wait = true, expiry = "1s" }))
  assert(mate:publish(topic, "long", { qos = 1, wait = true, expiry = "1m" }))
  iotix.sleep("3500ms")
  assert(dev:connect { timeout = "10s" })
  bench.wait_for("the message that has not expired", function() return seen end)
  if seen.payload ~= "long" then error("a message that has expired was sent") end
  if seen.expiry > 58 then error("of a minute's expiry is left " .. seen.expiry .. " after 3.5 s") end
end

-- A will waits for its delay and brings its properties ("will_NAME" each), and a client that comes back in time takes it along.
local lost = {}
for _, name in ipairs { "content_type", "response_topic", "correlation", "unit" } do lost[name] = bench.without("will_" .. name) end

local function will_delay(dev)
  local topic = "late/" .. dev.id
  local box = inbox(dev, topic .. "/+", { qos = 1 })
  local function mortal(name)
    local options = { client_id = "${deviceId}-" .. name, clean_session = false, session_expiry = "1m", will = { topic = topic .. "/" .. name,
      payload = "gone", qos = 1, delay = "1s", expiry = "1m", content_type = "text/plain", response_topic = "to/me", correlation = "c",
      user = { unit = "°C" } } }
    return function() return assert(dev:open(connection(options))) end
  end
  local back, away = mortal "back", mortal "away"
  back():close("abrupt")
  local again = back()
  away():close("abrupt")
  local before = iotix.now()
  local m = box.wait()
  if m.topic ~= topic .. "/away" then error("the will of a client that came back was published") end
  if iotix.now() - before < 0.5 then error("the will did not wait") end
  for name, value in pairs { content_type = "text/plain", response_topic = "to/me", correlation = "c", unit = "°C" } do
    local got = name == "unit" and (m.user or {}).unit or m[name]
    if got ~= value and not lost[name] then error(("the will has %s %s, expected %s"):format(name, tostring(got), value)) end
  end
  bench.settle()
  if box.has() > 0 then error("more wills came than clients went") end
  again:close()
end

-- What is larger than a client takes is dropped, and nothing else is.
local function packet_size(dev)
  local topic = "size/" .. dev.id
  local small = assert(dev:open(connection { client_id = "${deviceId}-small", max_packet = "10KB", reconnect = false }))
  local box = inbox(small, topic, { qos = 1 })
  assert(dev:publish(topic, ("x"):rep(20000), { qos = 1, wait = true }))
  assert(dev:publish(topic, "fits", { qos = 1, wait = true }))
  if box.wait().payload ~= "fits" then error("a message came that is larger than what the client takes") end
end

-- The second connection of a client id ends the first.
local function takeover(dev)
  local name = "${deviceId}-twin"
  local first = assert(dev:open(connection { client_id = name, reconnect = false }))
  local ended
  assert(first:on("disconnect", function() ended = true end))
  local second = assert(dev:open(connection { client_id = name, reconnect = false }))
  bench.wait_for("the end of the connection that was taken over", function() return ended end)
  assert(second:publish("twin/" .. dev.id, "x", { qos = 1, wait = true }))
end

return function(step)
  step("properties", 10, { user_properties = { of = "CONNECT" }, request_response_info = true }, properties)
  step("request", 2, {}, requests)
  step("aliases", 2, { topic_aliases = true, topic_alias_maximum = 5 }, aliases)
  step("no_local", 2, {}, no_local)
  step("retain_options", 2, {}, retain_options)
  step("receive_maximum", 2, { receive_maximum = 2, reconnect = false }, receive_maximum(1))
  if bench.max_qos == 2 then step("receive_maximum_qos2", 2, { receive_maximum = 2, reconnect = false }, receive_maximum(2)) end
  step("shared", 2, {}, shared)
  step("identifiers", 2, {}, identifiers)
  local function kept(expiry, name) return { clean_session = false, session_expiry = expiry, client_id = "${deviceId}-" .. name } end
  step("session_expiry", 2, kept("1s", "brief"), session_expiry)
  step("message_expiry", 2, kept("1m", "long"), message_expiry)
  step("will_delay", 2, {}, will_delay)
  step("packet_size", 2, {}, packet_size)
  step("takeover", 2, {}, takeover)
end
