-- Groups that change while they run: launch plans, dropouts, operations, live changes, reloading.
local capture = require "integration.capture"
local proc = require "integration.proc"
local cjson = require "cjson"

local MODEL = [[{"id":"m","name":"M","type":"sensor","protocol":"mqtt","telemetry":[
  {"name":"t","type":"number","intervalMs":%d,"generator":{"type":"constant","value":%d}}]}]]

local VALVE = [[return function(dev)
  assert(dev:connect())
  dev:on("connect", function() dev:log("connected again") end)
  for _ in dev:every("100ms") do dev:publish("state", "%s") end
end
]]

local function put(dir, name, text)
  proc.write(dir .. "/" .. name .. ".tmp", text)
  assert(os.rename(dir .. "/" .. name .. ".tmp", dir .. "/" .. name)) -- as editors do
end

local function scenario(groups, test, more)
  return string.format([[
local iotix = require "iotix"
return iotix.scenario { name = "live", seed = 11, %s
  groups = { %s },
  %s
}
]], more or "", groups, test and "test = function(run)\n" .. test .. "\nend," or "")
end

local function run(dir, text, args, limit)
  local list = { proc.write(dir .. "/s.lua", text), "--summary-json", dir .. "/summary.json", "--progress", "none" }
  for _, a in ipairs(args or {}) do list[#list + 1] = a end
  local r = proc.run(list, limit or 60)
  r.summary = proc.read(dir .. "/summary.json") and cjson.decode(proc.read(dir .. "/summary.json"))
  return r
end

local BEHAVIOUR = 'behaviour = function(dev) assert(dev:connect()) dev:publish("up", "x") while true do dev:sleep(60) end end'

-- What tests print with "SEEN name: …".
local function seen(r, name)
  return r.err:match("SEEN " .. name .. ": ([^\n]*)")
end

describe("a launch plan", function()
  teardown(proc.cleanup)

  it("of stages has the same devices up at a time on any number of shards", function()
    for _, shards in ipairs { 1, 3 } do
      local r = run(proc.dir(), scenario([[
        iotix.group { name = "g", launch = { strategy = "stages", stages = {
          { duration = "1s", target = 30 }, { duration = "500ms", target = 30 }, { duration = "1s", target = 12 } } }, ]] .. BEHAVIOUR .. [[ },
        iotix.group { name = "r", count = 20, launch = { strategy = "ramp", over = "1s" }, ]] .. BEHAVIOUR .. [[ },
        iotix.group { name = "p", count = 20, launch = { strategy = "poisson", rate = 40 }, ]] .. BEHAVIOUR .. [[ },
      ]], [[
        local g = run:group "g"
        run:at("1250ms")
        local at_top = g:status()
        print("SEEN top: " .. at_top.running .. " of " .. at_top.count)
        print("SEEN ramp: " .. run:group("r"):status().running)
        run:at("3s")
        local after = g:status()
        print("SEEN end: " .. after.running .. " stopped " .. after.stopped)
        print("SEEN poisson: " .. run:group("p"):status().running)
      ]]), { "--shards", shards })
      assert.are.equal(0, r.code, r.err)
      assert.are.equal("30 of 30", seen(r, "top"))
      assert.are.equal("20", seen(r, "ramp"))
      assert.are.equal("12 stopped 18", seen(r, "end"))
      assert.are.equal("20", seen(r, "poisson"))
    end
  end)

  it("scales with --scale, and fits --devices", function()
    local text = scenario([[iotix.group { name = "g", launch = { strategy = "stages", stages = { { duration = "200ms", target = 10 } } }, ]]
      .. BEHAVIOUR .. "}", [[run:at("700ms") print("SEEN up: " .. run:group("g"):status().running)]])
    local r = run(proc.dir(), text, { "--scale", "2" })
    assert.are.equal("20", seen(r, "up"), r.err)
    r = run(proc.dir(), text, { "-n", "4" })
    assert.are.equal("4", seen(r, "up"), r.err)
  end)

  it("that is wrong is refused at its line", function()
    for bad, text in pairs {
      ['launch = { strategy = "ramp" }'] = "needs over",
      ['launch = { strategy = "poisson" }'] = "needs rate",
      ['launch = { strategy = "stages", stages = {} }'] = "stages: expected a list",
      ['launch = { strategy = "stages", stages = { { target = 3 } } }'] = "stage 1",
      ['count = 5, launch = { strategy = "stages", stages = { { duration = 1, target = 9 } } }'] = "a stage wants 9 devices, count is 5",
      ['launch = { strategy = "ramp", over = "5s", rate = 3 }'] = 'strategy "ramp" has no rate',
      ['dropout = {}'] = "dropout: expected a table",
      ['dropout = { percentage = 10 }'] = "say when it begins",
      ['dropout = { at = "5s" }'] = "give either count",
      ['dropout = { at = "5s", count = 1, percentag = 3 }'] = 'did you mean "percentage"',
      ['dropout = { at = "5s", count = 1, delay = "1s" }'] = 'strategy "immediate" has no delay',
      ['dropout = { { at = "5s", count = 1, jitter = "1s" } }'] = "reconnect = true",
      ['dropout = { at = "5s", count = 1, strategy = "fast" }'] = "immediate, linear, exponential, random",
    } do
      local r = run(proc.dir(), scenario("iotix.group { name = 'g', " .. bad .. ", " .. BEHAVIOUR .. " }", nil, "duration = 1,"))
      assert.are.equal(104, r.code, bad .. r.err)
      assert.is_truthy(r.err:find(text, 1, true), bad .. ": " .. r.err)
      assert.is_truthy(r.err:find("s.lua:3", 1, true), r.err)
    end
  end)
end)

describe("a dropout", function()
  teardown(proc.cleanup)

  it("takes the same devices down on any number of shards, and brings them back", function()
    local first
    for _, shards in ipairs { 1, 3 } do
      local dir, wire = proc.dir(), capture.start()
      put(dir, "m.json", MODEL:format(100, 1))
      local r = run(dir, scenario([[
        iotix.group { name = "g", count = 40, model = "m",
          dropout = { at = "500ms", percentage = 25, reconnect = true, reconnect_delay = "1500ms" } },
        iotix.group { name = "b", count = 12, behaviour = function(dev)
          dev:on("disconnect", function() print("DOWN " .. dev.index) end)
          dev:on("connect", function() print("UP " .. dev.index) end)
          assert(dev:connect())
          while true do dev:sleep(60) end
        end }
      ]], [[
        local g, b = run:group "g", run:group "b"
        run:at("1s")
        local s = g:status()
        print("SEEN down: " .. s.dropped .. " " .. s.online .. " " .. s.running)
        local ok, answer = b:dropout { count = 5, strategy = "linear", delay = "20ms", mode = "graceful" }
        print("SEEN told: " .. tostring(ok) .. " " .. answer.affected)
        run:at("1500ms")
        print("SEEN b: " .. b:status().dropped)
        run:at("2800ms")
        print("SEEN back: " .. g:status().dropped .. " " .. g:status().online)
        print("SEEN still: " .. b:status().dropped)
      ]]), { "--shards", shards })
      assert.are.equal(0, r.code, r.err)
      assert.are.equal(1, wire:embedded(r.err), r.err)
      wire:clean(200)
      assert.are.equal("10 30 40", seen(r, "down"))
      assert.are.equal("true 5", seen(r, "told"))
      assert.are.equal("5", seen(r, "b"))
      assert.are.equal("0 40", seen(r, "back"))
      assert.are.equal("5", seen(r, "still"))
      local down = {}
      for index in r.err:gmatch("DOWN (%d+)") do down[#down + 1] = index end
      table.sort(down)
      first = first or down
      assert.are.equal(5, #down)
      assert.are.same(first, down)
    end
  end)
end)

describe("a running group", function()
  teardown(proc.cleanup)

  it("is stopped, started, scaled and told of", function()
    local dir = proc.dir()
    put(dir, "m.json", MODEL:format(100, 1))
    local wire = capture.start()
    local r = run(dir, scenario([[iotix.group { name = "g", count = 30, model = "m" }]], [[
      local g = run:group "g"
      assert(g:wait("online", 30, "10s"))
      local function told(name, ok, answer) print("SEEN " .. name .. ": " .. tostring(ok) .. " " .. tostring(ok and answer.affected or answer)) end
      told("stop", g:stop { count = 10, mode = "abrupt" })
      assert(g:wait("stopped", 10, "5s"))
      told("more", g:stop { percentage = 50 })
      told("start", g:start())
      assert(g:wait("online", 30, "10s"))
      told("restart", g:restart { devices = { 1, 2 } })
      assert(g:wait("online", 30, "10s"))
      told("up", g:scale(50))
      assert(g:wait("online", 50, "10s"))
      told("down", g:scale(20))
      local s = g:status()
      print("SEEN count: " .. s.count .. " " .. s.online .. " " .. g:count())
      told("remove", g:remove { devices = 7 })
      told("all", g:stop { all = true })
      assert(g:wait("stopped", 19, "5s"))
      print("SEEN pcall: " .. tostring(select(2, pcall(g.stop, g, { count = 1, percentage = 1 }))))
      print("SEEN range: " .. tostring(select(2, pcall(g.stop, g, { devices = { 99 } }))))
      print("SEEN unknown: " .. tostring(select(2, pcall(g.stop, g, { cont = 1 }))))
    ]]), { "--shards", 2 })
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(1, wire:embedded(r.err), r.err)
    wire:clean(100)
    assert.are.equal("true 10", seen(r, "stop"))
    assert.are.equal("true 5", seen(r, "more"))
    assert.are.equal("true 15", seen(r, "start"))
    assert.are.equal("true 2", seen(r, "restart"))
    assert.are.equal("true 20", seen(r, "up"))
    assert.are.equal("true 30", seen(r, "down"))
    assert.are.equal("true 1", seen(r, "remove"))
    assert.are.equal("true 19", seen(r, "all"))
    assert.is_truthy(seen(r, "count"):find("^20 20 "), seen(r, "count"))
    assert.is_truthy(seen(r, "pcall"):find("give one of", 1, true), seen(r, "pcall"))
    assert.is_truthy(seen(r, "range"):find("from 1 to 20", 1, true), seen(r, "range"))
    assert.is_truthy(seen(r, "unknown"):find('did you mean "count"', 1, true), seen(r, "unknown"))
  end)

  it("gets another interval and another generator", function()
    local dir = proc.dir()
    put(dir, "m.json", MODEL:format(60000, 1))
    local r = run(dir, scenario([[iotix.group { name = "g", count = 4, model = "m" }]], [[
      local g = run:group "g"
      assert(g:wait("online", 4, "10s"))
      assert(g:generator("t", { type = "constant", value = 77 }))
      iotix.expect.message { topic = "g/+/telemetry", within = "5s", count = 8, trigger = function() assert(g:interval(nil, "200ms")) end,
        where = function(m) return m.json and m.json.t == 77 end }
      print("SEEN bad: " .. tostring(select(2, pcall(g.generator, g, "t", { type = "constnt" }))))
      print("SEEN none: " .. tostring(select(2, g:interval("x", "1s"))))
      print("SEEN short: " .. tostring(select(2, pcall(g.interval, g, "t", "1ms"))))
    ]]), { "--shards", 2 })
    assert.are.equal(0, r.code, r.err)
    assert.is_truthy(seen(r, "bad"):find('did you mean "constant"', 1, true), seen(r, "bad"))
    assert.is_truthy(seen(r, "none"):find("it has: t", 1, true))
    assert.is_truthy(seen(r, "short"):find("must be 100..", 1, true), seen(r, "short"))
  end)

  it("keeps its changes when a shard is lost", function()
    local dir = proc.dir()
    put(dir, "m.json", MODEL:format(200, 1))
    put(dir, "valve.lua", VALVE:format("old"))
    local text = scenario([[iotix.group { name = "g", count = 10, model = "m" }, iotix.group { name = "b", count = 4, behaviour = "valve.lua" }]], [[
      local g, b = run:group "g", run:group "b"
      assert(g:wait("online", 10, "10s"))
      assert(g:scale(16))
      assert(g:generator("t", { type = "constant", value = 5 }))
      assert(g:stop { devices = { 1, 2, 3 } })
      run:publish("test/now", "change")
      iotix.expect.message { topic = "test/changed", within = "20s" }
      local ok, answer = b:reload()
      print("SEEN reload: " .. tostring(ok) .. " " .. tostring(ok and answer.affected or answer))
      run:publish("test/now", "kill")
      iotix.expect.message { topic = "test/killed", within = "20s" }
      assert(g:wait("online", 13, "20s"))
      local s = g:status()
      print("SEEN state: " .. s.count .. " " .. s.online .. " " .. s.stopped)
      iotix.expect.message { topic = "g/g-16/telemetry", within = "5s", where = function(m) return m.json.t == 5 end }
      iotix.expect.message { topic = "b/b-1/state", within = "10s", where = function(m) return m.payload == "new" end }
    ]])
    local broker = proc.mosquitto()
    if not broker then return pending("mosquitto is not installed") end
    local sub = proc.start(proc.command { "mosquitto_sub", "-p", broker.port, "-t", "test/now" })
    local p = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", text), "-b", broker.url, "--shards", "1", "--progress", "none" })
    local function say(topic) assert.are.equal(0, proc.shell("mosquitto_pub -p " .. broker.port .. " -t " .. topic .. " -m x").code) end
    assert(proc.wait(20, function() return sub.out():find("change") end), p.err())
    put(dir, "valve.lua", VALVE:format("new"))
    say("test/changed")
    assert(proc.wait(20, function() return sub.out():find("kill") end), p.err())
    put(dir, "valve.lua", "return (((") -- what lies on disk by then does not matter
    for _, pid in ipairs(proc.descendants(p.pid)) do
      if (proc.read("/proc/" .. pid .. "/comm") or ""):find("iotix%-shard") then os.execute("kill -9 " .. pid) end
    end
    assert(proc.wait(20, function() return p.err():find("is restarted with its devices", 1, true) end), p.err())
    say("test/killed")
    assert.are.equal(0, p.wait(60), p.err())
    local r = { err = p.err() }
    assert.are.equal("true 4", seen(r, "reload"), r.err)
    assert.are.equal("16 13 3", seen(r, "state"), r.err)
  end)
end)

describe("reloading", function()
  teardown(proc.cleanup)

  local function begin(more, args)
    local broker = proc.mosquitto()
    if not broker then return nil end
    local wire = capture.start { [broker.port] = "mqtt" }
    local dir = proc.dir()
    put(dir, "m.json", MODEL:format(100, 1))
    put(dir, "valve.lua", VALVE:format("one"))
    local text = scenario([[iotix.group { name = "g", count = 3, model = "m" }, iotix.group { name = "b", count = 3, behaviour = "valve.lua" }]],
      nil, more or 'duration = "60s",')
    local sub = proc.start(proc.command { "mosquitto_sub", "-p", broker.port, "-t", "#", "-F", "%t %p" })
    local line = { proc.program, proc.write(dir .. "/s.lua", text), "-b", broker.url, "--shards", "2", "--progress", "none" }
    for _, a in ipairs(args or {}) do line[#line + 1] = a end
    local p = proc.start(proc.command(line))
    assert(proc.wait(15, function() return sub.out():find("b/b%-3/state one") and sub.out():find('g/g%-3/telemetry .-"t":1') end), p.err())
    p.wire = wire
    return p, dir, sub
  end

  local function finish(p)
    p.signal(15)
    assert.are.equal(105, p.wait(20), p.err())
    p.wire:clean(20)
  end

  it("by SIGHUP brings models and behaviours to the devices, on the connections they have", function()
    local p, dir, sub = begin()
    if not p then return pending("mosquitto is not installed") end
    put(dir, "m.json", MODEL:format(100, 2))
    put(dir, "valve.lua", VALVE:format("two"))
    p.signal(1)
    assert(proc.wait(15, function() return sub.out():find("b/b%-2/state two") and sub.out():find('g/g%-2/telemetry .-"t":2') end), p.err())
    assert(proc.wait(5, function() return p.err():find("reloaded: 2 groups, 6 devices", 1, true) end), p.err())
    assert.is_falsy(p.err():find("connected again"))
    p.signal(1)
    assert(proc.wait(5, function() return p.err():find("nothing to reload", 1, true) end), p.err())
    finish(p)
  end)

  it("refuses what is broken, says where, and goes on with the old", function()
    local p, dir, sub = begin()
    if not p then return pending("mosquitto is not installed") end
    for text, told in pairs {
      ["return function(dev)\n  local x = \nend"] = "valve.lua:3:",
      ["error('boom')"] = "valve.lua:1: IOTX001: boom",
      ["return 7"] = "a behaviour file ends with: return function(dev)",
      ["while true do end"] = "valve.lua",
      ["\27LJ\2"] = "valve.lua",
    } do
      local _, before = p.err():gsub("not reloaded", "")
      put(dir, "valve.lua", text)
      p.signal(1)
      assert(proc.wait(20, function()
        local _, now = p.err():gsub("not reloaded", "")
        return now > before and p.err():find(told, 1, true)
      end), told .. p.err())
    end
    put(dir, "valve.lua", VALVE:format("two"))
    put(dir, "m.json", MODEL:format(1, 2))
    p.signal(1)
    assert(proc.wait(10, function() return p.err():find("m.json:2:%d+: IOTX022: /telemetry/0/intervalMs") end), p.err())
    assert.is_falsy(sub.out():find("state two")) -- all or nothing
    put(dir, "m.json", MODEL:format(100, 3))
    p.signal(1)
    assert(proc.wait(15, function() return sub.out():find("state two") and sub.out():find('"t":3') end), p.err())
    finish(p)
  end)

  it("happens by itself with --watch, also where a file is replaced by renaming", function()
    local p, dir, sub = begin(nil, { "--watch" })
    if not p then return pending("mosquitto is not installed") end
    put(dir, "valve.lua", VALVE:format("two"))
    assert(proc.wait(15, function() return sub.out():find("state two") end), p.err())
    proc.write(dir .. "/m.json", MODEL:format(100, 2)) -- in place
    assert(proc.wait(15, function() return sub.out():find('"t":2') end), p.err())
    proc.write(dir .. "/other.txt", "x")
    proc.write(dir .. "/valve.lua", "return")
    assert(proc.wait(15, function() return p.err():find("not reloaded", 1, true) end), p.err())
    put(dir, "valve.lua", VALVE:format("three"))
    assert(proc.wait(15, function() return sub.out():find("state three") end), p.err())
    finish(p)
  end)

  it("of a scenario's own functions is nothing: there is no file", function()
    local r = run(proc.dir(), scenario("iotix.group { name = 'g', " .. BEHAVIOUR .. " }", [[
      run:at("1s")
      local ok, answer = run:group("g"):reload()
      print("SEEN told: " .. tostring(ok) .. " " .. answer.affected .. " " .. answer.groups)
    ]]))
    assert.are.equal(0, r.code, r.err)
    assert.are.equal("true 0 0", seen(r, "told"))
  end)

  it("needs a file that is there and returns a function", function()
    for name, told in pairs { ["nothing.lua"] = "No such file", ["../x.lua"] = "beside the scenario", ["/etc/passwd.lua"] = "beside the scenario" } do
      local r = run(proc.dir(), scenario("iotix.group { name = 'g', behaviour = '" .. name .. "' }", nil, "duration = 1,"))
      assert.are.equal(104, r.code, r.err)
      assert.is_truthy(r.err:find(told, 1, true), r.err)
    end
    local dir = proc.dir()
    put(dir, "b.lua", "return {}")
    local r = run(dir, scenario("iotix.group { name = 'g', behaviour = 'b.lua' }", nil, "duration = 1,"))
    assert.are.equal(104, r.code, r.err)
    assert.is_truthy(r.err:find("b.lua:1", 1, true), r.err)
    assert.is_truthy(r.err:find("return function(dev)", 1, true), r.err)
  end)
end)
