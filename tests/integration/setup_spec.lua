-- What surrounds and divides a run: setup and teardown, barriers, stages, warmup.
local proc = require "integration.proc"
local cjson = require "cjson"

-- keys: of iotix.scenario; behaviour: of the group "g".
local function text(keys, behaviour, group)
  return string.format([[
local iotix = require "iotix"
local seen = { n = 0 }
local g = iotix.group { name = "g", qos = 1, %s behaviour = function(dev)
%s
end }
return iotix.scenario { name = "acts", groups = { g }, stop_timeout = "2s",
%s }
]], group or "", behaviour or 'assert(dev:connect()) for n in dev:every("50ms") do dev:publish("t", { n = n }) end', keys)
end

-- Starts a run; what it returns waits for its end. Several of them mostly sleep, and do so at the same time.
local function start(scenario, ...)
  local dir = proc.dir()
  local json = dir .. "/summary.json"
  local p = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", scenario), "--progress", "plain", "--progress-interval",
    "1s", "--summary-json", json, ... })
  return function()
    local r = { code = p.wait(30), text = p.err() .. p.out(), json = json }
    local s = proc.read(json)
    r.summary = s and cjson.decode(s)
    for _, reason in ipairs(r.summary and r.summary.verdict.reasons or {}) do r.text = r.text .. "\nreason: " .. reason.text end
    return r
  end
end

local function run(...) return start(...)() end

-- All texts at the same time: their results.
local function run_all(scenarios)
  local waits, results = {}, {}
  for i, scenario in ipairs(scenarios) do waits[i] = start(scenario) end
  for i, wait in ipairs(waits) do results[i] = wait() end
  return results
end

local function says(r, pattern) assert.is_truthy(r.text:find(pattern), "no \"" .. pattern .. "\" in\n" .. r.text) end

