-- iotix.chaos: what its functions make of their options, what they refuse and at which line, profiles, and experiments of a run.
local json = require "cjson"
local proc = require "integration.proc"

local head = [[
local iotix = require "iotix"
local chaos = iotix.chaos
local function task(dev) assert(dev:connect()) for _ in dev:every("50ms") do dev:publish("t", "1") end end
local groups = { iotix.group { name = "sensors", count = 20, behaviour = task },
  iotix.group { name = "valves", count = 5, behaviour = task } }
]]

local function scenario(rest, files)
  local dir = proc.dir()
  for name, text in pairs(files or {}) do proc.write(dir .. "/" .. name, text) end
  return proc.write(dir .. "/s.lua", head .. rest)
end

-- The entries of the timeline in the plan.
local function plan(list, files)
  local r = proc.run({ "inspect", scenario("return iotix.scenario { name = \"c\", duration = \"1m\", groups = groups, timeline = { "
    .. list .. " } }\n", files) }, 20)
  assert.are.equal(0, r.code, r.err .. r.out)
  return json.decode(r.out).plan.timeline
end

local bad_files = {
  ["nulls.json"] = '{"name":"nulls","fault":{"trace":{"rows":[[0,0.02,null,1000000],[1,0.05,0.1]]}}}',
  ["broken.json"] = '{"name":', ["unknown.json"] = '{"name":"x","fautl":{}}',
}

-- What the author of a line is told.
local function problem(line)
  local r = proc.run({ "check", scenario("local x = " .. line
    .. "\nreturn iotix.scenario { name = \"c\", duration = \"1m\", groups = groups, timeline = { x } }\n", bad_files) }, 20)
  assert.are_not.equal(0, r.code, line .. " was taken")
  local text = r.err .. r.out
  assert.is_truthy(text:find("s.lua:6", 1, true), line .. "\n" .. text)
  return text
end

local function says(line, ...)
  local text = problem(line)
  for _, part in ipairs { ... } do
    assert.is_truthy(text:find(part, 1, true), line .. "\n  said: " .. text .. "\n  without: " .. part)
  end
end

