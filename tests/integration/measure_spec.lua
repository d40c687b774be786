-- What latencies are measured from, what a run's own metrics are worth, and when figures are not to be trusted: whole runs of
-- iotix-run, held up on purpose.
local proc = require "integration.proc"
local cjson = require "cjson"

local STOP, CONT = 19, 18

local function scenario(text) return proc.write(proc.dir() .. "/s.lua", 'local iotix = require "iotix"\n' .. text) end

local function background(file, ...)
  local json = proc.dir() .. "/summary.json"
  local p = proc.start(proc.command { proc.program, file, "--summary-json", json, "--summary", "none", "--progress", "plain", ... })
  function p.summary()
    assert(p.wait(40), "the run does not end: " .. p.err())
    local text = assert(proc.read(json), p.err())
    return cjson.decode(text)
  end
  return p
end

-- A run that goes on beside others, until the function that comes back is called for what it was.
local function begin(file, ...)
  local json = proc.dir() .. "/summary.json"
  local p = proc.start(proc.command { proc.program, file, "--summary-json", json, ... })
  return function()
    assert(p.wait(40), "the run does not end: " .. p.err())
    return { code = p.code(), out = p.out(), err = p.err(), summary = cjson.decode(proc.read(json) or "null") }
  end
end

local function run(file, ...) return begin(file, ...)() end

local function metric(s, name, tags)
  for _, m in ipairs(s.metrics) do
    local fits = m.name == name
    for key, value in pairs(tags or {}) do fits = fits and m.tags[key] == value end
    if fits then return m.values end
  end
  error("no metric " .. name)
end

