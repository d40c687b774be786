-- The targets that a run brings itself: each scheme serves devices, with the run's own CA where it speaks TLS, and nothing is left
-- behind, however the run ends.
local capture = require "integration.capture"
local proc = require "integration.proc"
local cjson = require "cjson"

local function run(text, args, limit)
  local dir, tag = proc.dir(), proc.tag()
  local words = { proc.write(dir .. "/s.lua", text), "--summary-json", dir .. "/s.json" }
  for _, a in ipairs(args or {}) do words[#words + 1] = a end
  local r = proc.run(words, limit or 30, tag)
  assert.are.equal("", proc.tagged(tag), "nothing of the run is left")
  local s = proc.read(dir .. "/s.json")
  return r, s and cjson.decode(s)
end

-- Every scheme in one run: a group each that publishes with QoS 1.
local ALL = [[
local iotix = require "iotix"
local function talk(dev)
  assert(dev:connect())
  for n in dev:every("250ms") do
    assert(dev:publish("value", { n = n }, { qos = 1, wait = true }))
    if n == 5 then break end
  end
end
local make = { mqtt = iotix.mqtt, mqtts = iotix.mqtt, ws = iotix.mqtt, wss = iotix.mqtt, http = iotix.http, https = iotix.http,
  coap = iotix.coap, coaps = iotix.coap, ["coap+tcp"] = iotix.coap, ["coaps+tcp"] = iotix.coap }
local groups = {}
for scheme, connection in pairs(make) do
  groups[#groups + 1] = iotix.group { name = (scheme:gsub("%%+", "-")), count = 3, behaviour = talk,
    connection = connection { [connection == iotix.mqtt and "broker" or "url"] = scheme .. "://embedded" } }
end
table.sort(groups, function(a, b) return a.name < b.name end)
return iotix.scenario { name = "all", duration = "3s", groups = groups, thresholds = %s }
]]

describe("embedded targets", function()
  teardown(proc.cleanup)

  it("serve every scheme, and end with the run", function()
    local names = { "coap", "coap-tcp", "coaps", "coaps-tcp", "http", "https", "mqtt", "mqtts", "ws", "wss" }
    local limits = {}
    for i, name in ipairs(names) do
      limits[i] = ('["messages_acked{group:%s}"] = "count >= 15"'):format(name)
    end
    local wire = capture.start()
    local r = run(ALL:format("{ " .. table.concat(limits, ", ") .. " }"), { "--seed", "1" })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.err:find("embedded mqtt://127.0.0.1:", 1, true), r.err)
    assert.is_truthy(r.err:find("coaps://127.0.0.1:", 1, true), r.err)
    assert.is_truthy(r.out:find("tls", 1, true), "TLS has a row of its own in the table of latencies")
    assert.are.equal(#names, wire:embedded(r.err), r.err)
    wire:clean(30)
  end)

  it("of HTTP alone start no broker and print nothing of one", function()
    local r, s = run [[
      local iotix = require "iotix"
      local g = iotix.group { name = "clients", count = 4, connection = iotix.http { url = "http://embedded" },
        behaviour = function(dev)
          assert(dev:connect())
          for n = 1, 3 do
            local a = assert(dev:get("/echo/" .. n))
            assert(a.status == 200 and a:json().path == "/echo/" .. n)
          end
          assert(dev:get("/status/404").status == 404)
        end }
      return iotix.scenario { name = "http", duration = "1s", groups = { g },
        thresholds = { requests = "count == 16", request_errors = "rate <= 25%" } }
    ]]
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_falsy((r.err .. r.out):find("mqtt", 1, true), r.err .. r.out)
    assert.is_truthy(r.err:find("target    embedded http://127.0.0.1:%d+"), r.err)
    assert.is_truthy(r.out:find("requests%s+16 sent"), r.out)
    assert.is_truthy(r.out:find("2xx 12 · 4xx 4", 1, true), r.out)
    assert.is_falsy(r.out:find("published", 1, true), r.out)
    assert.is_truthy(s)
  end)

  it("die with a supervisor that is killed", function()
    local file = proc.write(proc.dir() .. "/s.lua", ALL:format("{}"):gsub('"3s"', '"60s"'))
    local p = proc.start(proc.command { proc.program, file, "-q" })
    local pids = proc.wait(10, function()
      local found = proc.descendants(p.pid)
      local n = 0
      for _, pid in ipairs(found) do
        local name = proc.read("/proc/" .. pid .. "/comm") or ""
        if name:find("echo") or name:find("mosquitto") then n = n + 1 end
      end
      return n >= 3 and found
    end)
    assert.is_truthy(pids, "a broker and two echo servers run")
    local supervisor = p.pid
    for _, pid in ipairs(pids) do
      if (proc.read("/proc/" .. pid .. "/comm") or ""):find("^iotix%-run") then supervisor = pid end
    end
    proc.shell("kill -9 " .. supervisor)
    assert.is_truthy(proc.wait(5, function()
      for _, pid in ipairs(pids) do
        if pid ~= supervisor and proc.exists(pid) then return false end
      end
      return true
    end), "all of them are gone")
  end)

  it("that nobody can start are told with the place", function()
    local r = run [[
      local iotix = require "iotix"
      return iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "a", count = 1,
        behaviour = function() end, connection = iotix.mqtt { broker = "mqtts://embedded:8883" } } } }
    ]]
    assert.are_not.equal(0, r.code)
    assert.is_truthy((r.err .. r.out):find("8883", 1, true), r.err .. r.out)
  end)

  it("run the CoAP and the HTTP example", function()
    for _, name in ipairs { "coap-sensor", "http-tracker" } do
      local r = proc.run({ proc.root .. "/scenarios/" .. name .. ".lua", "-d", "3s" }, 30)
      assert.are.equal(0, r.code, r.err .. r.out)
    end
  end)

  it("do not keep a device of CoAP from taking its model's commands", function()
    local dir = proc.dir()
    proc.write(dir .. "/valve.json", [[{ "id": "valve", "name": "V", "type": "actuator", "protocol": "coap", "telemetry": [],
      "commands": [{ "name": "open", "parameters": [{ "name": "angle", "type": "integer", "min": 0, "max": 90, "required": true }] }] }]])
    local port = proc.port()
    local file = proc.write(dir .. "/s.lua", ([[
      local iotix = require "iotix"
      local valves = iotix.group { name = "valves", model = "./valve.json", count = 1,
        connection = iotix.coap { url = "coap://embedded", serve = { listen = "127.0.0.1:%d" } } }
      local hands = iotix.group { name = "hands", count = 1, connection = iotix.coap { url = "coap://127.0.0.1:%d" },
        behaviour = function(dev)
          assert(dev:connect())
          dev:sleep("500ms")
          local a = assert(dev:post("/commands/open", { angle = 30 }))
          assert(a.status == 204 and a:json().ok == true, a.status .. " " .. a.body)
          a = assert(dev:post("/commands/open", { angle = 300 }))
          assert(a.status == 400 and a:json().code == "range", a.status .. " " .. a.body)
          a = assert(dev:get("/.well-known/core"))
          assert(a.body:find("</commands/open>", 1, true), a.body)
        end }
      return iotix.scenario { name = "x", duration = "2s", groups = { valves, hands },
        thresholds = { ["commands_received{group:valves}"] = "count == 2", ["requests{group:hands}"] = "count == 3",
          script_errors = { "count == 0", no_data = "pass" } } }
    ]]):format(port, port))
    local wire = capture.start { [port] = "coap" }
    local r = proc.run({ file }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    wire:clean(6)
  end)
end)
