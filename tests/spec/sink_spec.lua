-- `sinks` of a scenario and --sink: what is refused, at the author's line, and what inspect shows.
local proc = require "integration.proc"
local cjson = require "cjson"

local function scenario(sinks)
  return proc.write(proc.dir() .. "/s.lua", [[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 2, behaviour = function(dev)
  assert(dev:connect())
  for n in dev:every("100ms") do dev:publish("v", { n = n }) end
end }
local list = ]] .. sinks .. "\n" .. [[
return iotix.scenario { name = "s", duration = "1s", groups = { g }, sinks = list }
]])
end

describe("iotix.sink", function()
  teardown(proc.cleanup)

  it("refuses mistakes at the author's line", function()
    for _, case in ipairs {
      { '{ iotix.sink.influx { url = "http://h", databse = "d" } }', 'did you mean "database"', 6 },
      { '{ iotix.sink.influx { database = "d" } }', "url is missing", 6 },
      { '{ iotix.sink.influx { url = "http://h", database = "d", batch = 0 } }', "batch: expected a whole number", 6 },
      { '{ iotix.sink.influx { url = "http://h", database = "d", flush = "soon" } }', "flush: expected a duration", 6 },
      { '{ iotix.sink.influx { url = "http://h" } }', "database is missing", 6 },
      { '{ iotix.sink.influx { url = "http://h", database = "d", bucket = "b" } }', "database and retentionPolicy are of versions 1.x", 6 },
      { '{ iotix.sink.ndjson { path = "" } }', "path: expected a path", 6 },
      { '{ iotix.sink.csv { path = "x", events = true } }', "events have no form in csv", 6 },
      { '{ iotix.sink.csv "x", iotix.sink.ndjson "x" }', "two sinks write x", 6 },
      { '{ iotix.sink.csv { path = "x", name = "a" }, iotix.sink.csv { path = "y", name = "a" } }', 'two sinks are named "a"', 6 },
      { '{ { type = "csv" } }', "sinks[1]: expected what iotix.sink", 7 },
      { '"csv=x"', "sinks: expected a list", 7 },
    } do
      local file = scenario(case[1])
      local r = proc.run({ "check", file }, 20)
      assert.are.equal(104, r.code, case[1] .. ": " .. r.err)
      assert.truthy(r.err:find(case[2], 1, true), case[1] .. ": " .. r.err)
      assert.truthy(r.err:find("s.lua:" .. case[3], 1, true), case[1] .. ": " .. r.err)
    end
  end)

  it("never quotes or shows a secret", function()
    local file = scenario('{ iotix.sink.influx { url = "http://h:8086", database = "d", username = "u", password = "hunter2" } }')
    local r = proc.run({ "inspect", file }, 20)
    assert.are.equal(0, r.code, r.err)
    assert.is_nil(r.out:find("hunter2", 1, true), r.out)
    assert.are.equal("***", cjson.decode(r.out).plan.sinks[1].options.password)
  end)

  it("touches nothing when it only checks", function()
    local dir = proc.dir()
    assert.are.equal(0, proc.run({ "check", scenario('{ iotix.sink.csv "' .. dir .. '/a.csv" }') }, 20).code)
    assert.is_nil(proc.read(dir .. "/a.csv"))
  end)

  it("writes files in real time, one for each shard, with names of their own", function()
    local dir = proc.dir()
    local r = proc.run({ scenario('{ iotix.sink.ndjson { path = "' .. dir .. '/a.ndjson", events = true } }'), "--shards", "2", "-q",
      "--sink", "csv=" .. dir .. "/a.csv", "--sink", "csv=" .. dir .. "/b.csv", "--summary-json", dir .. "/s.json" }, 40)
    assert.are.equal(0, r.code, r.err .. r.out)
    local s, names = cjson.decode(proc.read(dir .. "/s.json")), {}
    for i, sink in ipairs(s.sinks) do
      names[i] = sink.name
      assert.are.equal(sink.accepted, sink.delivered)
      assert.is_true(sink.accepted > 0)
    end
    assert.are.same({ "ndjson", "csv", "csv-2" }, names)
    local messages, online = 0, 0
    for shard = 0, 1 do
      for line in proc.read(dir .. "/a-" .. shard .. ".ndjson"):gmatch("[^\n]+") do
        local v = cjson.decode(line)
        messages = messages + (v.topic and 1 or 0)
        online = online + (v.event == "online" and 1 or 0)
      end
      assert.truthy(proc.read(dir .. "/b-" .. shard .. ".csv"):find("^time,group,device,topic,payload\n"))
    end
    assert.are.equal(2, online)
    assert.are.equal(s.totals.messages.sent, messages)
  end)

  it("says which file it cannot write, before a device connects", function()
    local r = proc.run({ scenario("{}"), "-q", "--sink", "csv=/nonexistent/a.csv" }, 20)
    assert.are.equal(2, r.code)
    assert.truthy(r.err:find("/nonexistent", 1, true), r.err)
    r = proc.run({ scenario('{ iotix.sink.csv "/nonexistent/a.csv" }'), "-q" }, 20)
    assert.are.equal(109, r.code, r.err .. r.out)
    assert.truthy(r.out:find("cannot write /nonexistent/a.csv", 1, true), r.out)
  end)

  it("has devices wait for a sink that is full and may not lose anything", function()
    local file = proc.write(proc.dir() .. "/s.lua", [[
local iotix = require "iotix"
local big = ("x"):rep(200000)
local g = iotix.group { name = "g", behaviour = function(dev)
  assert(dev:connect())
  local refused
  for n = 1, 40 do
    local ok, message, code = dev:publish("v", big)
    if not ok then refused = message .. " " .. code end
    dev:sleep("10ms")
  end
  iotix.log("refused: " .. tostring(refused))
end }
return iotix.scenario { name = "s", duration = "2s", stop_timeout = "1s", groups = { g },
  sinks = { iotix.sink.ndjson { path = "/dev/full", memory = "1MB" } } }
]])
    local r = proc.run({ file, "--shards", "1" }, 30)
    assert.are.equal(109, r.code, r.err .. r.out)
    assert.truthy(r.err:find("refused: sink ndjson is full, and its policy is to block limit", 1, true), r.err)
    assert.truthy(r.out:find("refused before they were published", 1, true), r.out)
  end)
end)
