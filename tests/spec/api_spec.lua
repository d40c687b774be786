-- The scenario API from outside: every function of lua/iotix/_meta runs once as it is meant, on the embedded broker; what
-- the annotations name is what `require "iotix"` has; and what a run's outcome means for its exit code. What single calls say to bad
-- input is tested in tests/unit/script/test_scenario.c.
local proc = require "integration.proc"
local cjson = require "cjson"

local function scenario(text) return proc.write(proc.dir() .. "/s.lua", text) end

-- Runs a scenario text quietly: result of proc.run with the decoded summary.
local function run(text, ...)
  local json = proc.dir() .. "/summary.json"
  local args = { scenario(text), "-q", "--summary-json", json }
  for _, a in ipairs { ... } do args[#args + 1] = a end
  local r = proc.run(args, 40)
  local s = proc.read(json)
  r.summary = s and cjson.decode(s)
  r.text = r.err .. r.out
  return r
end

-- One group "g" with a behaviour, and a test.
local function pair(behaviour, test, more)
  return string.format([[
local iotix = require "iotix"
local g = iotix.group { name = "g", qos = 1, %s behaviour = function(dev)
%s
end }
return iotix.scenario { name = "api", groups = { g }, test = function(run)
%s
end }
]], more or "", behaviour, test)
end

local ONLINE = [[assert(dev:connect()) dev:publish("here", "1") dev:sleep("1h")]]

describe("the annotations", function()
  teardown(proc.cleanup)

  -- Names of the functions that the annotations declare, by the local table they hang on.
  local function declared()
    local names = {}
    for _, file in ipairs { "iotix", "device", "values", "test", "chaos", "sink" } do
      for line in io.lines(proc.root .. "/lua/iotix/_meta/" .. file .. ".lua") do
        local owner, name = line:match("^function (%w+)[.:]([%w_]+)%(")
        if owner then names[owner .. "." .. name] = true end
      end
    end
    return names
  end

  local function missing(a, b)
    local list = {}
    for name in pairs(a) do if not b[name] then list[#list + 1] = name end end
    table.sort(list)
    return list
  end

  it("name exactly the functions that the product's modules return", function()
    -- What authors get is a read-only copy of these tables; the sources are read here, because a view cannot be walked.
    local real = {}
    local function take(owner, path, pattern, skip)
      for line in io.lines(proc.root .. "/" .. path) do
        local name = line:match(pattern)
        if name and not (skip and skip[name]) then real[owner .. "." .. name] = true end
      end
    end
    take("iotix", "lua/iotix/init.lua", "^function M%.(%w+)%(")
    take("iotix", "lua/iotix/init.lua", "^M%.([%w_]+) = ",
      { version = true, gen = true, json = true, payload = true, expect = true, args = true, behaviour = true, link = true, chaos = true,
        metrics = true, sink = true })
    take("chaos", "lua/iotix/chaos.lua", "^function M%.(%w+)%(")
    for _, name in ipairs { "partition", "disconnect", "dropout", "storm", "clock" } do -- made in a loop
      real["chaos." .. name] = true
    end
    take("fsm", "lua/iotix/fsm.lua", "^function Definition:(%w+)%(")
    take("machine", "lua/iotix/_core/machine.lua", "^function Machine:(%w+)%(")
    take("behaviour", "lua/iotix/behaviour.lua", "^function M%.(%w+)%(")
    take("links", "lua/iotix/link.lua", "^function M%.(%w+)%(", { opened = true })
    take("adapterconn", "lua/iotix/adapter.lua", "^function Conn:([%w_]+)%(")
    local bound = proc.read(proc.root .. "/runtime/script/link_bind.c")
    for name in bound:match("methods%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["link." .. name] = true end
    take("metrics", "lua/iotix/metrics.lua", "^function M%.(%w+)%(")
    bound = proc.read(proc.root .. "/runtime/script/metrics_bind.c")
    for name in bound:match("methods%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["metric." .. name] = true end
    take("sink", "lua/iotix/sink.lua", "^M%.([%w_]+) = ")
    take("json", "lua/iotix/json.lua", "^function M%.(%w+)%(")
    take("payload", "lua/iotix/payload.lua", "^M%.([%w_]+) = ")
    take("expect", "lua/iotix/expect.lua", "^function M%.([%w_]+)%(")
    take("run", "lua/iotix/_core/test.lua", "^  function run:(%w+)%(")
    take("group", "lua/iotix/_core/test.lua", "^  function group:(%w+)%(")
    take("run", "lua/iotix/_core/chaos_run.lua", "^  function run:(%w+)%(")
    take("group", "lua/iotix/_core/chaos_run.lua", "^  function group:(%w+)%(")
    take("experiment", "lua/iotix/_core/chaos_run.lua", "^  function object:(%w+)%(")
    local constructors = proc.read(proc.root .. "/lua/iotix/gen.lua"):match("constructors = (%b{})")
    for name in constructors:gmatch('"(%w+)"') do real["gen." .. name] = true end
    real["gen.constant"] = true
    local c = proc.read(proc.root .. "/runtime/script/device_bind.c")
    for name in c:match("methods%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["dev." .. name] = true end
    c = proc.read(proc.root .. "/runtime/script/conn_bind.c")
    for name in c:match("methods%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["conn." .. name] = true end
    c = proc.read(proc.root .. "/runtime/script/port.c") -- what all connections can do
    for name in c:match("shared%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["conn." .. name], real["dev." .. name] = true, true end
    c = proc.read(proc.root .. "/runtime/script/request_bind.c")
    for name in c:match("methods%[%] = (%b{});"):gmatch('{"([%w_]+)"') do real["observation." .. name] = true end
    take("response", "lua/iotix/_core/reply.lua", "^    (%w+) = function%(response%)")
    c = proc.read(proc.root .. "/runtime/script/native.c")
    for name in c:match("task_meta_open.-methods%[%] = (%b{});"):gmatch('{"(%w+)"') do real["task." .. name] = true end
    local meta = declared()
    assert.are.same({}, missing(meta, real), "annotated, but not there")
    assert.are.same({}, missing(real, meta), "there, but not annotated")
  end)

  it("name what is callable in a running scenario", function()
    local lists = { iotix = {}, gen = {}, json = {}, payload = {}, expect = {}, dev = {}, task = {}, run = {}, group = {}, fsm = {},
      machine = {}, behaviour = {}, conn = {}, response = {}, observation = {}, links = {}, link = {}, adapterconn = {},
      chaos = {}, experiment = {}, metrics = {}, metric = {}, sink = {} }
    for full in pairs(declared()) do
      local owner, name = full:match("(%w+)%.([%w_]+)")
      table.insert(assert(lists[owner], owner), string.format("%q", name))
    end
    local function list(owner) return "{ " .. table.concat(lists[owner], ", ") .. " }" end
    local check = [[
local function check(owner, t, names)
  for _, name in ipairs(names) do
    if type(t[name]) ~= "function" and name ~= "expect" then error(owner .. " has no " .. name) end
  end
end
]]
    local r = run(check .. pair(
      string.format("check('dev', dev, %s) check('task', iotix.spawn(iotix.sleep, 1), %s) "
        .. "local f = iotix.fsm { initial = 'a', states = { a = {} } } "
        .. "check('fsm', f, %s) check('machine', f:start(dev), %s) "
        .. "local c = assert(dev:open(iotix.mqtt {})) check('conn', c, %s) %s",
        list("dev"), list("task"), list("fsm"), list("machine"), list("conn"), ONLINE),
      string.format([[check("iotix", iotix, %s) check("gen", iotix.gen, %s) check("json", iotix.json, %s)
        check("payload", iotix.payload, %s) check("behaviour", iotix.behaviour, %s) check("links", iotix.link, %s)
        check("sink", iotix.sink, %s)
        check("expect", iotix.expect, %s) check("run", run, %s) check("group", run:group("g"), %s)
        check("chaos", iotix.chaos, %s) check("metrics", iotix.metrics, %s)
        check("experiment", assert(run:chaos(iotix.chaos.clock { offset = "1s", from = "1h" })), %s)
        assert(run:group("g"):wait("online", 1, "10s"))
        iotix.expect.message { topic = "x", trigger = function() run:publish("x", "1") end }]],
        list("iotix"), list("gen"), list("json"), list("payload"), list("behaviour"), list("links"), list("sink"),
        list("expect"), list("run"), list("group"), list("chaos"), list("metrics"), list("experiment"))))
    assert.are.equal(0, r.code, r.text)
  end)
end)

describe("the scenario API", function()
  teardown(proc.cleanup)

  it("does what it says, function by function", function()
    local r = run([[
local iotix = require "iotix"
local gen = iotix.gen
assert(iotix.version:find("^%d"))
assert(iotix.args[1] == "one" and iotix.args[2] == "two words" and #iotix.args == 2)
assert(iotix.env("GREETING") == "hello" and iotix.env("IOTIX_NOT_SET", "dflt") == "dflt" and iotix.env("IOTIX_NOT_SET") == nil)
local p = iotix.params {
  TEXT = "a", N = { type = "integer", default = "1k" }, X = { type = "number", default = 1 }, B = { type = "boolean", default = false },
  D = { type = "duration", default = "5s" }, U = { type = "url", default = "mqtt://h:1" },
}
assert(p.TEXT == "b c" and p.N == 1000 and p.X == 2.5 and p.B == true and p.D == "5s" and p.U == "mqtt://h:1")
assert(iotix.json.encode({ b = 1, a = { 1, 2 } }) == '{"a":[1,2],"b":1}')
assert(iotix.json.encode(print) == nil and iotix.json.encode(iotix.json.null) == "null")
assert(iotix.json.decode('{"x":[1,2]}').x[2] == 2 and iotix.json.decode("nan") == nil and iotix.json.decode("{") == nil)

local g = iotix.group { name = "g", qos = 1, behaviour = function(dev)
  local u = gen.uniform { min = 1, max = 2 }()
  assert(u >= 1 and u < 2)
  assert(type(gen.normal { mean = 1, stddev = 1 }()) == "number" and gen.exponential { rate = 1 }() >= 0)
  local walk = gen.walk { start = 5, step = 1, min = 0, max = 10 }
  for _ = 1, 10 do local v = walk() assert(v >= 0 and v <= 10) end
  local seq = gen.sequence { start = 1, step = 2 }
  assert(seq() == 1 and seq() == 3)
  assert(gen.constant("x")() == "x" and gen.choice { values = { "y" } }() == "y")

  assert(dev.id == "g-1" and dev.index == 1 and dev.group == "g" and dev.connection == "disconnected")
  assert(dev:topic("a") == "g/g-1/a")
  local seen = {}
  dev:on("connect", function() seen.connect = true end)
  dev:on("disconnect", function() seen.disconnect = true end)
  dev:on("command", function(c) return { got = c.params.n, name = c.name } end)
  assert(dev:connect { timeout = "10s" } == true and dev.connection == "connected")
  local ok, granted = dev:subscribe("in/#", { qos = 2 }, function(m) seen.message = m.payload end)
  assert(ok == true and granted == 2)
  assert(dev:subscribe("plain"))
  assert(dev:publish("in/x", "hello", { qos = 2, wait = true }))
  dev:sleep("300ms")
  assert(seen.message == "hello" and seen.connect)
  local waiting = iotix.spawn(function() local m = dev:wait("message", "5s") seen.waited = m.json.v end)
  assert(waiting:alive())
  dev:sleep("50ms")
  assert(dev:publish("plain", { v = 7 }, { wait = true }))
  dev:sleep("300ms")
  assert(seen.waited == 7 and not waiting:alive())
  seen.message = nil
  assert(dev:unsubscribe("in/#"))
  assert(dev:publish("in/x", "again", { wait = true }))
  dev:sleep("200ms")
  assert(seen.message == nil)
  local forever = iotix.spawn(dev.sleep, dev, "1h")
  assert(forever:cancel() == true and forever:alive() == false and forever:cancel() == false)
  local before, n = iotix.now(), 0
  for i in dev:every("50ms", { phase = 0, jitter = "5ms" }) do n = i if i == 3 then break end end
  assert(n == 3 and iotix.now() > before and iotix.elapsed() > 0)
  local none, why, code = dev:telemetry()
  assert(none == nil and code == "unsupported" and why)
  iotix.log("error", "logged by iotix.log")
  dev:log("error", "logged by dev.log")
  assert(dev:publish("kept", "retained", { retain = true, wait = true }))
  assert(dev:disconnect())
  local gone, _, state = dev:publish("x", "y")
  assert(gone == nil and state == "state")
  dev:sleep("200ms")
  assert(seen.disconnect)
  assert(dev:connect())
  dev:publish("ready", "yes", { retain = true })
  dev:sleep("1h")
end }

return iotix.scenario { name = "api", groups = { g }, broker = iotix.env("BROKER", "embedded"), test = function(run)
  assert(run.name == "api")
  assert(run:at("100ms")) assert(run:elapsed() >= 0.1)
  local group = run:group("g")
  assert(group:wait("online", 1, "10s") == 1 and group:count("online") == 1 and group:count() == 1)
  assert(group:topic(1, "state") == "g/g-1/state")
  iotix.expect.message { topic = "g/g-1/ready", within = "10s" }
  local kept = iotix.expect.message { topic = "g/+/kept", within = "5s", where = function(m) return m.retain end }
  iotix.expect(kept.payload, "payload"):equals("retained")
  local answers = iotix.expect.message { topic = group:topic(1, "response"), within = "5s", count = 2, trigger = function()
    assert(group:command(1, "first", { n = 1 }, "id1"))
    assert(run:publish(group:topic(1, "command"), { command = "second", params = { n = 2 }, id = "id2" }, { qos = 1 }))
  end }
  iotix.expect(answers[1].json.id):equals("id1")
  iotix.expect(answers[2].json.got):equals(2)
  iotix.expect(3).at_least(3) iotix.expect(3).at_most(3) iotix.expect(3).above(2) iotix.expect(3).below(4)
  iotix.expect(3).between(1, 3) iotix.expect(true).truthy() iotix.expect("abc").matches("b")
  run:log("error", "logged by run.log")
  -- two tasks may expect at the same time
  local other = iotix.spawn(function() iotix.expect.message { topic = "t/a", trigger = function() run:publish("t/a", "1") end } end)
  iotix.expect.message { topic = "t/b", trigger = function() run:publish("t/b", "1") end }
  while other:alive() do iotix.sleep("10ms") end
end }
]], "-e", "GREETING=hello", "-p", "TEXT=b c", "-p", "X=2.5", "-p", "B=yes", "--", "one", "two words")
    assert.are.equal(0, r.code, r.text)
    for _, by in ipairs { "iotix.log", "dev.log", "run.log" } do
      assert.is_truthy(r.text:find("logged by " .. by, 1, true), by .. ": " .. r.text)
    end
  end)

  it("has the will published after an abrupt disconnect, and keeps a persistent session", function()
    local r = run(pair([[
      if dev.index == 1 then
        assert(dev:connect()) dev:publish("here", "1", { wait = true })
        dev:sleep("1s") dev:disconnect("abrupt") dev:sleep("1h")
      end
      local got = 0
      assert(dev:connect())
      assert(dev:subscribe("mail", function() got = got + 1 end))
      dev:disconnect() dev:sleep("500ms")
      dev:publish("x", "never")
      dev:sleep("1500ms")
      assert(dev:connect())
      dev:sleep("500ms")
      dev:publish("got", { n = got }) dev:sleep("1h")
    ]], [[
      iotix.expect.message { topic = "wills/g-1", within = "10s", where = function(m) return m.payload == "g-1 is gone" end }
      iotix.expect.message { topic = "g/g-2/got", within = "10s",
        trigger = function() assert(run:publish("g/g-2/mail", "while you were out")) end,
        where = function(m) return m.json.n == 1 end }
    ]], [[count = 2, connection = iotix.mqtt { clean_session = false,
      will = { topic = "wills/${deviceId}", payload = "${deviceId} is gone" } },]]))
    assert.are.equal(0, r.code, r.text)
  end)

  it("refuses what does not fit the queue, and says so", function()
    local r = run(pair([[
      assert(dev:connect())
      local ok, why, code
      for _ = 1, 50 do ok, why, code = dev:publish("x", "1") if not ok then break end end
      dev:log("error", "refused: " .. tostring(why) .. " " .. tostring(code))
      dev:sleep("1h")
    ]], [[run:group("g"):wait("online", 1, "10s") iotix.sleep("500ms")]],
      [[connection = iotix.mqtt { inflight = 1, queue = { max = 3, full = "reject" } },]]))
    assert.are.equal(0, r.code, r.text)
    assert.is_truthy(r.text:find("refused: .- limit"), r.text)
  end)

  it("starts devices as the launch strategy says", function()
    local launches = {
      "strategy = 'immediate'", "strategy = 'linear', rate = 20", "strategy = 'linear', delay = '50ms'",
      "strategy = 'batch', batch_size = 5, delay = '100ms'",
      "strategy = 'exponential', delay = '10ms', base = 1.5, max_delay = '100ms'",
    }
    for _, launch in ipairs(launches) do
      local r = run(pair(ONLINE, [[
        assert(run:group("g"):wait("started", 1, "10s"))
        assert(run:group("g"):wait("online", 10, "15s"))
      ]], "count = 10, launch = { " .. launch .. " },"))
      assert.are.equal(0, r.code, launch .. ": " .. r.text)
    end
  end)

  it("handles errors of a behaviour as on_error says", function()
    local broken = [[assert(dev:connect()) dev:publish("here", "1", { wait = true }) if dev.index == 1 then error("broken") end
      dev:sleep("1h")]]
    local stop = run(pair(broken, [[run:at("2s") iotix.expect(run:group("g"):count("online")):equals(1)]], "count = 2,"))
    assert.are.equal(0, stop.code, stop.text)
    assert.is_truthy(stop.text:find("s.lua:3: broken", 1, true), stop.text)
    local restart = run(pair(broken, [[run:at("4s")]], "count = 2, on_error = 'restart', max_restarts = 1,"))
    assert.are.equal(0, restart.code, restart.text)
    assert.are.equal(2, select(2, restart.text:gsub("error %[g%-1%] %S+s.lua:3: broken", "")), restart.text)
    local fail = run(pair(broken, [[run:at("20s")]], "count = 2, on_error = 'fail',"))
    assert.are.equal(107, fail.code, fail.text)
    assert.is_true(fail.seconds < 15 * proc.patience)
  end)

  it("gives every outcome of a test its exit code", function()
    local cases = {
      { [[error("oops")]], 107, "s.lua:6: oops" },
      { [[iotix.spawn(function() error("in a task") end) iotix.sleep("1h")]], 107, "s.lua:6: in a task" },
      { [[iotix.abort("enough")]], 108, "enough" },
      { [[run:fail("not good")]], 110, "not good" },
      { [[iotix.expect(1, "one").above(2)]], 110, "one above 2" },
      { [[iotix.expect.message { topic = "never", within = "300ms" }]], 110, "nothing on the topic" },
      { [[assert(run:group("g"):wait("online", 2, "300ms"))]], 107, "only 1 of 2 devices" },
    }
    for _, c in ipairs(cases) do
      local r = run(pair(ONLINE, [[run:group("g"):wait("online", 1, "10s") iotix.sleep("200ms") ]] .. c[1]))
      assert.are.equal(c[2], r.code, c[1] .. ": " .. r.text)
      assert.is_truthy(r.text:find(c[3], 1, true), c[1] .. ": " .. r.text)
    end
  end)

  it("fails a test that is still running when the duration is over", function()
    local r = run((pair(ONLINE, [[iotix.sleep("1h")]]):gsub('name = "api",', 'name = "api", duration = "1s",')))
    assert.are.equal(110, r.code, r.text)
  end)

  it("tells bad input at the author's line with the valid alternatives", function()
    local file = scenario('local iotix = require "iotix"\n\nreturn iotix.scenario { nmae = "x", groups = {}, duration = "1s" }\n')
    local r = proc.run({ file, "-q" })
    assert.are.equal(104, r.code, r.err)
    assert.is_truthy(r.err:find("s.lua:3:", 1, true), r.err)
    assert.is_truthy(r.err:find('did you mean "name"?', 1, true), r.err)
    r = run(pair(ONLINE, ""), "-p", "X=1")
    assert.are.equal(104, r.code, r.text)
    assert.is_truthy(r.text:find("unknown parameter", 1, true), r.text)
  end)
end)
