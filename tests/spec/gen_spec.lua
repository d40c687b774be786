-- iotix.gen: every constructor in the spelling of Lua, what it refuses, and that its values depend on the seed alone. What the
-- generators make is tested in tests/unit/telemetry.
local proc = require "integration.proc"

-- Runs `body` in the behaviour of three devices, which publish when it has raised nothing.
local function passes(body)
  local path = proc.write(proc.dir() .. "/s.lua", string.format([[
local iotix = require "iotix"
local gen = iotix.gen
local g = iotix.group { name = "g", count = 3, behaviour = function(dev)
  %s
  assert(dev:connect())
  for _ in dev:every("100ms") do dev:publish("ok", "1") end
end }
return iotix.scenario { name = "gen", groups = { g }, test = function()
  for i = 1, 3 do iotix.expect.message { topic = "g/g-" .. i .. "/ok", within = "10s" } end
end }
]], body))
  local r = proc.run({ path, "-q" }, 40)
  assert.are.equal(0, r.code, r.err .. r.out)
end

-- What the scenario's author is told of an expression that makes a generator.
local function problem(expression)
  local path = proc.write(proc.dir() .. "/s.lua", string.format([[
local iotix = require "iotix"
local gen = iotix.gen
local g = %s
return iotix.scenario { name = "gen", groups = { iotix.group { name = "g", behaviour = function() return g end } } }
]], expression))
  local r = proc.run({ "--check", path }, 20)
  assert.are_not.equal(0, r.code, expression .. " was taken")
  local text = r.err .. r.out
  assert.is_truthy(text:find("s.lua:3", 1, true), text) -- the author's line
  return text
end

local function says(expression, ...)
  local text = problem(expression)
  for _, part in ipairs { ... } do
    assert.is_truthy(text:find(part, 1, true), expression .. "\n  said: " .. text .. "\n  without: " .. part)
  end
end

