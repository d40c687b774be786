-- iotix.behaviour: sensors and gateways in virtual time, options that are wrong, and where an error of a Lua file is. Commands
-- and failures need a broker: tests/integration/behaviour_spec.lua.
-- luacheck: no max line length
local proc = require "integration.proc"
local cjson = require "cjson"

local function play(text, more)
  more = more or {}
  local dir = proc.dir()
  local r = proc.run({ proc.write(dir .. "/s.lua", text), "--virtual", "--from", "2026-01-01", "--seed", tostring(more.seed or 1), "-q",
    "--shards", tostring(more.shards or 1), "--sink", "ndjson=" .. dir .. "/out" }, 40)
  r.raw, r.messages, r.text = proc.read(dir .. "/out") or "", {}, r.err .. r.out
  for line in r.raw:gmatch("[^\n]+") do r.messages[#r.messages + 1] = cjson.decode(line) end
  return r
end

local function fleet(behaviour, count, duration)
  return string.format([[
local iotix, gen = require "iotix", require "iotix.gen"
local g = iotix.group { name = "g", count = %d, on_error = "fail", behaviour = %s }
return iotix.scenario { name = "b", duration = "%s", groups = { g } }
]], count or 1, behaviour, duration or "1m")
end

describe("iotix.behaviour.sensor", function()
  teardown(proc.cleanup)

  it("publishes its values every interval; every device draws from generators of its own", function()
    local text = fleet([[iotix.behaviour.sensor {
      interval = "5s", jitter = "1s", topic = "data",
      values = { walk = gen.walk { start = 20, step = 1, min = 0, max = 40 }, seq = gen.sequence { start = 1, step = 1 }, unit = "C",
        made = function(dev) return dev.id end, list = { 1, 2 } },
    }]], 6)
    local r = play(text)
    assert.are.equal(0, r.code, r.text)
    assert.is_true(#r.messages >= 6 * 11 and #r.messages <= 6 * 13, #r.messages .. " messages")
    local seen, distinct = {}, {}
    for _, m in ipairs(r.messages) do
      seen[m.device] = (seen[m.device] or 0) + 1
      assert.are.equal(seen[m.device], m.payload.seq) -- one shared by all would count on
      assert.are.equal(m.device, m.payload.made)
      assert.are.equal("C", m.payload.unit)
      assert.are.same({ 1, 2 }, m.payload.list)
      assert.are.equal("g/" .. m.device .. "/data", m.topic)
      if m.payload.seq == 3 then distinct[m.payload.walk] = true end
    end
    local n = 0
    for _ in pairs(distinct) do n = n + 1 end
    assert.are.equal(6, n, "walks differ")
    for _, shards in ipairs { 2, 3 } do assert.are.equal(r.raw, play(text, { shards = shards }).raw) end
    assert.are_not.equal(r.raw, play(text, { seed = 2 }).raw)
  end)

  it("makes its values for each device when they are a function", function()
    local r = play(fleet([[iotix.behaviour.sensor { interval = "10s",
      values = function(dev) return { v = gen.sequence { start = dev.index * 100, step = 1 } } end }]], 2))
    assert.are.equal(0, r.code, r.text)
    local first = {}
    for _, m in ipairs(r.messages) do first[m.device] = first[m.device] or m.payload.v end
    assert.are.same({ ["g-1"] = 100, ["g-2"] = 200 }, first)
    r = play(fleet([[iotix.behaviour.sensor { interval = "10s", values = function() return 5 end }]]))
    assert.is_truthy(r.text:find("values: expected the function to return a table, got a number", 1, true), r.text)
  end)

  it("reports changes only, or what leaves a dead band", function()
    local function reported(report, values)
      local r = play(fleet("iotix.behaviour.sensor { interval = '1s', report = " .. report .. ", values = " .. values .. " }", 1, "20s"))
      assert.are.equal(0, r.code, r.text)
      local list = {}
      for i, m in ipairs(r.messages) do list[i] = m.payload.v end
      return table.concat(list, " ")
    end
    local steps = "{ v = gen.sequence { values = { 1, 1, 1.4, 1.6, 1.6, 2.2, 1.9 }, wrap = false } }"
    assert.are.equal("1 1.4 1.6 2.2 1.9", reported("'change'", steps))
    assert.are.equal("1 1.6 2.2", reported("{ deadband = 0.5 }", steps))
    assert.are.equal("1 1.4 1.6 2.2 1.9", reported("{ deadband = { other = 9 } }", steps:gsub("}$", ", other = 5 }")))
    assert.are.equal("1", reported("{ deadband = { v = 9 } }", steps))
    assert.are.equal("1", reported("'change'", "{ v = 1, t = { a = 1 } }"))
  end)
end)

describe("iotix.behaviour.gateway", function()
  teardown(proc.cleanup)

  local values = "values = { n = gen.sequence { start = 1, step = 1 }, r = gen.normal { mean = 0, stddev = 1 } }"

  it("forwards what its children measure, each with values of its own, the same on any number of shards", function()
    local text = fleet("iotix.behaviour.gateway { children = 3, interval = '10s', " .. values .. " }", 3)
    local r = play(text)
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(3 * 3 * 6, #r.messages)
    local seen = {}
    for _, m in ipairs(r.messages) do
      seen[m.topic] = (seen[m.topic] or 0) + 1
      assert.are.equal(seen[m.topic], m.payload.n)
    end
    assert.are.equal(6, seen["g/g-2/g-2-3/telemetry"])
    assert.are.equal(r.raw, play(text, { shards = 3 }).raw)
  end)

  it("collects messages, until they are many or the time has come", function()
    local r = play(fleet("iotix.behaviour.gateway { children = { 'a', { id = '${deviceId}-b', values = { x = 1 } } }, interval = '5s', "
      .. "batch_interval = '20s', aggregate = 'batch', max_messages = 6, " .. values .. " }"))
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("g/g-1/batch", r.messages[1].topic)
    local p = r.messages[1].payload
    assert.are.equal(6, #p)
    assert.are.equal(2, #r.messages[2].payload)
    assert.are.same({ "a", "g-1-b", "a" }, { p[1].device, p[2].device, p[3].device })
    assert.are.same({ x = 1 }, p[2].payload)
    assert.are.equal("g/g-1/g-1-b/telemetry", p[2].topic)
    assert.are.equal(5000, p[3].at - p[1].at)
  end)

  it("hands what was collected to a function, and sends what it returns", function()
    local r = play(fleet("iotix.behaviour.gateway { children = 4, interval = '10s', topic = 'mean', aggregate = function(dev, messages) "
      .. "if messages[1].payload.n == 2 then return nil end local sum = 0 for _, m in ipairs(messages) do sum = sum + m.payload.n end "
      .. "return { mean = sum / #messages, of = #messages } end, " .. values .. " }"))
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(5, #r.messages)
    assert.are.same({ mean = 1, of = 4 }, r.messages[1].payload)
    assert.are.same({ mean = 3, of = 4 }, r.messages[2].payload)
  end)
end)

describe("iotix.behaviour.compose", function()
  teardown(proc.cleanup)

  it("runs several behaviours in one device", function()
    local r = play(fleet([[iotix.behaviour.compose(
      iotix.behaviour.sensor { interval = "10s", values = { a = 1 } },
      iotix.behaviour.sensor { interval = "30s", topic = "slow", values = { b = 2 } },
      iotix.fsm { initial = "x", states = { x = { after = { ["15s"] = "y" } }, y = { entry = function(dev) dev:publish("state", "y") end } } }:behaviour(),
      function(dev) dev:sleep("5s") dev:publish("own", "code") end)]]))
    assert.are.equal(0, r.code, r.text)
    local n = {}
    for _, m in ipairs(r.messages) do
      local channel = m.topic:match("[^/]+$")
      n[channel] = (n[channel] or 0) + 1
    end
    assert.are.same({ telemetry = 6, slow = 2, state = 1, own = 1 }, n)
  end)

  it("fails as a whole", function()
    local r = play(fleet([[iotix.behaviour.compose(iotix.behaviour.sensor { interval = "10s", values = { a = 1 } },
      function(dev) dev:sleep("15s") error("broken") end)]]))
    assert.are_not.equal(0, r.code)
    assert.is_truthy(r.text:find("s.lua:3: broken", 1, true) or r.text:find("s.lua:4: broken", 1, true), r.text)
  end)
end)

describe("options of behaviours", function()
  teardown(proc.cleanup)

  it("that are wrong are told with the line of the call and what would be right", function()
    local sensor, gateway, actuator = "iotix.behaviour.sensor", "iotix.behaviour.gateway", "iotix.behaviour.actuator"
    for _, case in ipairs {
      { sensor .. " {}", sensor .. ": interval is missing" },
      { sensor .. " { interval = '1s' }", sensor .. ": values is missing" },
      { sensor .. " { interval = '1s', vlaues = {} }", 'unknown key "vlaues"; valid: interval, jitter, on_command, qos, report, retain, '
        .. 'topic, values; did you mean "values"?' },
      { sensor .. " { interval = '1s', values = {} }", sensor .. ": values: at least one is needed" },
      { sensor .. " { interval = '1s', values = { 5 } }", sensor .. ": values: a name is a text, got 1" },
      { sensor .. " { interval = '1s', values = { a = { print } } }", sensor .. ": values: a: " },
      { sensor .. " { interval = 'soon', values = { a = 1 } }", sensor .. ": interval: expected a duration" },
      { sensor .. " { interval = '1us', values = { a = 1 } }", sensor .. ": interval: at least 1ms" },
      { sensor .. " { interval = '1s', jitter = '2s', values = { a = 1 } }", sensor .. ": jitter: at most half the interval" },
      { sensor .. " { interval = '1s', qos = 3, values = { a = 1 } }", sensor .. ": qos: expected 0, 1 or 2, got 3" },
      { sensor .. " { interval = '1s', report = 'never', values = { a = 1 } }", 'report: expected "always", "change" or { deadband = … }, got "never"' },
      { sensor .. " { interval = '1s', report = { deadbnad = 1 }, values = { a = 1 } }", 'did you mean "deadband"?' },
      { sensor .. " { interval = '1s', report = { deadband = -1 }, values = { a = 1 } }", "deadband: expected a number of 0 or more" },
      { sensor .. " { interval = '1s', report = { deadband = { temp = 1 } }, values = { tmp = 1 } }",
        'report: deadband: there is no value "temp"; there are: tmp; did you mean "tmp"?' },
      { actuator .. " {}", actuator .. ": commands is missing" },
      { actuator .. " { commands = {} }", actuator .. ": commands: at least one is needed" },
      { actuator .. " { commands = { a = {} } }", actuator .. ": commands: a: run is missing" },
      { actuator .. " { commands = { a = { run = print, params = { x = { type = 'nubmer' } } } } }", "commands: a: params: x: type: expected one of: number" },
      { actuator .. " { commands = { a = { run = print, params = { x = { type = 'string', min = 1 } } } } }", "params: x: min and max are for numbers" },
      { actuator .. " { commands = { a = { run = print, params = { x = { type = 'number', min = 2, max = 1 } } } } }", "params: x: min is more than max" },
      { actuator .. " { commands = { a = { run = print, params = { 'x' } } } }", "commands: a: params: expected { name = { type = … } }, got the key 1" },
      { actuator .. " { commands = { a = { run = print } }, delay = { '3s', '1s' } }", 'delay: expected a duration such as "2s", or a range' },
      { actuator .. " { commands = { a = { run = print } }, state = { 1 } }", "state: expected names and values, got a list" },
      { actuator .. " { commands = { a = { run = print } }, state = { f = print } }", actuator .. ": state: " },
      { gateway .. " {}", gateway .. ": children is missing" },
      { gateway .. " { children = 0 }", gateway .. ": children: expected a number from 1 to 1000" },
      { gateway .. " { children = 2 }", gateway .. ": give it values, on_command, or both" },
      { gateway .. " { children = 2, values = { a = 1 } }", gateway .. ": interval is missing" },
      { gateway .. " { children = 2, interval = '1s', on_command = print }", gateway .. ": values is missing" },
      { gateway .. " { children = 2, interval = '1s', id = 'x', values = { a = 1 } }", "id: ${childIndex} must tell the children apart" },
      { gateway .. " { children = 2, interval = '1s', id = '${childIndx}', values = { a = 1 } }", "unknown placeholder ${childIndx}; valid: base, " },
      { gateway .. " { children = { 'a', 'a' }, interval = '1s', values = { a = 1 } }", "children[2]: another child is named a" },
      { gateway .. " { children = { 5 }, interval = '1s', values = { a = 1 } }", "children[1]: expected a table { … }, got 5" },
      { gateway .. " { children = 2, interval = '1s', aggregate = 'sum', values = { a = 1 } }", 'aggregate: expected "forward", "batch" or a function' },
      { gateway .. " { children = 2, interval = '1s', batch_interval = '5s', values = { a = 1 } }", "batch_interval is for an aggregate" },
      { gateway .. " { children = 2, interval = '1s', aggregate = 'batch', topic = '${childId}', values = { a = 1 } }", "which names no child" },
      { "iotix.behaviour.compose()", "iotix.behaviour.compose: give it behaviours" },
      { "iotix.behaviour.compose(print, 5)", "iotix.behaviour.compose: argument 2: expected a function(dev), got a number" },
      { "iotix.behaviour.compose(iotix.fsm { initial = 'a', states = { a = {} } })", "a state machine has :behaviour()" },
    } do
      local file = proc.write(proc.dir() .. "/s.lua", 'local iotix = require "iotix"\n\nlocal b = ' .. case[1] .. "\nreturn b\n")
      local r = proc.run({ "check", file }, 20)
      assert.are.equal(104, r.code, case[1] .. "\n" .. r.err)
      assert.is_truthy(r.err:find("s.lua:3: error IOTX010: ", 1, true), case[1] .. "\n" .. r.err)
      assert.is_truthy(r.err:find(case[2], 1, true), case[1] .. "\nexpected " .. case[2] .. "\n" .. r.err)
    end
  end)
end)

describe("an error of syntax", function()
  teardown(proc.cleanup)

  local function check(files)
    local dir = proc.dir()
    for name, text in pairs(files) do proc.write(dir .. "/" .. name, text) end
    return proc.run({ "check", dir .. "/s.lua" }, 20)
  end

  it("is told with its column", function()
    for _, case in ipairs {
      { "local x = = 1\n", 1, 11 },
      { "\n  local a, b = 1,, 2\n", 2, 18 },                     -- the second of two commas that look alike
      { "local t = { name = 'a' name = 'b' }\n", 1, 24 },         -- the second of two names
      { "local name name = 1 local function f() end end\n", 1, 44 },
      { "local ends = 1 end\n", 1, 16 },                          -- not inside the word
      { "local s = 'open\n", 1, 11 },
      { "local x = 1\nif x then\n", 3, 1 },                       -- the end of the file
      { "local x = 12ab\n", 1, 11 },
      { "\239\187\191x y\n", 1, 3 },                              -- behind a byte order mark
      { "local x = 'ä' ?\n", 1, 16 },
    } do
      local r = check { ["s.lua"] = case[1] }
      assert.are.equal(104, r.code, case[1] .. r.err)
      assert.is_truthy(r.err:find(string.format("s.lua:%d:%d: error IOTX001: ", case[2], case[3]), 1, true),
        string.format("%s expected %d:%d\n%s", case[1], case[2], case[3], r.err))
    end
  end)

  it("is told with its own file and place in a module and in a behaviour file", function()
    local r = check { ["s.lua"] = 'local iotix = require "iotix"\nlocal lib = require "lib"\n', ["lib.lua"] = "local M = {}\nfunction M.x( return M\n" }
    assert.are.equal(104, r.code, r.err)
    assert.is_truthy(r.err:find("lib.lua:2:15: error IOTX001: ", 1, true), r.err)
    local scenario = [[
local iotix = require "iotix"
local g = iotix.group { name = "g", behaviour = "valve.lua" }
return iotix.scenario { name = "x", duration = "1s", groups = { g } }
]]
    r = check { ["s.lua"] = scenario, ["valve.lua"] = "return function(dev)\n  dev:connect(\nend\n" }
    assert.are.equal(104, r.code, r.err)
    assert.is_truthy(r.err:find("valve.lua:3:1: error IOTX001: ", 1, true), r.err)
    r = check { ["s.lua"] = scenario, ["valve.lua"] = "local lib = require 'lib'\nreturn function() end\n", ["lib.lua"] = "return {\n  a = 1\n  b = 2 }\n" }
    assert.is_truthy(r.err:find("lib.lua:3:3: error IOTX001: ", 1, true), r.err)
  end)
end)
