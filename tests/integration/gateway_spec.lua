-- Gateways end to end: real brokers, the real program, mosquitto's own clients on the other side.
local proc = require "integration.proc"
local cjson = require "cjson"

local VALVE = [[{
  "id": "valve", "name": "Valve", "type": "actuator", "protocol": "mqtt",
  "telemetry": [
    { "name": "position", "type": "integer", "intervalMs": 200, "generator": { "type": "constant", "value": 0 } },
    { "name": "level", "type": "number", "intervalMs": 200, "generator": { "type": "custom", "handler": "parts.level" } }
  ],
  "commands": [
    { "name": "set", "parameters": [ { "name": "position", "type": "integer", "required": true, "min": 0, "max": 100 } ] },
    { "name": "move", "handler": "move" }
  ],
  "behaviors": [
    { "name": "set", "trigger": { "type": "event", "event": "command:set" },
      "action": { "type": "setState", "state": { "position": "${position}" } } }
  ]
}]]

local GATEWAY = [[{
  "id": "gw", "name": "Gateway", "type": "gateway", "protocol": "mqtt",
  "telemetry": [ { "name": "uptime", "type": "integer", "intervalMs": 200, "generator": { "type": "sequence" } } ],
  "children": [ { "model": "valve", "count": 2, "idPattern": "${deviceId}-v${childIndex}" } ]
  %s
}]]

local SCENARIO = [[
local iotix = require "iotix"
local g = iotix.group {
  name = "gws", model = "gw", count = 2,
  handlers = { move = function(cmd, dev) dev:sleep(0.05) dev:publish("moved", dev.id) return { who = dev.id } end },
  %s
}
return iotix.scenario { name = "spec", duration = "60s", groups = { g } }
]]

local function world(aggregation, more)
  local dir = proc.dir()
  proc.write(dir .. "/valve.json", VALVE)
  proc.write(dir .. "/gw.json", GATEWAY:format(aggregation and ', "aggregation": ' .. aggregation or ""))
  proc.write(dir .. "/parts.lua", "return { level = function(ctx) return #ctx.id end }")
  return proc.write(dir .. "/s.lua", SCENARIO:format(more or "")), dir
end

