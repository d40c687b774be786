-- Proxies end to end: the run's broker, a second one where the physical devices are, and mosquitto's clients as those devices.
local proc = require "integration.proc"
local cjson = require "cjson"

local MODEL = [[{
  "id": "probe", "name": "Probe", "type": "proxy", "protocol": "mqtt", "connection": { "qos": 1 },
  "proxy": { "topic": "plant/probe-${index}/#", "broker": "%s", "qos": 1, "commands": "plant/probe-${index}/commands" }
}]]

local SENSOR = [[{
  "id": "sensor", "name": "Sensor", "type": "sensor", "protocol": "mqtt",
  "telemetry": [ { "name": "t", "type": "integer", "intervalMs": 200, "generator": { "type": "constant", "value": 5 } } ]
}]]

local SCENARIO = [[
local iotix = require "iotix"
local g = iotix.group { name = "probes", %s }
return iotix.scenario { name = "spec", duration = "60s", groups = { g } }
]]

describe("a proxy", function()
  local near, plant -- the run's broker, and that of the physical devices
  setup(function()
    near = proc.mosquitto()
    plant = near and proc.mosquitto()
  end)
  teardown(proc.cleanup)

  -- Says it until it is heard: a proxy is bound some time after the run has begun.
  local function until_heard(heard, pattern, say)
    local found
    assert(proc.wait(10, function()
      if say then say() end
      found = heard.out():match(pattern)
      return found
    end), "nobody heard " .. pattern .. " in\n" .. heard.out():sub(-2000))
    return found
  end

  local function start(group, dir, ...)
    proc.write(dir .. "/s.lua", SCENARIO:format(group))
    return proc.start(proc.command { proc.program, dir .. "/s.lua", "-b", near.url, "--summary-json", dir .. "/sum.json", ... })
  end

  local function finish(run, dir)
    run.signal(2)
    assert.is_not_nil(run.wait(20))
    local by_name = {}
    for _, m in ipairs(cjson.decode(proc.read(dir .. "/sum.json")).metrics) do
      local name = m.name .. (m.tags.source and ":" .. m.tags.source or "")
      by_name[name] = (by_name[name] or 0) + (m.values.count or m.values.value or 0)
    end
    return by_name
  end

  it("passes on every byte of what the physical device says", function()
    if not near then return pending("mosquitto is not installed") end
    local dir = proc.dir()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    proc.write(dir .. "/payload", table.concat(bytes):rep(20) .. "\r\n\0")
    proc.write(dir .. "/probe.json", MODEL:format(plant.url))
    local heard = proc.listen(near, "probes/#", "%t %q %r %x")
    local run = start('model = "probe", count = 2', dir)
    until_heard(heard, "probes/probes%-1/telemetry/up 1 0 78\n", function() proc.publish(plant, "plant/probe-1/up", "-m", "x") end)
    until_heard(heard, "probes/probes%-2/telemetry/up 1 0 78\n", function() proc.publish(plant, "plant/probe-2/up", "-m", "x") end)
    proc.publish(plant, "plant/probe-2/raw/deep", "-f", dir .. "/payload", "-r")
    local hex = until_heard(heard, "probes/probes%-2/telemetry/raw/deep 1 0 (%x+)\n")
    local expected = proc.read(dir .. "/payload"):gsub(".", function(c) return string.format("%02x", c:byte()) end)
    assert.are.equal((expected:gsub("%z", "00")), hex)
    proc.publish(plant, "plant/probe-1", "-n") -- nothing at all
    local by_name = finish(run, dir)
    assert.is_true(by_name["messages_proxied:physical"] >= 3)
    assert.are.equal(2, by_name["devices_by_source:physical"])
    assert.are.equal(0, by_name["devices_by_source:simulated"])
  end)

  it("passes commands on, and does not take them for telemetry", function()
    if not near then return pending("mosquitto is not installed") end
    local dir = proc.dir()
    proc.write(dir .. "/probe.json", MODEL:format(plant.url))
    local heard, commanded = proc.listen(near, "probes/#", "%t %p"), proc.listen(plant, "plant/#", "%t %p")
    local run = start('model = "probe"', dir)
    until_heard(heard, "probes/probes%-1/telemetry/up y", function() proc.publish(plant, "plant/probe-1/up", "-m", "y") end)
    proc.publish(near, "probes/probes-1/command", "-m", '{"any": "thing", "at": [all]')
    until_heard(commanded, 'plant/probe%-1/commands {"any": "thing", "at": %[all%]\n')
    proc.publish(near, "probes/probes-1/commands/open", "-m", "now")
    until_heard(commanded, "plant/probe%-1/commands/open now\n")
    proc.publish(plant, "plant/probe-1/done", "-m", "z")
    until_heard(heard, "telemetry/done z\n")
    assert.is_nil(heard.out():find("telemetry/commands", 1, true))
    local by_name = finish(run, dir)
    assert.are.equal(2, by_name.proxy_commands)
  end)

  it("stands among simulated devices", function()
    if not near then return pending("mosquitto is not installed") end
    local dir = proc.dir()
    proc.write(dir .. "/sensor.json", SENSOR)
    local heard = proc.listen(near, "probes/#", "%t %p")
    local run = start(string.format('model = "sensor", count = 3, proxies = { { topic = "press/+/temp", broker = "%s", id = "press" } }',
      plant.url), dir, "--shards", "2")
    until_heard(heard, "probes/press/telemetry/7 hot\n", function() proc.publish(plant, "press/7/temp", "-m", "hot") end)
    until_heard(heard, "probes/probes%-1/telemetry {\"t\":5,")
    until_heard(heard, "probes/probes%-2/telemetry {\"t\":5,")
    assert.is_nil(heard.out():find("probes-3", 1, true))
    local by_name = finish(run, dir)
    assert.are.equal(1, by_name["devices_by_source:physical"])
    assert.are.equal(2, by_name["devices_by_source:simulated"])
  end)

  it("waits for a broker that is not there, and comes back to one that was lost", function()
    if not near then return pending("mosquitto is not installed") end
    local dir = proc.dir()
    local port = proc.port()
    local url = "mqtt://127.0.0.1:" .. port
    local user = io.popen("id -un"):read("*l")
    proc.write(dir .. "/conf", string.format("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser %s\n", port, user))
    local heard = proc.listen(near, "probes/#", "%t %p")
    local run = start(string.format('proxies = { { topic = "a/+", broker = "%s" } }', url), dir, "--log-level", "info", "--progress", "plain")
    assert(proc.wait(10, function() return run.err():find("physical devices at 127.0.0.1:" .. port, 1, true) end), run.err())
    for round = 1, 2 do
      local broker = proc.start(proc.command { "sh", "-c", "PATH=$PATH:/usr/sbin exec mosquitto -c " .. dir .. "/conf" })
      until_heard(heard, "probes/probes%-1/telemetry/x r" .. round .. "\n", function()
        proc.shell(string.format("mosquitto_pub -p %d -t a/x -m r%d", port, round))
      end)
      broker.signal(9)
      assert.is_not_nil(broker.wait(5))
    end
    assert(proc.wait(10, function() return select(2, run.err():gsub("tried again", "")) >= 2 end), run.err())
    local by_name = finish(run, dir)
    assert.is_true(by_name.proxy_source_errors >= 2)
    assert.are.equal(1, by_name["devices_by_source:physical"])
  end)

  it("observes a CoAP resource, from when it is there", function()
    if not near then return pending("mosquitto is not installed") end
    local dir, port = proc.dir(), proc.port()
    local heard = proc.listen(near, "probes/#", "%t %x")
    local run = start(('proxies = { { id = "press", source = "coap", url = "coap://127.0.0.1:%d/temp?unit=C" } }'):format(port),
      dir, "--log-level", "info", "--progress", "plain")
    assert(proc.wait(10, function() return run.err():find("physical device press at coap://127.0.0.1:" .. port .. "/temp", 1, true) end), run.err())
    proc.write(dir .. "/physical.lua", ([[
local iotix = require "iotix"
local g = iotix.group { name = "real", connection = iotix.coap { url = "embedded", serve = { listen = "127.0.0.1:%d" } },
  behaviour = function(dev)
    local n = 0
    assert(dev:connect())
    assert(dev:serve("/temp", { observable = true }, function() return n .. "\0\255" end))
    for _ in dev:every("100ms") do n = n + 1; dev:notify("/temp") end
  end }
return iotix.scenario { name = "physical", duration = "60s", groups = { g } }
]]):format(port))
    local physical = proc.start(proc.command { proc.program, dir .. "/physical.lua", "-q" })
    assert(proc.wait(15, function() return select(2, heard.out():gsub("probes/press/telemetry [3%x]+00ff\n", "")) >= 10 end), heard.out())
    physical.signal(2)
    assert.is_not_nil(physical.wait(20))
    local by_name = finish(run, dir)
    assert.is_true(by_name["messages_proxied:physical"] >= 10)
    assert.is_true(by_name.proxy_source_errors >= 1)
  end)

  it("has a webhook", function()
    if not near then return pending("mosquitto is not installed") end
    local dir = proc.dir()
    local heard = proc.listen(near, "probes/#", "%t %x")
    local run = start('proxies = { { id = "oven", source = "http", path = "/in" } }', dir, "--log-level", "info", "--progress", "plain")
    local url = proc.wait(10, function() return run.err():match("physical device oven: its webhook is (http://%S+/oven/in)\n") end)
    assert(url, run.err())
    local function ask(path, ...)
      return proc.shell(proc.command { "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url .. path, ... }).out
    end
    proc.write(dir .. "/body", "\1\0\255")
    assert.are.equal("204", ask("", "--data-binary", "@" .. dir .. "/body"))
    until_heard(heard, "probes/oven/telemetry 0100ff\n")
    assert.are.equal("204", ask("/a/b/?q=1", "-d", "x"))
    until_heard(heard, "probes/oven/telemetry/a/b 78\n")
    assert.are.equal("400", ask("/a+b", "-d", "x"))
    assert.are.equal("405", ask(""))
    assert.are.equal("404", ask("x", "-d", "x"))
    local by_name = finish(run, dir)
    assert.are.equal(2, by_name["messages_proxied:physical"])
    assert.are.equal(1, by_name["devices_by_source:physical"])
  end)

  it("is refused where it cannot be", function()
    local dir = proc.dir()
    proc.write(dir .. "/sensor.json", SENSOR)
    proc.write(dir .. "/probe.json", '{"id": "probe", "name": "P", "type": "proxy", "protocol": "mqtt"}')
    local function refused(group, text, ...)
      proc.write(dir .. "/s.lua", SCENARIO:format(group))
      local args = { ... }
      args[#args + 1] = dir .. "/s.lua"
      args[#args + 1] = "-q"
      local r = proc.run(args, 20)
      assert.are_not.equal(0, r.code)
      assert.is_truthy(r.err:find(text, 1, true), r.err)
    end
    refused('model = "sensor", proxies = { { topik = "a" } }', 'proxies[1]: unknown key "topik"; valid: broker, commands, id, listen, path, qos', "check")
    refused('model = "sensor", proxies = { { qos = 1 } }', "proxies[1]: topic is missing", "check")
    refused('model = "sensor", proxies = { { topic = "a", broker = "coap://x" } }', 'the scheme "coap" cannot be observed', "check")
    refused('model = "sensor", proxies = { { topic = "a", source = "webhook" } }', 'proxies[1]: topic: only with source = "mqtt"', "check")
    refused('model = "sensor", proxies = { { source = "coap", url = "coap:x" } }', "proxies[1]: url: expected the URL of what is observed", "check")
    refused('model = "sensor", proxies = { { source = "coap" } }', "proxies[1]: url is missing", "check")
    refused('model = "sensor", proxies = { { source = "http", path = "in" } }', "proxies[1]: path: expected a path that begins with /", "check")
    refused('model = "sensor", proxies = { { source = "http", listen = "8080" } }', "proxies[1]: listen: expected an address and a port", "check")
    refused('model = "sensor", proxies = { { source = "amqp" } }', 'proxies[1]: source: expected "mqtt", "coap" or "http"', "check")
    refused('model = "sensor", count = 1, proxies = { { topic = "a" }, { topic = "b" } }', "proxies: 2 of them, and count is 1", "check")
    refused('model = "sensor", proxies = { { topic = "a/#/b" } }', "proxies[1]: topic: ", "check")
    refused('model = "sensor", proxies = {}', "proxies: expected a list such as", "check")
    refused('model = "probe"', "nothing says which physical devices its model probe stands for", "run")
    refused('model = "sensor", proxies = { { topic = "a" } }', "which are not there in virtual time", "--virtual", "--for", "1s",
      "--sink", "ndjson=" .. dir .. "/x")
  end)
end)
