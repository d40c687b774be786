-- Expectations: each kind once met and once not, what a failed one says, several at the same time, and bad input.
local proc = require "integration.proc"
local cjson = require "cjson"

local SCENARIO = [[
local iotix = require "iotix"
local expect = iotix.expect
local g = iotix.group { name = "g", qos = 1, count = 3, behaviour = function(dev)
  assert(dev:connect())
  for n in dev:every("50ms") do dev:publish("t", { t = 15 + n %% 10, n = n, ok = true, deep = { list = { "a", "b" } } }) end
end }
-- Runs what has to fail: its checks are what counts.
local function fails(fn) if pcall(fn) then expect(fn, "it should have failed").equals(1) end end
-- What an author's mistake says.
local function mistake(pattern, fn)
  local ok, problem = pcall(fn)
  if ok or type(problem) ~= "string" or not problem:find(pattern) or not problem:find("^[^:]*s%%.lua:%%d+: ") then
    expect(tostring(problem), "mistake").matches(pattern)
  end
end
return iotix.scenario { name = "expect", groups = { g }, test = function(run)
  expect.state { group = "g", at_least = 3 }
%s
end }
]]

local function run(test)
  local dir = proc.dir()
  local file, json = proc.write(dir .. "/s.lua", SCENARIO:format(test)), dir .. "/summary.json"
  local r = proc.run({ file, "-q", "--summary-json", json }, 30)
  r.text = r.err .. r.out
  r.summary = cjson.decode((assert(proc.read(json), r.text)))
  r.checks = {}
  for _, c in ipairs(r.summary.checks) do r.checks[c.name] = c end
  return r
end

local function met(r, name, detail)
  local c = assert(r.checks[name], "no check \"" .. name .. "\" in " .. r.text)
  assert.is_true(c.pass, name .. ": " .. c.detail)
  if detail then assert.is_truthy(c.detail:find(detail), c.detail) end
end

local function failed(r, name, ...)
  local c = assert(r.checks[name], "no check \"" .. name .. "\" in " .. r.text)
  assert.is_false(c.pass, name .. ": " .. c.detail)
  for _, detail in ipairs { ... } do assert.is_truthy(c.detail:find(detail), name .. ": " .. c.detail) end
end