describe("a gateway", function()
  local broker, heard
  setup(function() broker = proc.mosquitto() end)
  teardown(proc.cleanup)

  local function listen() heard = proc.listen(broker, "#") end
  local function publish(topic, text) proc.publish(broker, topic, "-m", text) end
  local function hears(pattern, seconds) return heard.hears(pattern, seconds) end

  local function finish(run, dir)
    run.signal(2)
    assert.is_not_nil(run.wait(20))
    local counts = {}
    for _, m in ipairs(cjson.decode(proc.read(dir .. "/sum.json")).metrics) do
      counts[m.name] = (counts[m.name] or 0) + (m.values.count or m.values.value or 0)
    end
    return counts
  end

  it("forwards what its children say and hands on what is said to them", function()
    if not broker then return pending("mosquitto is not installed") end
    listen()
    local scenario, dir = world()
    local run = proc.start(proc.command { proc.program, scenario, "-b", broker.url, "--summary-json", dir .. "/sum.json" })
    hears "gws/gws%-1/telemetry {\"uptime\":"
    hears "gws/gws%-2/gws%-2%-v2/telemetry {\"position\":0,\"level\":8,"
    publish("gws/gws-1/gws-1-v2/commands/set", '{"position": 42, "id": "a"}')
    assert.are.same({ ok = true, command = "set", id = "a" }, cjson.decode(hears "gws/gws%-1/gws%-1%-v2/response ({[^\n]*)\n"))
    hears "gws%-1%-v2/telemetry {\"position\":42,"
    publish("gws/gws-2/command", '{"target": "gws-2-v1", "command": "move", "id": 7}')
    assert.are.same({ ok = true, command = "move", id = 7, result = { who = "gws-2-v1" } },
      cjson.decode(hears "gws/gws%-2/gws%-2%-v1/response ({[^\n]*)\n"))
    hears "gws/gws%-2/gws%-2%-v1/moved gws%-2%-v1\n"
    publish("gws/gws-2/command", '{"target": "gws-2-v9", "command": "move"}')
    local answer = cjson.decode(hears "gws/gws%-2/response ({[^\n]*)\n")
    assert.are.same({ false, "unknown", "target" }, { answer.ok, answer.code, answer.parameter })
    publish("gws/gws-1/gws-1-v1/commands/set", '{"position": 142}')
    hears "gws/gws%-1/gws%-1%-v1/response {\"ok\":false,\"command\":\"set\",[^\n]*\"code\":\"range\""
    local counts = finish(run, dir)
    assert.is_true(counts.children_messages > 8)
    assert.are.equal(2, counts.connects) -- one connection a gateway
    assert.are.equal(0, counts.gateway_dropped)
  end)

  it("collects what its children say, and keeps it while the broker is away", function()
    if not broker then return pending("mosquitto is not installed") end
    local mine = proc.mosquitto()
    local scenario, dir = world('{ "mode": "batch", "intervalMs": 300, "maxMessages": 1000 }',
      'connection = iotix.mqtt { reconnect = { initial = "5s", jitter = false } },') -- the listener is back before they are
    local function start_listening()
      return proc.start(proc.command { "mosquitto_sub", "-p", mine.port, "-q", "1", "-t", "gws/+/batch", "-F", "%t %p" })
    end
    local listener = start_listening()
    local run = proc.start(proc.command { proc.program, scenario, "-b", mine.url, "--summary-json", dir .. "/sum.json" })
    local first = {}
    assert(proc.wait(10, function()
      first[1] = listener.out():match("gws/gws%-1/batch (%b[])\n")
      return first[1]
    end))
    local entry = cjson.decode(first[1])[1]
    assert.are.equal("gws/gws-1/" .. entry.device .. "/telemetry", entry.topic)
    assert.are.equal(#entry.device, entry.payload.level)
    mine.signal(9)
    assert.is_not_nil(mine.wait(5))
    local user = io.popen("id -un"):read("*l")
    proc.write(dir .. "/conf", string.format("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser %s\n", mine.port, user))
    -- It is gone for as long as some twenty messages take, then it is back on the same port.
    local gone = proc.now()
    proc.wait(1.5 / proc.patience, function() return false end)
    local away_ms = (proc.now() - gone) * 1000
    local back = proc.start(proc.command { "sh", "-c", "PATH=$PATH:/usr/sbin exec mosquitto -c " .. dir .. "/conf" })
    assert(proc.wait(10, function()
      return proc.shell(string.format("mosquitto_pub -p %d -t up -m x", mine.port)).code == 0
    end))
    listener = start_listening()
    local late = {}
    assert(proc.wait(20, function() -- of both, or what still waits in one of them would be dropped at the end
      for gateway, batch in listener.out():gmatch("gws/gws%-(%d)/batch (%b[])\n") do
        local list = cjson.decode(batch)
        if list[#list].at - list[1].at > away_ms / 2 then late[tonumber(gateway)] = list end
      end
      return late[1] and late[2]
    end), "what had waited never came: " .. listener.out():sub(1, 2000))
    assert.is_true(#late[1] >= 8)
    for i = 2, #late[1] do assert.is_true(late[1][i].at >= late[1][i - 1].at) end
    local counts = finish(run, dir)
    assert.are.equal(0, counts.gateway_dropped)
    assert.is_true(counts.gateway_batches > 2)
    back.signal(15)
  end)

  it("speaks for its children from Lua", function()
    if not broker then return pending("mosquitto is not installed") end
    listen()
    local scenario = world(nil, [[behaviour = function(dev)
      assert(dev:connect())
      local list = dev:children()
      local none, message, code = dev:child("x")
      local ok, problem = pcall(function() return dev:child(1):publish("a", "b", { qos = 1, wait = true }) end)
      dev:publish("list", { n = #list, last = list[2], code = code, message = message, ok = ok, problem = problem })
      for _, child in ipairs(list) do assert(dev:child(child.id):publish("said", child.model .. child.index)) end
      assert(dev:child(2):publish("/plain/topic", "x"))
      dev:sleep("30s")
    end,]])
    local run = proc.start(proc.command { proc.program, scenario, "-b", broker.url, "-q" })
    hears "gws/gws%-1/gws%-1%-v1/said valve1\n"
    hears "gws/gws%-2/gws%-2%-v2/said valve2\n"
    hears "plain/topic x\n"
    local list = cjson.decode(hears "gws/gws%-1/list (%b{})\n")
    assert.are.same({ id = "gws-1-v2", index = 2, model = "valve" }, list.last)
    assert.are.same({ 2, "not_found", "there is no child x; there are 2", false }, { list.n, list.code, list.message, list.ok })
    assert.is_truthy(list.problem:find("there is nothing to wait for", 1, true))
    run.signal(2)
    assert.is_not_nil(run.wait(20))
  end)

  it("whose child names a handler that is not there does not start", function()
    local scenario, dir = world()
    proc.write(dir .. "/parts.lua", "return { levels = function() end }")
    local r = proc.run({ "check", scenario }, 20)
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find("valve%.json:5:%d+: error IOTX024: /telemetry/1/generator/handler: handler \"parts.level\""), r.err)
  end)

  it("says the same on any number of shards", function()
    local scenario, dir = world(nil, 'count = 5,')
    proc.write(dir .. "/s.lua", (proc.read(dir .. "/s.lua"):gsub("count = 2,", "", 1)))
    local files = {}
    for shards = 1, 3, 2 do
      local file = dir .. "/" .. shards .. ".ndjson"
      local r = proc.run({ "--virtual", "--from", "2026-01-01", "--for", "5s", "--seed", "3", "--shards", tostring(shards),
        "--sink", "ndjson=" .. file, "-q", scenario }, 60)
      assert.are.equal(0, r.code, r.err)
      files[#files + 1] = proc.read(file)
    end
    assert.is_true(#files[1] > 1000)
    assert.are.equal(files[1], files[2])
  end)
end)