describe("setup and teardown", function()
  teardown(proc.cleanup)

  it("surround the run, and what setup returns reaches behaviours, test and teardown", function()
    local r = run(text([[
      setup = function(run)
        iotix.spawn(function() while true do iotix.sleep("10ms") seen.n = seen.n + 1 end end) -- ends with setup
        iotix.sleep("200ms")
        iotix.expect.message { topic = "hello", trigger = function() run:publish("hello", "x") end }
        return { tokens = { "a", "b", "c", "d" }, deep = { limit = 7 } }
      end,
      test = function(run)
        local before = seen.n
        iotix.expect.count { topic = "g/+/token", at_least = 4 }
        iotix.sleep("50ms")
        iotix.expect(before > 0 and seen.n == before, "what setup spawned is over").truthy()
        iotix.expect(iotix.setup_data("deep", "limit"), "limit").equals(7)
        iotix.expect(#iotix.setup_data().tokens, "tokens").equals(4)
        iotix.expect(iotix.setup_data("nix", 3), "what is not there").equals(nil)
        iotix.expect(iotix.setup_data("tokens", 9), "past the end").equals(nil)
        iotix.expect(pcall(iotix.setup_data, {}), "no key").equals(false)
      end,
      teardown = function(run)
        run:log("bye " .. iotix.setup_data("tokens", 2))
        iotix.expect.no_message { topic = "g/#", within = "100ms", label = "all devices are gone" }
      end]], [[
      assert(dev:connect())
      for _ in dev:every("50ms") do dev:publish("token", iotix.setup_data("tokens", dev.index)) end]], "count = 4,"), "--shards", "2")
    assert.are.equal(0, r.code, r.text)
    says(r, "phase=setup")
    says(r, "phase=teardown")
    says(r, "bye b")
    assert.are.equal(9, #r.summary.checks)
    assert.are.equal(0, r.summary.checks[1].atS) -- before the run's time began
  end)

  it("are bounded: 100 and 101", function()
    local second = start(text [[duration = "300ms", teardown_timeout = "300ms", teardown = function() iotix.sleep("20s") end]])
    local r = run(text [[duration = "1s", setup_timeout = "300ms", setup = function() iotix.sleep("20s") end,
      teardown = function() iotix.log("never") end]])
    assert.are.equal(100, r.code, r.text)
    says(r, "the setup did not finish within 300 ms")
    assert.is_falsy(r.text:find("never", 1, true), "what was not set up is not torn down")
    assert.are.equal(0, r.summary.totals.devices.started)
    r = second()
    assert.are.equal(101, r.code, r.text)
    says(r, "the teardown did not finish within 300 ms")
    assert.is_true(r.summary.totals.messages.sent > 0)
  end)

  it("fail the run by an error, an expectation, an abort: 107, 110, 108", function()
    local cases = {
      { [[setup = function() error("no luck") end]], 107, "error in the setup: .*no luck" },
      { [[setup = function() iotix.spawn(function() error("beside") end) iotix.sleep("20s") end]], 107, "error in the setup: .*beside" },
      { [[setup = function() iotix.expect(1, "one").equals(2) end]], 110, "stopped by the setup: one equals 2" },
      { [[setup = function(run) run:fail("not today") end]], 110, "not today" },
      { [[setup = function() return print end]], 107, "cannot be given to the devices" },
      { [[setup = function() return { ("x"):rep(600000), ("x"):rep(600000) } end]], 107, "more than 1024 KB" },
      { [[setup = function(run) local ok, why = run:group("g"):stop() error(why, 0) end]], 107, "the run is not on yet" },
      { [[teardown = function() iotix.abort("enough") end]], 108, "stopped by the teardown: enough" },
      { [[teardown = function(run) error("left something") end]], 107, "error in the teardown: .*left something" },
    }
    local scenarios = {}
    for i, c in ipairs(cases) do scenarios[i] = text([[duration = "200ms", ]] .. c[1]) end
    local results = run_all(scenarios)
    for i, c in ipairs(cases) do
      local r = results[i]
      assert.are.equal(c[2], r.code, c[1] .. r.text)
      says(r, c[3])
    end
  end)

  it("tear down whatever the run came to", function()
    local bye = [[teardown = function() iotix.log("bye") end, ]]
    local cases = {
      { [[test = function() error("oops") end]], 107 },
      { [[test = function() iotix.expect.count { topic = "g/+/t", at_least = 1 } iotix.expect(1).equals(2) end]], 110 },
      { [[test = function() iotix.abort() end]], 108 },
      { [[duration = "20s", thresholds = { messages_sent = { "count < 3", abort = true } }]], 99 },
    }
    local scenarios = {}
    for i, c in ipairs(cases) do scenarios[i] = text(bye .. c[1]) end
    local results = run_all(scenarios)
    for i, c in ipairs(cases) do
      local r = results[i]
      assert.are.equal(c[2], r.code, c[1] .. r.text)
      says(r, "bye")
    end
    local p = proc.start(proc.command { proc.program, proc.write(proc.dir() .. "/s.lua", text(bye .. [[duration = "1h"]])), "--progress", "plain" })
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    p.signal(2)
    assert.are.equal(105, p.wait(10), p.err())
    assert.is_truthy(p.err():find("bye"), p.err())
  end)
end)

describe("a barrier", function()
  teardown(proc.cleanup)

  it("holds devices of all shards until all are there", function()
    local r = run(text([[test = function() iotix.expect.count { topic = "g/+/through", at_least = 10, within = "10s" } end]], [[
      assert(dev:connect())
      if dev.index == 5 then dev:sleep("400ms") end
      for round = 1, 2 do -- a barrier can be used again
        assert(iotix.barrier("start", "all", "5s"))
        dev:publish("through", tostring(round) .. (iotix.elapsed() >= 0.4 and " in time" or " too early"))
      end
      dev:sleep("1h")]], "count = 5,"), "--shards", "2")
    assert.are.equal(0, r.code, r.text)
    assert.is_falsy(r.text:find("too early"))
  end)

  it("lets pass as soon as enough are there, and tells how many were when it is too late", function()
    local r = run(text([[test = function()
        iotix.expect.all { function() iotix.expect.count { topic = "g/+/few", at_least = 4 } end,
          function() iotix.expect.count { topic = "g/+/late", at_least = 4,
            where = function(m) return m.payload == 'barrier "many": 4 of 9 were there after 300 ms timeout', m.payload end } end,
          function() iotix.expect.count { topic = "g/+/bad", at_least = 1,
            where = function(m) return m.payload:find('others wait there for another number'), m.payload end } end } end]], [[
      assert(dev:connect())
      dev:publish("few", tostring(iotix.barrier("few", 2)), { retain = true }) -- whoever listens later hears it too
      local _, why, code = iotix.barrier("many", 9, "300ms")
      dev:publish("late", why .. " " .. code, { retain = true })
      local ok, problem = pcall(iotix.barrier, "odd", 20 + dev.index, "300ms")
      if not ok then dev:publish("bad", tostring(problem), { retain = true }) end
      for _, bad in ipairs { { 5 }, { "" }, { ("x"):rep(64) }, { "a", 0 }, { "a", 1.5 }, { "a", "some" }, { "a", 2, "soon" } } do
        assert(not pcall(iotix.barrier, unpack(bad)))
      end
      dev:sleep("1h")]], "count = 4,"), "--shards", "2")
    assert.are.equal(0, r.code, r.text)
  end)

  it("is for behaviours in real time, and its names are few", function()
    local r = run(text([[test = function() iotix.barrier("x") end]]))
    assert.are.equal(107, r.code, r.text)
    says(r, "works in the behaviour of a device")
    local out = proc.dir() .. "/m.ndjson"
    r = proc.run({ proc.write(proc.dir() .. "/s.lua", text([[duration = "10s"]],
      [[assert(dev:connect()) dev:publish("x", (select(2, iotix.barrier("x"))))]])), "-q", "--virtual", "--sink", "ndjson=" .. out }, 20)
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(proc.read(out):find("there are none in virtual time"), proc.read(out))
    r = run(text([[duration = "20s"]], [[
      assert(dev:connect())
      for i = 1, 60 do iotix.spawn(iotix.barrier, dev.id .. "." .. i, 2) end
      dev:sleep("1h")]], "count = 30,"), "--shards", "2")
    assert.are.equal(107, r.code, r.text)
    says(r, "more than 1000 barriers")
  end)
end)

describe("stages and warmup", function()
  teardown(proc.cleanup)

  local function by_metric(r)
    local t = {}
    for _, one in ipairs(r.summary.thresholds) do t[one.metric] = one end
    return t
  end

  it("divide a run, in the scenario", function()
    local r = run(text [[
      stages = { { name = "low", duration = "0.5s", devices = 2 }, { name = "step", duration = "1ms", devices = 8 },
        { name = "high", duration = "1500ms", devices = 8 } },
      warmup = "600ms",
      thresholds = { ["messages_sent{stage:high}"] = "rate > 60", ["messages_sent{stage:low}"] = { "count > 1", no_data = "pass" },
        messages_sent = "rate > 60", publish_latency = { "p99 < 10s", "count > 1" } }]])
    assert.are.equal(0, r.code, r.text)
    says(r, "stages +low 500ms to 2 → step")
    says(r, "warmup +600ms, left out of the statistics")
    says(r, "stage=low")
    says(r, "stage=high")
    says(r, "the warmup is over: statistics begin")
    local s = r.summary
    assert.are.equal(8, s.totals.devices.started)
    assert.are.equal(0.6, s.run.warmupS)
    assert.is_true(s.run.elapsedS >= 2 and s.run.measuredS <= s.run.elapsedS - 0.6)
    assert.are.equal(3, #s.run.stages)
    assert.are.equal("noData", by_metric(r)["messages_sent{stage:low}"].state) -- all of it was warmup
    -- 8 devices at 20 a second; with what was before the warmup ended it would be more than that
    assert.is_true(s.totals.messages.sent <= 8 * 20 * s.run.measuredS + 16, s.totals.messages.sent)
  end)

  it("divide a run, from the command line", function()
    local second = start(text [[duration = "1h"]], "-d", "1200ms", "-n", "6", "--ramp", "300ms", "--warmup", "200ms")
    local r = run(text [[duration = "1h", thresholds = { ["messages_sent{stage:a}"] = "count > 5" }]], "--stage", "a=1s:3", "--stage", "300ms:1")
    assert.are.equal(0, r.code, r.text)
    says(r, "stage%-2 300ms to 1   %[flag %-%-stage%]")
    assert.are.equal(1.3, r.summary.run.durationS)
    assert.is_true(by_metric(r)["messages_sent{stage:a}"].actual > 5)
    r = second()
    assert.are.equal(0, r.code, r.text)
    says(r, "ramp 1s .*%[flag %-%-ramp%]")
    assert.are.equal(6, r.summary.totals.devices.started)
  end)

  it("measure nothing when the warmup is longer than the run", function()
    local r = run(text [[test = function() iotix.sleep("200ms") end, warmup = "20s", thresholds = { messages_sent = "count > 0" }]])
    assert.are.equal(99, r.code, r.text)
    assert.are.equal("noData", by_metric(r).messages_sent.state)
    says(r, "ended before its warmup was over")
  end)

  it("are refused where they make no sense: 104, 2", function()
    local cases = {
      { [[stages = {}]], "such as { { name" },
      { [[stages = { { duration = "1s", devices = 0 } }]], "no stage has devices" },
      { [[stages = { { duration = "1s", devices = 1, name = "a" }, { duration = "1s", devices = 1, name = "a" } }]], "is named \"a\" too" },
      { [[stages = { { duration = "1s", target = 1 } }]], "unknown key \"target\"; valid: devices, duration, name" },
      { [[stages = { { duration = "0s", devices = 1 } }]], "above 0" },
      { [[duration = "1s", warmup = "1s"]], "nothing would be measured" },
      { [[duration = "1s", setup_timeout = "0s", setup = function() end]], "a duration above 0" },
      { [[duration = "1s", thresholds = { publish_latency = "p95 < baseline / 2" }]], "unexpected text" },
      { [[stages = { { duration = "1s", devices = 1, name = "a" } }, thresholds = { ["messages_sent{stage:b}"] = "count > 1" }]], "stage" },
    }
    for _, c in ipairs(cases) do
      local r = proc.run { "--check", proc.write(proc.dir() .. "/s.lua", text(c[1])) }
      assert.are.equal(104, r.code, c[1] .. r.err)
      assert.is_truthy(r.err:find(c[2], 1, true), r.err)
    end
    for _, c in ipairs {
      { { "--stage", "1s" }, "expected DURATION:DEVICES" }, { { "--stage", "1s:5", "--ramp", "1s" }, "both say when devices start" },
      { { "--stage", "1s:5", "-n", "5" }, "the stages say how many" }, { { "--max-regression", "some" }, "is not a percentage" },
      { { "--max-regression", "10" }, "there is no baseline" }, { { "--baseline", "/nowhere.json" }, "/nowhere.json" },
      { { "--threshold", "publish_latency: p95 < baseline" }, "there is no baseline" },
      { { "--abort-on-fail", "--no-thresholds" }, "no threshold would be checked" },
    } do
      local r = run(text [[duration = "1s"]], unpack(c[1]))
      assert.are.equal(2, r.code, table.concat(c[1], " ") .. r.text)
      assert.is_truthy(r.text:find(c[2], 1, true), r.text)
    end
  end)
end)

describe("a baseline", function()
  teardown(proc.cleanup)

  local base
  setup(function() base = run(text [[duration = "400ms"]]) end)

  it("is what later runs are compared with", function()
    assert.are.equal(0, base.code, base.text)
    local r = run(text [[duration = "400ms", thresholds = { publish_latency = { "p95 < baseline + 10s", "p50 < baseline * 1000" },
      messages_sent = "rate > baseline - 90%" }]], "--baseline", base.json)
    assert.are.equal(0, r.code, r.text)
    says(r, "baseline +/.*%[flag %-%-baseline%]")
    local t = r.summary.thresholds[1]
    assert.are.equal(base.summary.totals.messages.sent / base.summary.run.measuredS, t.baseline)
    assert.is_truthy(t.limitText:find("^> .*%(baseline .* %- 90%%%)$"), t.limitText)
    -- beside the scenario, and worse than that
    local dir = proc.dir()
    proc.write(dir .. "/base.json", assert(proc.read(base.json)))
    local file = proc.write(dir .. "/s.lua",
      text [[duration = "1600ms", baseline = "base.json", thresholds = { messages_sent = "rate > baseline * 10" }]])
    r = proc.run({ file, "--summary-json", dir .. "/new.json" }, 30)
    assert.are.equal(99, r.code, r.err .. r.out)
    local worse = cjson.decode((proc.read(dir .. "/new.json"))).thresholds[1]
    assert.is_true(worse.firstBrokenS < 1.5 and worse.brokenSinceS == worse.firstBrokenS)
    assert.is_truthy(r.err:find("baseline +base.json"), r.err)
  end)

  it("finds regressions without a threshold of the scenario's", function()
    local better = text [[duration = "400ms"]]
    local r = run(better, "--baseline", base.json, "--max-regression", "10000%")
    assert.are.equal(0, r.code, r.text)
    assert.is_true(#r.summary.thresholds >= 3)
    local slow = text([[duration = "400ms"]], [[assert(dev:connect()) for n in dev:every("300ms") do dev:publish("t", "x") end]])
    r = run(slow, "--baseline", base.json, "--max-regression", "30")
    assert.are.equal(99, r.code, r.text)
    says(r, "messages_sent +rate")
  end)

  it("ends early, and lets what has no data pass, when the command line says so", function()
    local none = text [[duration = "300ms", thresholds = { e2e_latency = "p95 < 1s" }]]
    local strict = text [[duration = "300ms", thresholds = { e2e_latency = { "p95 < 1s", no_data = "fail" } }]]
    local fails, passes, insists = start(none), start(none, "--fail-on-no-data=false"), start(strict, "--fail-on-no-data=false")
    local r = run(text [[duration = "20s", thresholds = { messages_sent = { "count > 100000", "count < 5" } }]], "--abort-on-fail")
    assert.are.equal(99, r.code, r.text)
    says(r, "stopped early: messages_sent count < 5")
    assert.is_true(r.summary.run.elapsedS < 10)
    assert.are.equal(99, fails().code)
    r = passes()
    assert.are.equal(0, r.code, r.text)
    says(r, "fail%-on%-no%-data false +%[flag %-%-fail%-on%-no%-data%]")
    assert.are.equal(99, insists().code)
  end)
end)
