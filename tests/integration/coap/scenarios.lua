-- Scenarios for CoAP against implementations of others: what a device asks of a server, and what a device serves to a client.
local M = {}

local CLIENT = [[
local iotix = require "iotix"
local function group(name, url, tls)
  return iotix.group { name = name, count = 2, on_error = "fail", connection = iotix.coap { url = url, tls = tls, publish = { method = "PUT" } },
    behaviour = function(dev)
    assert(dev:connect())
    local function is(want, r, message) assert(r, message) assert(r.status == want, r.status .. ": " .. tostring(r.body)) return r end
    local path = "/echo"
    for _, con in ipairs { true, false } do
      assert(is(205, dev:get(path .. "?a=1&b=2", { confirmable = con })).body == "a=1,b=2")
      assert(is(204, dev:post(path, "x", { confirmable = con })).body == "x")
      assert(is(204, dev:put(path, ("y"):rep(5000), { confirmable = con })).body == ("y"):rep(5000))
      assert(is(204, dev:patch(path, "p", { confirmable = con })).body == "p")
      assert(is(204, dev:request { method = "iPATCH", path = path, payload = "i", confirmable = con }).body == "i")
      assert(is(205, dev:fetch(path, "f", { confirmable = con })).body == "f")
      is(202, dev:delete(path, { confirmable = con }))
      is(404, dev:get("/none", { confirmable = con }))
    end
    for _, size in ipairs { 1024, 256 } do
      local large = is(205, dev:get("/large", { block_size = size }))
      assert(large.body == ("abcdefghijklmnopqrstuvwxyz"):rep(3847):sub(1, 100000), "what came in blocks is not what was sent")
    end
    assert(is(205, dev:get("/slow")).body == "slow")
    if dev.index == 1 then
      local seen, last = 0
      local state = "/state-" .. name
      local watch = assert(dev:observe(state, function(r) seen = seen + 1 last = r and r.body end))
      for n = 1, 7 do
        assert(dev:publish(state, "v" .. n, { qos = 1, wait = true }))
        for _ = 1, 100 do if last == "v" .. n then break end iotix.sleep("20ms") end
        assert(last == "v" .. n, tostring(last) .. " after " .. n)
      end
      watch:cancel()
      assert(seen >= 7)
    end
    assert(dev:publish(path, "done", { qos = 1, wait = true }))
    dev:log("done")
    dev:disconnect()
  end }
end
local groups = { GROUPS }
local thresholds = { request_errors = "rate < 0.2" } -- 4.04 is asked for
for _, g in ipairs(groups) do thresholds["messages_acked{group:" .. g.name .. "}"] = "count == 9" end
return iotix.scenario { name = "coap", groups = groups, thresholds = thresholds, test = function(run)
  for _, g in ipairs(groups) do assert(run:group(g.name):wait("stopped", 2, "25s")) end
end }
]]

--- Devices that use a server as clients: { { NAME, URL, tls = TEXT of Lua }, … }. Observes /state-NAME.
function M.client(servers)
  local groups = {}
  for i, s in ipairs(servers) do groups[i] = ("group(%q, %q, %s)"):format(s[1], s[2], s.tls or "nil") end
  return (CLIENT:gsub("GROUPS", function() return table.concat(groups, ", ") end))
end

local SERVER = [[
local iotix = require "iotix"
return iotix.scenario { name = "served", duration = "15s", coap = "embedded", groups = { iotix.group { name = "g", count = 1,
  connection = iotix.coap { url = "URL", tls = TLS },
  behaviour = function(dev)
    assert(dev:connect())
    local temp, image, count = "20", "", 0
    assert(dev:serve("/temp", { rt = "temperature", ct = "text/plain" }, function(r)
      if r.method == "PUT" then temp = r.payload return { status = 204 } end
      if r.method == "iPATCH" then return { status = 204, body = "patched" } end
      return { status = 205, body = temp }
    end))
    assert(dev:serve("/firmware", {}, function(r)
      if r.method == "POST" then image = r.payload return { status = 204, body = tostring(#image) } end
      iotix.sleep("300ms")
      return { status = 205, body = image }
    end))
    assert(dev:serve("/count", { observable = true }, function() return { status = 205, body = tostring(count) } end))
    iotix.log("served at " .. assert(dev:served_at()))
    for _ in dev:every("100ms") do
      count = count + 1
      dev:notify("/count")
    end
  end } } }
]]

--- A device that serves /temp, /firmware and /count. url: what it connects to (default the embedded server); tls: text of Lua.
function M.server(url, tls)
  return (SERVER:gsub("%f[%u]URL%f[%U]", url or "coap://embedded"):gsub("%f[%u]TLS%f[%U]", tls or "nil"))
end

return M