describe("iotix.gen", function()
  teardown(proc.cleanup)

  it("takes every example of the reference", function()
    local lines, n = {}, 0
    for block in proc.read(proc.root .. "/docs/reference/generators.md"):gmatch("```lua\n(.-)```") do
      local expression = block:match("^gen%..*") or block:match("= (gen%..-})")
      lines[#lines + 1] = "do local g = " .. expression .. " for _ = 1, 3 do assert(g() ~= nil) end end"
      n = n + 1
    end
    assert.is_true(n >= 20)
    passes(table.concat(lines, "\n"))
  end)

  it("makes values of each kind", function()
    passes [[
local function near(a, b) assert(math.abs(a - b) < 1e-6, a) end
near(gen.sine { mean = 5, amplitude = 2, period = "4s", phase = 0.25 }(), 7)
near(gen.sine { mean = 5, amplitude = 2, period = 4, phase = 0.25 }(), 7) -- seconds
near(gen.square { low = 1, high = 3, period = "10s" }(), 3)
near(gen.saw { min = 1, max = 3, period = "1h" }(), 1)
near(gen.saw { min = 1, max = 3, period = "1h", falling = true }(), 3)
near(gen.triangle { min = 1, max = 3, period = "1h", phase = 0.5 }(), 3)
near(gen.seasonal { base = 5, weekly = { 2, 2, 2, 2, 2, 2, 2 } }(), 10)
near(gen.ou { mean = 5, reversion = 1, volatility = 2 }(), 5)
assert(gen.step { values = { "a", "b" }, hold = "1h" }() == "a")
local n = gen.poisson { mean = 4 }() assert(n >= 0 and n == math.floor(n))
assert(gen.weibull { shape = 2, scale = 3, min = 1 }() >= 1)
assert(gen.lognormal { mean = 3, stddev = 1, max = 4 }() <= 4)
local m = gen.markov { states = { "on", "off" }, transitions = { { 0, 1 }, { 1, 0 } }, start = 1 }
assert(m() == "off" and m() == "on" and m() == "off")
local p = gen.sequence { min = 1, max = 3, direction = "pingpong" }
for _, v in ipairs { 1, 2, 3, 2, 1, 2 } do assert(p() == v) end
local at = gen.gps { route = { { 50, 8 }, { 51, 8 } }, speed_kmh = 36 }()
near(at.lat, 50) near(at.lon, 8) assert(type(at.heading) == "number" and type(at.speed) == "number")
assert(gen.constant { value = "x", anomalies = { { type = "dropout", at = 0 } } }() == nil)
near(gen.constant { value = 2, anomalies = { { type = "spike", magnitude = 3, at = "0s", duration = "1h" } } }(), 5)
]]
  end)

  it("lets time go on from the first call", function()
    passes [[
local s = gen.step { values = { 1, 2, 3, 4 }, hold = "100ms" }
dev:sleep("150ms") -- before: does not count
assert(s() == 1)
local begin = iotix.now()
repeat dev:sleep("20ms") until s() ~= 1 or iotix.now() - begin > 5
local passed = iotix.now() - begin
assert(passed >= 0.099 and passed < 5, passed)
local o = gen.ou { mean = 0, start = 100, reversion = 50, volatility = 0 }
assert(o() == 100 and o() == 100) -- no time has passed
dev:sleep("100ms")
assert(o() < 2)
]]
  end)

  it("refuses what is not a key, in Lua's spelling", function()
    says("gen.sine { amplitude = 1, periodMs = 5 }", 'unknown key "periodMs"',
      "valid: amplitude, anomalies, max, mean, min, noise, period, phase", 'did you mean "period"?')
    says("gen.sine { amplitude = 1, perod = 5 }", 'unknown key "perod"', 'did you mean "period"?')
    says("gen.sine { amplitude = 1, period = '1s', type = 'walk' }", 'unknown key "type"')
    says("gen.walk { 1, 2 }", "unknown key 1")
    says("gen.seasonal { base = 1, daily = { peakHour = 3 } }", 'daily: unknown key "peakHour"', "peak_hour")
    says("gen.walk { step = 1, anomalies = { { type = 'drift', perSecond = 3 } } }", 'anomalies[1]: unknown key "perSecond"', "per_second")
    says("gen.walk { step = 1, anomalies = { 5 } }", "anomalies[1]: expected a table")
    says("gen.walk { step = 1, anomalies = {} }", "anomalies: expected a list")
    says("gen.walk(5)", "expected a table of options, got number")
  end)

  it("says what is wrong with a value, in Lua's spelling", function()
    says("gen.sine { amplitude = 1 }", "iotix.gen.sine: period: missing")
    says("gen.sine { amplitude = 1, period = 'x' }", "iotix.gen.sine: period: ")
    says("gen.sine { amplitude = 1, period = 0 }", "period: must be above 0")
    says("gen.step { values = {}, hold = '1s' }", "values: ")
    says("gen.gps { route = { { 1, 2 }, { 3, 4 } } }", "speed_kmh")
    says("gen.gps { route_file = 'x.gpx', speed_kmh = 3 }", "iotix.gen.gps: ")
    says("gen.walk { step = 1, anomalies = { { type = 'stuck' } } }", "say when the stuck comes: probability, at or every")
    says("gen.walk { step = 1, anomalies = { { type = 'stick', at = 1 } } }", 'unknown "stick"', 'did you mean "stuck"?')
    says("gen.markov { states = { 1, 2 }, transitions = { { 0.5, 0.5 }, { 0.5, 0.4 } } }", "must sum up to 1")
  end)

  it("has no constructor for what Lua does itself", function()
    passes [[
for _, name in ipairs { "object", "array", "correlated", "custom", "random", "replay" } do
  assert(rawget(gen, name) == nil and not pcall(function() return gen[name] {} end), name)
end
]]
  end)
end)

describe("the values of a generator", function()
  teardown(proc.cleanup)

  it("are the same for the same seed on any number of shards", function()
    local function values(seed, shards)
      local dir = proc.dir()
      local path = proc.write(dir .. "/s.lua", [[
local iotix = require "iotix"
local gen = iotix.gen
local g = iotix.group { name = "g", count = 4, qos = 1, behaviour = function(dev)
  local list = { gen.poisson { mean = 4 }, gen.weibull { shape = 2, scale = 3 }, gen.lognormal { mu = 0, sigma = 1 },
    gen.markov { states = { 1, 2 }, transitions = { { 0.5, 0.5 }, { 0.5, 0.5 } } },
    gen.walk { step = 1, anomalies = { { type = "spike", magnitude = 9, probability = 0.2 } } } }
  local line = {}
  for i = 1, 50 do line[i] = string.format("%.12g", list[1 + i % #list]()) end
  iotix.log("info", "values " .. dev.id .. " " .. table.concat(line, ","))
end }
return iotix.scenario { name = "gen", groups = { g }, duration = "2s" }
]])
      local r = proc.run({ path, "-v", "--seed", tostring(seed), "--shards", tostring(shards) }, 40)
      local found = {}
      for id, line in (r.err .. r.out):gmatch("values (g%-%d) ([%d.,e+-]+)") do found[id] = line end
      return found, r.err .. r.out
    end
    local one, text = values(7, 1)
    for i = 1, 4 do assert.is_string(one["g-" .. i], text) end
    assert.are.same(one, (values(7, 2)))
    assert.are_not.same(one, (values(8, 1)))
    assert.are_not.equal(one["g-1"], one["g-2"])
  end)
end)