-- The processes of a run that are shards.
local function shards(pid)
  local list = {}
  for _, child in ipairs(proc.descendants(pid)) do
    if (proc.read("/proc/" .. child .. "/comm") or ""):find("shard") then list[#list + 1] = child end
  end
  return list
end

local function signal(pid, n) proc.shell("kill -" .. n .. " " .. pid) end

local function pause(seconds)
  local until_then = proc.now() + seconds
  proc.wait(seconds / proc.patience, function() return proc.now() >= until_then end)
end

local PUBLISH = [[
local g = iotix.group { name = "w", count = %d, behaviour = function(dev)
  assert(dev:connect())
  for _ in dev:every("10ms") do dev:publish("t", "x", { qos = 1, wait = %s }) end
end }
return iotix.scenario { name = "s", duration = "%s", groups = { g }, broker = iotix.env("BROKER") }
]]

describe("a latency", function()
  local broker
  setup(function() broker = proc.mosquitto() end)
  teardown(proc.cleanup)

  it("counts the turns that a broker held up, and raw does not", function()
    if not broker then return pending("mosquitto is not installed") end
    local p = background(scenario(PUBLISH:format(1, "true", "2500ms")), "-b", broker.url)
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    pause(0.4)
    broker.signal(STOP)
    pause(0.8)
    broker.signal(CONT)
    local s = p.summary()
    local corrected, raw = metric(s, "publish_latency"), metric(s, "publish_latency_raw")
    -- 80 of 250 turns were meant to begin in that time; one publish was under way.
    assert.is_true(raw.p95 < 300, "raw p95 " .. raw.p95)
    assert.is_true(corrected.p95 > 500, "corrected p95 " .. corrected.p95)
    assert.is_true(corrected.p95 > 5 * raw.p95)
    assert.is_true(corrected.count >= raw.count + 50, corrected.count .. " and " .. raw.count)
    assert.is_true(math.abs(corrected.max - raw.max) < 300) -- the longest is the same: the one that began first
  end)

  it("counts from when its tick was due, when the shard came late", function()
    if not broker then return pending("mosquitto is not installed") end
    local p = background(scenario(PUBLISH:format(5, "false", "2s")), "-b", broker.url)
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    pause(0.3)
    local shard = assert(shards(p.pid)[1], "no shard")
    signal(shard, STOP)
    pause(0.8)
    signal(shard, CONT)
    local s = p.summary()
    local corrected, raw = metric(s, "publish_latency"), metric(s, "publish_latency_raw")
    assert.is_true(corrected.max > 700, "corrected max " .. corrected.max)
    assert.is_true(corrected.p90 > 5 * raw.p90 and corrected.p90 > 50, corrected.p90 .. " and " .. raw.p90)
    assert.is_true(metric(s, "loop_lag", { shard = "0" }).max > 700)
  end)

  it("is what it took when nothing is late; a pause of the author's is no delay", function()
    if not broker then return pending("mosquitto is not installed") end
    local r = run(scenario([[
local g = iotix.group { name = "w", count = 3, behaviour = function(dev)
  assert(dev:connect())
  for n in dev:every("20ms") do
    dev:publish("t", "x", { qos = 1, wait = true })
    if n % 10 == 0 then dev:sleep("300ms") end -- fifteen turns that nobody wanted
  end
end }
return iotix.scenario { name = "s", duration = "1500ms", groups = { g }, broker = iotix.env("BROKER") }]]), "-b", broker.url)
    assert.are.equal(0, r.code, r.err .. r.out)
    local corrected, raw = metric(r.summary, "publish_latency"), metric(r.summary, "publish_latency_raw")
    assert.is_true(corrected.count <= raw.count + raw.count / 10, corrected.count .. " and " .. raw.count)
    assert.is_true(math.abs(corrected.p50 - raw.p50) < 2, corrected.p50 .. " and " .. raw.p50)
    local connect, wait, begun = metric(r.summary, "connect_latency"), metric(r.summary, "connect_wait"),
      metric(r.summary, "connect_latency_raw")
    assert.is_true(math.abs(connect.mean - wait.mean - begun.mean) < 0.01)
  end)

  it("of connects counts the wait for one's turn, and says it apart", function()
    if not broker then return pending("mosquitto is not installed") end
    local r = run(scenario([[
local g = iotix.group { name = "w", count = 20, behaviour = function(dev) assert(dev:connect()) dev:sleep("5s") end }
return iotix.scenario { name = "s", duration = "1500ms", groups = { g },
  connection = iotix.mqtt { broker = iotix.env("BROKER"), connect_rate = 20 } }]]), "-b", broker.url)
    local connect, wait, begun = metric(r.summary, "connect_latency"), metric(r.summary, "connect_wait"),
      metric(r.summary, "connect_latency_raw")
    assert.are.equal(20, connect.count)
    assert.is_true(wait.max > 500, "wait " .. wait.max) -- the last of them, at 20 a second
    assert.is_true(connect.max > 500 and connect.mean > begun.mean + 200, connect.mean .. " and " .. begun.mean)
    assert.is_true(math.abs(connect.mean - wait.mean - begun.mean) < 0.01)
  end)

  it("from publish to subscriber is known by stamps in a property, the payload or the topic", function()
    if not broker then return pending("mosquitto is not installed") end
    local r = run(scenario([[
local subs = iotix.group { name = "subs", count = 2, behaviour = function(dev)
  assert(dev:connect())
  dev:on("message", function() end)
  assert(dev:subscribe("/e2e/#", { qos = 1 }))
  dev:sleep("5s")
end }
local function pubs(name, stamp)
  return iotix.group { name = name, count = 2, stamp = stamp, behaviour = function(dev)
    assert(dev:connect())
    dev:sleep("300ms")
    for n = 1, 10 do
      dev:publish("/e2e/" .. name .. dev.index, n == 10 and "no object" or { a = {} }, { qos = 1, wait = true })
    end
    dev:sleep("5s")
  end }
end
return iotix.scenario { name = "s", duration = "1s", stamp = { payload = "st" },
  groups = { subs, pubs("property", "property"), pubs("payload"), pubs("topic", "topic") },
  connection = iotix.mqtt { broker = iotix.env("BROKER"), version = "5" }, thresholds = { e2e_latency = "count >= 116" } }]]),
      "-b", broker.url)
    assert.are.equal(0, r.code, r.err .. r.out)
    for _, name in ipairs { "property", "payload", "topic" } do
      local e2e = metric(r.summary, "e2e_latency", { group = name })
      local failed = name == "payload" and 2 or 0
      if failed > 0 then assert.are.equal(failed, metric(r.summary, "stamps_failed", { group = name }).count) end
      assert.are.equal(40 - 2 * failed, e2e.count) -- both subscribers got what both sent
      assert.is_true(e2e.min > 0 and e2e.max < 10000)
    end
    assert.has_error(function() metric(r.summary, "stamps_failed", { group = "topic" }) end)
  end)

  it("refuses a stamp that cannot be", function()
    local text = [[
local g = iotix.group { name = "w", stamp = %s, behaviour = function(dev) dev:connect() end }
return iotix.scenario { name = "s", duration = "1s", groups = { g } }]]
    local r = proc.run { "--check", scenario(text:format('"property"')) }
    assert.is_true(r.code ~= 0)
    assert.is_truthy((r.err .. r.out):find('version = "5"', 1, true), r.err .. r.out)
    r = proc.run { "--check", scenario(text:format('"payload"')) }
    assert.is_true(r.code ~= 0)
    assert.is_truthy((r.err .. r.out):find('"topic" or { payload = "NAME" }', 1, true), r.err .. r.out)
  end)
end)

describe("a run whose generator was the bottleneck", function()
  teardown(proc.cleanup)

  -- A shard that gets a fraction of the time it needs: stopped most of every 0.3 s.
  local function starve(text, times)
    local p = background(scenario(text), "-b", "embedded")
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    local shard = assert(proc.wait(5, function() return shards(p.pid)[1] end), "no shard: " .. p.err())
    proc.shell(("i=0; while [ $i -lt %d ] && kill -STOP %d 2>/dev/null; do sleep 0.25; kill -CONT %d; sleep 0.03; i=$((i+1)); done")
      :format(times, shard, shard), 20)
    return p.summary()
  end

  it("is not trustworthy and exits 112", function()
    local s = starve([[
local g = iotix.group { name = "w", count = 1, behaviour = function(dev)
  assert(dev:connect())
  while true do dev:publish("t", "x") dev:sleep("20ms") end -- no tick that could be late
end }
return iotix.scenario { name = "s", duration = "5500ms", groups = { g } }]], 21)
    if proc.patience > 1 then return end -- sanitizer builds are slow by design and judged otherwise
    assert.is_false(s.generator.trustworthy)
    assert.is_truthy(s.generator.why:find("shard 0", 1, true), s.generator.why)
    assert.are.equal(112, s.verdict.exitCode)
  end)

  it("says so of late ticks too", function()
    local s = starve([[
local g = iotix.group { name = "w", count = 20, behaviour = function(dev)
  assert(dev:connect())
  for _ in dev:every("30ms") do dev:publish("t", "x") end
end }
return iotix.scenario { name = "s", duration = "2500ms", groups = { g } }]], 7)
    if proc.patience > 1 then return end
    assert.is_false(s.generator.trustworthy)
    assert.is_truthy(s.generator.why:find("fired late", 1, true), s.generator.why)
    assert.are.equal(112, s.verdict.exitCode)
  end)
end)

describe("a run of which everything fails", function()
  teardown(proc.cleanup)
  local text = [[
local g = iotix.group { name = "w", count = 2, behaviour = function(dev)
  assert(dev:connect())
  for n = 1, 3 do dev:get("/status/%s") end
  dev:sleep("5s")
end }
return iotix.scenario { name = "s", duration = "800ms", groups = { g }, connection = iotix.http { url = "http://embedded" }%s }]]

  it("does not pass, unless its author expects that", function()
    local failed = begin(scenario(text:format("500", "")))
    local expected = begin(scenario(text:format("500", ', thresholds = { request_errors = "rate == 100%" }')))
    local fine = begin(scenario(text:format("200", "")))
    local r = failed()
    assert.are.equal(111, r.code, r.err .. r.out)
    assert.is_truthy(r.out:find("all of 6 publishes and requests failed", 1, true), r.out)
    assert.are.equal(0, expected().code)
    assert.are.equal(0, fine().code)
  end)
end)

describe("a scenario's own metrics", function()
  teardown(proc.cleanup)
  local text = [[
local orders = iotix.metrics.counter("user_orders", { tags = { kind = "web" } })
local size = iotix.metrics.trend("user_size")
local took = iotix.metrics.trend("user_took", { unit = "time" })
local good = iotix.metrics.rate("user_good")
local level = iotix.metrics.gauge("user_level", { merge = "max" })
local g = iotix.group { name = "w", count = 7, behaviour = function(dev)
  assert(dev:connect())
  local draw = iotix.gen.lognormal { mu = 6, sigma = 1.2 }
  for i = 1, 500 do
    size:add(draw() * 10)
    took:add(i / 1000)
    good:add(i %% 5 ~= 0)
    orders:add()
    orders:add(2, { %s })
  end
  level:set(dev.index)
  dev:publish("done", "x")
  dev:sleep("10s")
end }
return iotix.scenario { name = "s", duration = "%s", groups = { g }, broker = "embedded", thresholds = { %s } }]]

  it("are judged by thresholds, and are the same on 1 shard and on 3", function()
    local found, runs = {}, {}
    for _, n in ipairs { 1, 3 } do
      runs[n] = begin(scenario(text:format('page = "p" .. i % 2', "600ms", [[ user_orders = "count == 10500", user_good = "rate > 79%",
        ["user_orders{page:p1}"] = "count == 3500", user_took = { "p50 < 260ms", "max <= 500ms" }, user_level = "value >= 1" ]])),
        "--shards", n, "--seed", "42")
    end
    for _, n in ipairs { 1, 3 } do
      local r = runs[n]()
      assert.are.equal(0, r.code, r.err .. r.out)
      assert.is_truthy(r.out:find("user_size", 1, true), r.out)
      found[n] = metric(r.summary, "user_size", { group = "w" })
      found[n].mean = nil -- a sum of the same whole numbers; compared below by what is exact
      assert.are.equal(3500, found[n].count)
    end
    assert.are.same(found[1], found[3])
  end)

  it("have as many series as there is room for; the rest is said", function()
    local r = run(scenario(text:format('n = "v" .. dev.index .. "-" .. i', "1s", 'user_orders = "count == 10500"')))
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.out:find("user_orders has more sets of tags than are kept apart", 1, true), r.out)
    assert.are.equal(1, #r.summary.generator.warnings)
    assert.are.equal(2 * 2500, metric(r.summary, "user_orders", { overflow = "true" }).count) -- past 1,000 series
    assert.is_true(metric(r.summary, "series_overflow").count >= 2500)
  end)

  local function refused(lines, thresholds, expected)
    local r = proc.run { "--check", scenario(lines .. [[

local g = iotix.group { name = "w", behaviour = function(dev) dev:connect() end }
return iotix.scenario { name = "s", duration = "1s", groups = { g }, thresholds = { ]] .. thresholds .. " } }") }
    assert.is_true(r.code ~= 0, "it passed")
    assert.is_truthy((r.err .. r.out):find(expected, 1, true), r.err .. r.out)
  end

  it("are checked before a run", function()
    local size = 'iotix.metrics.trend("user_size", { unit = "time" })'
    refused('iotix.metrics.trend("size")', "", 'such as "user_size"')
    refused('iotix.metrics.trend("user_size", { units = "time" })', "", "unit")
    refused('iotix.metrics.trend("user_size", { unit = "ms" })', "", "time")
    refused('iotix.metrics.counter("user_size", { tags = { a = "x,y" } })', "", "without , : { and }")
    refused(size .. ' iotix.metrics.counter("user_size")', "", "declared already")
    refused(size .. " iotix.metrics.trend(7)", "", "expected a name")
    refused(size, 'user_sise = "p95 < 2s"', 'did you mean "user_size"')
    refused(size, 'user_size = "rate < 2"', "user_size is a trend")
    refused(size, 'user_size = "p95 < 2"', "write the limit with a unit")
    refused(size .. ":set(1)", "", "user_size is a trend; valid for it: add")
    refused('iotix.metrics.counter("user_n"):add(-1)', "", "a whole number of 0 or more")
    refused('iotix.metrics.rate("user_n"):add(1)', "", "boolean expected")
  end)

  it("are declared while the scenario is loaded", function()
    local r = run(scenario([[
local g = iotix.group { name = "w", behaviour = function(dev) dev:connect() iotix.metrics.counter("user_n") end }
return iotix.scenario { name = "s", duration = "300ms", groups = { g }, broker = "embedded" }]]))
    assert.is_truthy((r.err .. r.out):find("while", 1, true), r.err .. r.out)
    assert.are.equal(1, metric(r.summary, "script_errors", { group = "w" }).count)
  end)
end)