describe("iotix.chaos", function()
  teardown(proc.cleanup)

  it("makes entries of a timeline", function()
    local t = plan [[
      chaos.link("poor-cellular", { group = "sensors", fraction = 0.25, from = "10s", to = "20s", every = "30s", latency = "300ms" }),
      chaos.link({ loss = "5%" }, { groups = { "sensors", "valves" }, devices = { 1, 3 }, name = "lossy" }),
      chaos.link("satellite-link", { bandwidth = "1mbit", loss = false }),
      chaos.partition { direction = "up", hosts = { "10.0.0.1" }, count = 3 },
      chaos.partition(),
      chaos.disconnect { strategy = "linear", delay = "100ms", fraction = "20%", reconnect = true, jitter = "1s" },
      chaos.dropout { strategy = "exponential", count = 3 }, chaos.disconnect { strategy = "random", duration = "3s" },
      chaos.storm { from = "5s", jitter = "2s", reconnect_delay = "1s", percentage = 50 },
      chaos.broker("pause", { from = "1s", to = "2s" }),
      chaos.clock { offset = "-5m", drift = "200ppm", group = "valves" },
      chaos.custom(function() end, { from = "3s" }), chaos.custom(function() end),
      chaos.storm { devices = { 2, 5 }, reconnect_delay = "1s" }, chaos.disconnect { devices = 4, strategy = "random" },
      chaos.link("5g", { latency = "100ms", up = { latency = "300ms" } }) ]]
    assert.are.equal(16, #t)
    assert.are.same({ { 2, 5 }, 1e6 }, { t[14].devices, t[14].reconnect_delay_us })
    assert.are.same({ { 4 }, "random", nil, nil }, { t[15].devices, t[15].dropout.strategy, t[15].dropout.percentage, t[15].percentage })
    -- what is said of one direction stands beside what is said of both
    assert.are.same({ latency = "100ms", up = { latency = "300ms" }, down = { bandwidth = "100mbit" } },
      { latency = t[16].fault.latency, up = t[16].fault.up, down = t[16].fault.down })
    assert.are.equal(25, t[1].percentage)
    assert.are.same({ 10e6, 20e6, 30e6, 6 }, { t[1].from_us, t[1].to_us, t[1].every_us, t[1].line })
    assert.are.same({ latency = "300ms", loss = "5%", bandwidth = "500kbit" }, t[1].fault)
    assert.are.same({ name = "poor-cellular", version = 1 }, t[1].profile)
    assert.are.same({ { "sensors", "valves" }, { 1, 3 }, "lossy" }, { t[2].groups, t[2].devices, t[2].name })
    assert.are.same({ latency = { value = "300ms", jitter = "10ms" }, bandwidth = "1mbit" }, t[3].fault)
    assert.are.same({ partition = { direction = "up", hosts = { "10.0.0.1" } } }, t[4].fault)
    assert.are.same({ partition = true }, t[5].fault)
    assert.are.same({ "linear", 100000, 20, 1000000 },
      { t[6].dropout.strategy, t[6].dropout.delay, t[6].dropout.percentage, t[6].dropout.jitter })
    assert.are.same({ 3, "exponential", 100, "random" },
      { t[7].dropout.count, t[7].dropout.strategy, t[8].dropout.percentage, t[8].dropout.strategy })
    assert.are.same({ "storm", 2e6, 1e6, 50 }, { t[9].kind, t[9].jitter_us, t[9].reconnect_delay_us, t[9].percentage })
    assert.are.same({ "broker", "pause" }, { t[10].kind, t[10].action })
    assert.are.same({ -300e6, 0.0002, "valves" }, { t[11].offset_us, t[11].drift, t[11].group })
    assert.are.same({ "custom", 0, 1 }, { t[12].kind, t[12].custom, t[13].custom })
  end)

  it("refuses what cannot be, at the author's line", function()
    says([[chaos.link("poor-celular")]], "there is no profile", "did you mean \"poor-cellular\"?")
    says([[chaos.link("lte@7")]], "has no version 7; the latest is 1")
    says([[chaos.link(5)]], "expected the name of a profile, a profile or a fault")
    says([[chaos.link(chaos.partition())]], "an experiment already")
    says([[chaos.link({ latencey = "1s" })]], "latencey", "latency")
    says([[chaos.link({ latency = "-1s" })]], "latency")
    says([[chaos.link({ loss = 1.5 })]], "loss")
    says([[chaos.link({ bandwidth = 0 })]], "bandwidth")
    says([[chaos.link({ latency = "2h" })]], "latency")
    says([[chaos.link("lte", { grup = "sensors" })]], "unknown key \"grup\"", "did you mean \"group\"?")
    says([[chaos.link("lte", { group = "sensor" })]], "there is no group \"sensor\"", "sensors, valves", "did you mean \"sensors\"?")
    says([[chaos.link("lte", { groups = { "sensors", "sensors" } })]], "is there twice")
    says([[chaos.link("lte", { groups = {} })]], "a list of names of groups")
    says([[chaos.link("lte", { group = "sensors", groups = { "valves" } })]], "either group or groups")
    says([[chaos.link("lte", { fraction = 0 })]], "fraction: expected a share")
    says([[chaos.link("lte", { fraction = 1.1 })]], "fraction")
    says([[chaos.link("lte", { fraction = 0.5, count = 3 })]], "give one of")
    says([[chaos.link("lte", { devices = { 0 } })]], "indices from 1")
    says([[chaos.link("lte", { devices = { 1, math.huge } })]], "indices from 1 to 10,000,000, got inf")
    says([[chaos.link("lte", { from = "20s", to = "10s" })]], "ends before it begins")
    says([[chaos.link("lte", { from = "20s", to = "20s" })]], "ends when it begins")
    says([[chaos.link("lte", { every = "20s" })]], "every: it needs to")
    says([[chaos.link("lte", { from = 0, to = "30s", every = "20s" })]], "every")
    says([[chaos.link("lte", { from = "-5s" })]], "from: expected a duration")
    says([[chaos.partition { ports = { 99999999 } }]], "ports")
    says([[chaos.partition { direction = "sideways" }]], "direction")
    says([[chaos.disconnect { devices = { 1 }, count = 1 }]], "give one of devices, count")
    says([[chaos.storm { devices = { 21 }, group = "sensors" }]], "group sensors: devices: expected indices from 1 to 20")
    says([[chaos.disconnect { strategy = "liner" }]], "strategy", "linear")
    says([[chaos.disconnect { at = "1s" }]], "unknown key \"at\"")
    says([[chaos.disconnect { strategy = "immediate", delay = "1s" }]], "has no delay")
    says([[chaos.storm { jitter = "soon" }]], "jitter: expected a duration")
    says([[chaos.broker("burn", { from = 1 })]], "stop, kill, pause")
    says([[chaos.broker("kill", { group = "sensors" })]], "unknown key \"group\"")
    says([[chaos.clock { offset = "soon" }]], "offset: expected a duration, negative for a clock that is behind")
    says([[chaos.clock {}]], "an offset, a drift, or both")
    says([[chaos.clock { drift = -2 }]], "drift: expected seconds a second")
    says([[chaos.custom("x")]], "expected a function(run)")
    says([[chaos.profile { name = "Upper", loss = 0.1 }]], "is no name of a profile")
    says([[chaos.profile { name = "lte", loss = 0.1 }]], "there is a profile \"lte\" already")
    says([[chaos.profile { name = "x", loss = 0.1, fault = { loss = 0.2 } }]], "put it into fault")
    says([[chaos.profile { loss = 0.1 }]], "name is missing")
    says([[chaos.load("../x.json")]], "a file beside the scenario")
    says([[chaos.load("none.json")]], "none.json: No such file")
    says([[chaos.load("nulls.json")]], "nulls.json: null is not possible here", "csv")
    says([[chaos.load("broken.json")]], "broken.json")
    says([[chaos.load("unknown.json")]], "unknown.json", "did you mean \"fault\"?")
    says([[iotix.scenario { name = "c", duration = 1, groups = groups, timeline = { 5 } }]],
      "timeline[1]: expected what iotix.chaos.link")
    says([[iotix.scenario { name = "c", duration = 1, groups = groups, timeline = { a = chaos.partition() } }]], "got the key a")
  end)

  it("knows profiles of the author's own, by name, version and file", function()
    local t = plan([[
      chaos.link(chaos.profile { name = "depot", source = "measured", version = 2, latency = "5ms" }, { loss = "1%" }),
      chaos.link("depot"), chaos.link("depot@2"), chaos.link(chaos.load("yard.json"), { name = "a" }), chaos.link("yard", { name = "b" }),
      chaos.link({ trace = chaos.trace("walk.csv", { loop = true }) }) ]],
      { ["yard.json"] = '{"name":"yard","version":3,"fault":{"loss":0.5}}',
        ["walk.csv"] = "time,rtt,loss,rate\n0,20,0,\n1,50,1%,1000000\n" })
    assert.are.same({ { latency = "5ms", loss = "1%" }, { name = "depot", version = 2 } }, { t[1].fault, t[1].profile })
    assert.are.same({ { latency = "5ms" }, { latency = "5ms" } }, { t[2].fault, t[3].fault })
    assert.are.same({ { loss = 0.5 }, { name = "yard", version = 3 } }, { t[4].fault, t[4].profile })
    assert.are.same(t[4].fault, t[5].fault)
    assert.is_true(t[6].fault.trace["repeat"])
  end)

  it("prints its profiles as files that can be loaded, each with its source", function()
    local r = proc.run({ "chaos", "profiles", "--json" }, 20)
    assert.are.equal(0, r.code, r.err)
    local list = json.decode(r.out).profiles
    local names, dir = {}, proc.dir()
    for i, p in ipairs(list) do
      names[i] = p.name
      assert.is_true(#p.source > 0 and #p.description > 0, p.name)
      local one = proc.run({ "chaos", "profiles", p.name }, 20)
      local file = proc.write(dir .. "/" .. p.name .. ".json", one.out)
      local checked = proc.run({ "chaos", "check", file }, 20)
      assert.are.equal(0, checked.code, checked.err)
      assert.is_truthy(checked.out:find(p.name .. "@1", 1, true), checked.out)
    end
    assert.are.equal("2g 3g 5g edge intermittent-connectivity leo lora-like lte lte-m nb-iot poor-cellular satellite-link train-tunnel "
      .. "wifi-congested", table.concat(names, " "))
    local bad = proc.run({ "chaos", "check", proc.write(dir .. "/bad.json", '{"name":"x","fault":{"loss":7}}') }, 20)
    assert.are.equal(104, bad.code)
    assert.is_truthy(bad.err:find("bad.json: fault: ", 1, true), bad.err)
    for _, args in ipairs { { "profiles", "-n", "5" }, { "profiles", "lte", "--seed", "1" }, { "check", dir .. "/lte.json", "--json" } } do
      local r2 = proc.run({ "chaos", unpack(args) }, 20)
      assert.are.equal(2, r2.code, table.concat(args, " "))
      assert.is_truthy(r2.err:find("has no effect here", 1, true), r2.err)
    end
    local unknown = proc.run({ "chaos", "profiles", "lta" }, 20)
    assert.are.equal(2, unknown.code)
    assert.is_truthy(unknown.err:find("did you mean \"lte\"?", 1, true), unknown.err)
  end)

  it("runs functions, heals what they began, and cancels them at the end of their window", function()
    local r = proc.run({ scenario [[
return iotix.scenario { name = "c", groups = groups, duration = "3s", timeline = {
  chaos.custom(function(run)
    local e = assert(run:chaos(chaos.clock { offset = "1h", name = "inner" }))
    run:log("inner " .. e:status().state)
    iotix.sleep("200ms")
  end, { name = "outer", from = "200ms" }),
  chaos.custom(function(run)
    assert(run:chaos(chaos.clock { offset = "2h", name = "left" }))
    iotix.spawn(function() iotix.sleep("2s") run:log("a task that was left alone") end)
    iotix.sleep("2s")
    run:log("was not cancelled")
  end, { name = "long", from = "200ms", to = "600ms" }),
  chaos.custom(function() error("on purpose") end, { name = "broken" }),
},
test = function(run)
  run:at("1.5s")
  local by = {}
  for _, e in ipairs(run:experiments()) do by[e.name] = e end
  iotix.expect(by.outer.state).equals("healed")
  iotix.expect(by.long.state).equals("healed")
  iotix.expect(by.broken.state).equals("failed")
  iotix.expect(by.broken.error:find("on purpose", 1, true) ~= nil).equals(true)
  for _, name in ipairs { "inner", "left" } do
    iotix.expect(by[name].state).equals("stopped")
    iotix.expect(by[name].affected).equals(25)
  end
  local ok, problem = pcall(run.chaos, run, 5)
  iotix.expect(ok).equals(false)
  iotix.expect(problem:find("run:chaos: expected", 1, true) ~= nil).equals(true)
end }
]], "-q", "--log-level", "info" }, 40)
    assert.are.equal(110, r.code, r.err .. r.out) -- of the function that raised, and of nothing else
    assert.is_truthy(r.err:find("FAIL  experiment broken failed", 1, true) or r.out:find("FAIL  experiment broken failed", 1, true))
    assert.is_falsy((r.err .. r.out):find("✗", 1, true), r.err .. r.out)
    assert.is_truthy(r.err:find("inner running", 1, true), r.err)
    assert.is_falsy(r.err:find("not cancelled", 1, true) or r.err:find("left alone", 1, true), r.err)
  end)

  it("impairs groups of a run that is on, changes it and heals it", function()
    local r = proc.run({ scenario [[
return iotix.scenario { name = "c", groups = groups, test = function(run)
  local sensors, valves = run:group("sensors"), run:group("valves")
  assert(sensors:wait("online", 20, "10s"))
  local bad = assert(sensors:link("lte", { loss = false, fraction = 0.5 }))
  assert(sensors:link({ latency = "5ms" }, { count = 3 }))
  local cut = assert(valves:partition { direction = "up" })
  local all = assert(run:chaos(chaos.link({ latency = "1ms" }, { name = "everybody" })))
  iotix.expect(bad:status().affected).equals(10)
  iotix.expect(cut:status().state).equals("running")
  assert(bad:change("3g", { loss = false }))
  iotix.expect(sensors:heal()).equals(2)
  iotix.expect(bad:status().state).equals("stopped")
  iotix.expect(cut:status().state).equals("running")
  iotix.expect(sensors:heal()).equals(0)
  iotix.expect(all:status().state).equals("running")
  assert(cut:stop())
  local ok, problem = pcall(sensors.link, sensors, "lte", { group = "valves" })
  iotix.expect(not ok and problem:find("it is this group", 1, true) ~= nil).equals(true)
  ok, problem = pcall(sensors.link, sensors, { loss = 2 })
  iotix.expect(not ok and problem:find("group:link: fault: loss", 1, true) ~= nil).equals(true)
end }
]], "-q" }, 40)
    assert.are.equal(0, r.code, r.err .. r.out)
  end)
end)