describe("an expectation", function()
  teardown(proc.cleanup)

  it("of each kind is met, or says what came closest", function()
    local r = run [[
  expect.all {
    function() expect.message { topic = "g/+/t", where = { t = { min = 20, max = 23 }, ok = true, ["deep.list.2"] = "b" } } end,
    function() expect.message { topic = "g/g-1/t", label = "second of two", count = 2 } end,
    function() expect.no_message { topic = "g/+/t", where = { t = 99 }, within = "200ms" } end,
    function() expect.count { topic = "g/+/t", at_least = 5 } end,
    function() expect.count { topic = "g/+/t", equals = 3, within = "2s", where = { n = 25 }, label = "three of them" } end,
    function() expect.value { topic = "g/+/t", path = "t", min = 15, max = 24, within = "200ms" } end,
    function() expect.order { topics = { "a/+/boot", "a/+/up" }, trigger = function()
      run:publish("a/x/boot", "") run:publish("a/x/boot", "") run:publish("a/x/up", "") end } end,
    function() expect.state { group = "g", equals = 3, always = true, within = "200ms" } end,
    function() local n = 0 expect.eventually { function() n = n + 1 return n > 3 end, every = "20ms" } end,
    function() expect.always { function() return true end, within = "100ms" } end,
    function() expect.never { function() return false end, within = "100ms" } end,
    function() expect(3, "three").one_of { 1, 3 } end,
  }
  local winner = expect.any { label = "one of them", function() expect.message { topic = "nowhere", within = "20s" } end,
    function() expect.message { topic = "g/g-2/t" } end }
  expect(winner, "winner").equals(2)
  local late = false
  expect.any { label = "at once", function() expect.all { function() iotix.sleep("100ms") late = true end } end, function() end }
  expect.never { function() return late end, within = "300ms", label = "who is cut off does nothing more" }]]
    assert.are.equal(0, r.code, r.text)
    met(r, "message on g/+/t within 5 s", "^after %d+ ms$")
    met(r, "second of two")
    met(r, "no message on g/+/t within 0.2 s", "^%d+ others came$")
    met(r, "at least 5 messages on g/+/t within 5 s", "^%d+ came")
    met(r, "three of them", "^3 came in")
    met(r, "t on g/+/t in range for 0.2 s", "^%d+ values, 1%d to 2?%d")
    met(r, "a/+/boot before a/+/up within 5 s")
    met(r, "3 of g online for 0.2 s")
    met(r, "eventually, within 5 s")
    met(r, "always, for 0.1 s", "^%d times$")
    met(r, "never, for 0.1 s")
    met(r, "three is one of a list")
    met(r, "one of them", "^number 2: message on g/g%-2/t")
    assert.is_nil(r.checks["message on nowhere within 20 s"], "who did not win is no check")
    assert.is_true(r.summary.run.elapsedS < 10, "who did not win is cut off")
  end)

  it("that fails is recorded with its nearest misses", function()
    local r = run [[
  local go = { function() fails(function() expect.state { group = "g", at_least = 9, within = "200ms" } end) end,
    function() fails(function() expect.state { group = "g", at_most = 2, always = true, within = "200ms" } end) end,
    function() fails(function() expect.message { topic = "g/+/t", where = { t = { min = 25.5 }, ok = true }, within = "700ms" } end) end,
    function() fails(function() expect.message { topic = "g/+/t", label = "mine", within = "200ms",
      where = function() return false, "not mine" end } end) end,
    function() fails(function() expect.message { topic = "silence/#", within = "200ms" } end) end,
    function() fails(function() expect.no_message { topic = "g/+/t", within = "5s" } end) end,
    function() fails(function() expect.count { topic = "g/+/t", at_most = 2, within = "5s" } end) end,
    function() fails(function() expect.value { topic = "g/+/t", path = "t", max = 16, within = "700ms" } end) end,
    function() fails(function() expect.value { topic = "g/+/t", path = "nix", exists = false, at_least = 9999, within = "100ms" } end) end,
    function() fails(function() expect.order { topics = { "g/+/boot", "g/+/t" }, within = "1s" } end) end,
    function() fails(function() expect.order { topics = { "b/+/boot", "b/+/up" }, within = "200ms", devices = 2, trigger = function()
      run:publish("b/x/boot", "") end } end) end,
    function() local n = 0 fails(function() expect.eventually { function() n = n + 1 return false, n end, within = "100ms" } end) end,
    function() fails(function() expect.always { function() return false, "down" end, within = "5s" } end) end,
    function() fails(function() expect.never { function() return true, "up" end, within = "5s" } end) end }
  local left = #go
  for _, fn in ipairs(go) do iotix.spawn(function() fn() left = left - 1 end) end
  expect.eventually { function() return left == 0, left end }
  fails(function() expect.any { label = "neither", function() expect(1, "one").equals(2) end, function() expect(3, "three").above(4) end } end)
  expect.all { function() expect(5, "five").equals(6) end, function() iotix.sleep("100ms") expect(7, "seven").equals(7) end }
  expect(1, "never reached").equals(1)]]
    assert.are.equal(110, r.code, r.text)
    failed(r, "at least 9 of g online within 0.2 s", "^3 came closest")
    failed(r, "at most 2 of g online for 0.2 s", "^3 after")
    failed(r, "message on g/+/t within 0.7 s", "none came, %d+ others on the topic did not match; nearest: g/g%-%d/t {.*\"t\":24} %(",
      "%(t is 24, expected at least 25.5%)", "|.*|")
    failed(r, "mine", "%(not mine%)")
    failed(r, "message on silence/# within 0.2 s", "none came, nothing on the topic")
    failed(r, "no message on g/+/t within 5 s", "^one came after %d+ ms: g/g%-%d/t ")
    failed(r, "at most 2 messages on g/+/t within 5 s", "^3 came in")
    failed(r, "t on g/+/t in range for 0.7 s", "furthest: g/g%-%d/t .*t is 24, expected at most 16")
    failed(r, "nix on g/+/t in range for 0.1 s", "expected 9999")
    failed(r, "g/+/boot before g/+/t within 1 s", "^g/g%-%d/t .* before anything on g/%+/boot of g%-%d$")
    failed(r, "b/+/boot before b/+/up within 0.2 s", "0 of 2 came to the end; nearest: x got to b/%+/boot")
    failed(r, "eventually, within 0.1 s", "never in %d tries; it said: %d | %d")
    failed(r, "always, for 5 s", "it said: \"down\"")
    failed(r, "never, for 5 s", "it said: \"up\"")
    failed(r, "neither", "^one equals 2: is 1 | three above 4: is 3$")
    failed(r, "five equals 6")
    met(r, "seven equals 7") -- all of them come to their end
    assert.is_nil(r.checks["one equals 2"])
    assert.is_nil(r.checks["never reached equals 1"])
    assert.is_true(r.summary.run.elapsedS < 8)
  end)

  it("tells the author's mistakes at his line", function()
    local r = run [[
  mistake('where%.t: unknown key "mim"; valid: .*did you mean "min"', function() expect.message { topic = "x", where = { t = { mim = 3 } } } end)
  mistake("where%.t: expected a value or conditions", function() expect.message { topic = "x", where = { t = {} } } end)
  mistake("where: expected a function, or a table", function() expect.message { topic = "x", where = 3 } end)
  mistake("say how many", function() expect.count { topic = "x" } end)
  mistake("give equals, or", function() expect.count { topic = "x", equals = 1, at_least = 2 } end)
  mistake("at_least is above at_most", function() expect.count { topic = "x", at_most = 1, at_least = 2 } end)
  mistake("say what it is to be", function() expect.value { topic = "x", path = "t" } end)
  mistake("path is missing", function() expect.value { topic = "x", min = 1 } end)
  mistake("two topic filters or more", function() expect.order { topics = { "x" } } end)
  mistake('no group "q"; valid: g', function() expect.state { group = "q", equals = 1 } end)
  mistake('unknown state "onlin"; valid: ', function() expect.state { group = "g", state = "onlin", equals = 1 } end)
  mistake("every: at least 1ms", function() expect.always { function() end, every = "1us" } end)
  mistake("expected functions", function() expect.all { 3 } end)
  mistake("expected a list of functions", function() expect.any {} end)
  mistake("one_of: expected a list", function() expect(1).one_of(3) end)
  -- A mistake inside of one of several comes through, and what runs beside it is over.
  local ok, problem = pcall(expect.any, { function() error("oops") end, function() iotix.sleep("10ms") error("oops too") end })
  expect(ok == false and tostring(problem), "mistake inside").matches("oops")]]
    assert.are.equal(0, r.code, r.text)
  end)
end)

describe("docs/how-to/write-a-test.md", function()
  teardown(proc.cleanup)

  it("has examples that pass", function()
    local page, started = proc.read(proc.root .. "/docs/how-to/write-a-test.md"), {}
    for example in page:gmatch("```lua\n(.-)```") do
      started[#started + 1] = proc.start(proc.command { proc.program, proc.write(proc.dir() .. "/s.lua", example), "-q" })
    end
    assert.are.equal(4, #started)
    for _, p in ipairs(started) do assert.are.equal(0, p.wait(30), p.err() .. p.out()) end
  end)
end)
